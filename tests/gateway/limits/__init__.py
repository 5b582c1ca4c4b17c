"""Limits: in one process, through a real Redis, and over crashes of either."""
