"""The command that runs the built-in engine with this interpreter. Imports nothing heavy."""

import json
import sys
from pathlib import Path

from modelyard.core.errors import InvalidInput


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
    """Its words, for `subprocess`. `name` is what the base is served under.

    Raises: InvalidInput for weights that it cannot run.
    """
    _require_plain(model)
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


def _require_plain(model: Path) -> None:
    """Of weights that are packed, the engine itself could only say so in its log."""
    config = model / "config.json"
    if config.is_file():
        packed = json.loads(config.read_bytes()).get("quantization_config", {}).get("quant_method", "")
        needed = "vLLM"
    else:
        packed = "gguf" if list(model.glob("*.gguf")) else ""
        needed = "a server of llama.cpp"
    if packed:
        raise InvalidInput(
            f"the built-in engine does not run the weights in {model}, which are packed as {packed}",
            expected="plain weights, such as an export as merged",
            fix=f"start {needed} with them and name its address by `engine.url`",
        )
