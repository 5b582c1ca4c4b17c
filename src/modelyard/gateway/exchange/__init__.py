"""One request of a caller, from its checked call to the end of its answer."""
