"""The drawing of the procedural dataset behind `--data synthetic`."""
