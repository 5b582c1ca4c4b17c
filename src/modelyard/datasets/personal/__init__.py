"""Personal data: found by pattern and checksum, masked or dropped."""
