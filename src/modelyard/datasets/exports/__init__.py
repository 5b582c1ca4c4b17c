"""A Dataset in the formats of others."""
