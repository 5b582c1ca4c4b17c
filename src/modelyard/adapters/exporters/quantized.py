"""AWQ and GPTQ, by llm-compressor: four-bit weights that vLLM serves."""

from collections.abc import Sequence
from pathlib import Path

from modelyard.adapters.exporters.environments import Environment
from modelyard.ports.export import Format


class QuantizedExporter:
    """A model folder of transformers with compressed weights, calibrated on rows of the run's dataset."""

    tool = "llmcompressor"
    calibrates = True

    def __init__(self, format: Format, quantizations: tuple[str, ...], places: Sequence[Path]) -> None:
        self.format = format
        self.quantizations = quantizations
        self._environment = Environment(
            places, ".venv-quantize", package="llmcompressor", script="scripts/quantize_env.sh"
        )

    def version(self) -> str:
        """The version of the package. Raises: MissingEnvironment."""
        return self._environment.version()

    def command(self, spec: Path) -> Sequence[str]:
        """The words that carry out the spec in a file."""
        return self._environment.command("quantize.py", spec)


def quantized_exporters(places: Sequence[Path]) -> tuple[QuantizedExporter, ...]:
    """Both of them: AWQ with a zero point a group, GPTQ without, as vLLM's kernels take them."""
    return (
        QuantizedExporter("awq", ("w4a16_asym", "w4a16"), places),
        QuantizedExporter("gptq", ("w4a16", "w8a16"), places),
    )
