"""Tools that turn a whole model into another form, each in an environment of its own."""
