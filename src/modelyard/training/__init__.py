"""Training: a Recipe and a Dataset in, weights and their metrics out."""
