"""The demonstration: one command that runs the whole loop on data and a base model that ship with the project."""
