"""The merge as an exporter: its version and its command. Imports nothing heavy."""

import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path

from modelyard.core.errors import MissingExtra
from modelyard.ports.export import Format


class MergedExporter:
    """PEFT's merge, in this environment and a process of its own."""

    format: Format = "merged"
    tool = "peft"
    quantizations: tuple[str, ...] = ()
    calibrates = False

    def version(self) -> str:
        """Of all that decides the bytes: PEFT merges, torch computes, transformers writes. Raises: MissingExtra."""
        try:
            versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers")]
            return f"{importlib.metadata.version('peft')} ({', '.join(versions)})"
        except importlib.metadata.PackageNotFoundError as error:
            raise MissingExtra(error.name or "peft", "training") from error

    def command(self, spec: Path) -> Sequence[str]:
        """The words that carry out the spec in a file."""
        return [sys.executable, "-m", "modelyard.training.exports.worker", str(spec)]
