"""Rows that must not be learned: those of evaluation suites, and those that another dataset has."""
