"""Modelyard takes a language model through its whole working life."""

__version__ = "0.1.0"
