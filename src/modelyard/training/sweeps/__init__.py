"""Sweeps: which values of a recipe's fields are best, found by training with several of them."""
