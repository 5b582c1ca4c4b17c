"""A row's fields in, a conversation out: one file a shape."""
