"""Settings: the presets of `conf/`, layers of YAML and the command line, the cell and its fingerprint."""
