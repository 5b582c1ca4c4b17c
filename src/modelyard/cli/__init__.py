"""The command line: one file a noun, each command with `--json` and a documented exit code."""
