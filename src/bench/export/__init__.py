"""A finished run as one ONNX file, with a script that scores photos by it, and the check that both are the run's."""
