"""Files, folders and addresses in, blocks of raw rows out."""
