"""The command that runs the built-in engine with this interpreter. Imports nothing heavy."""

import sys
from pathlib import Path


def builtin_command(
    model: Path,
    name: str,
    *,
    port: int,
    host: str = "127.0.0.1",
    max_batch: int = 32,
    threads: int = 1,
    dtype: str = "float32",
) -> list[str]:
    """Its words, for `subprocess`. `name` is what the base is served under."""
    options = {
        "model": model,
        "name": name,
        "host": host,
        "port": port,
        "max-batch": max_batch,
        "threads": threads,
        "dtype": dtype,
    }
    flags = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return [sys.executable, "-m", "modelyard.adapters.engines.builtin", *flags]
