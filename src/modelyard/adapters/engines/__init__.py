"""Engines: the built-in one, the client that speaks to any of them, and the child processes they run in."""
