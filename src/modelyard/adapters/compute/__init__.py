"""Where batch work runs: one file per kind of compute."""
