"""GGUF, by llama.cpp's own converter and quantizer."""

from collections.abc import Sequence
from pathlib import Path

from modelyard.adapters.exporters.environments import Environment
from modelyard.ports.export import Format

# The converter writes the first four; the others go through llama.cpp's quantizer from f16.
QUANTIZATIONS = ("q8_0", "f16", "bf16", "f32", "q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q3_k_m", "q2_k")


class GgufExporter:
    """One file for llama.cpp, with its tokenizer and chat template inside, and beside it for the parity check."""

    format: Format = "gguf"
    tool = "llama.cpp"
    quantizations: tuple[str, ...] = QUANTIZATIONS
    calibrates = False

    def __init__(self, places: Sequence[Path]) -> None:
        self._environment = Environment(places, ".venv-gguf", package="llama-cpp-python", script="scripts/gguf_env.sh")

    def version(self) -> str:
        """The version of the package that carries llama.cpp. Raises: MissingEnvironment."""
        return f"llama-cpp-python {self._environment.version()}"

    def command(self, spec: Path) -> Sequence[str]:
        """The words that carry out the spec in a file."""
        return self._environment.command("convert_gguf.py", spec)
