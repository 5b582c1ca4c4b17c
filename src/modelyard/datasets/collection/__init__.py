"""Rows from production: which interactions become rows, and what those rows hold."""
