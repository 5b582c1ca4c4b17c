"""Rows that say the same: exactly, nearly, or in meaning."""
