"""New rows from a teacher model: prompts out, answers in, rows with their provenance."""
