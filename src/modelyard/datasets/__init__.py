"""Raw files in, a Dataset out: named steps in order, and every row kept or quarantined with a reason."""
