"""Personal data and secrets in a text: found by pattern and checksum. Stands on the standard library alone."""
