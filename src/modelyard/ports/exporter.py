"""Exporter: a tool that turns a model into another form, in a process and perhaps an environment of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from modelyard.ports.export import Format


class ExportSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One job of an exporter, as the JSON file that its command is given. All paths are absolute.

    `model` is a folder with a whole model (for `merged`: the base, and `adapter` what was trained on it). `output` is
    an empty folder to fill. `probes` and `calibration` are files of conversations, one JSON object a line with
    `messages`: what to compare the export with its parent on, and what a quantization may look at.
    """

    model: str
    output: str
    probes: str
    adapter: str = ""
    calibration: str = ""
    quantization: str = ""
    settings: dict[str, Any] = {}


class Exporter(Protocol):
    """One of merged, gguf, awq, gptq.

    Its process prints JSON objects on standard output, one a line: `progress` with `done`, `total` and `note`; then
    `finished` with `checks` (numbers by name), or `failed` with an `error`.
    """

    format: Format
    tool: str
    quantizations: tuple[str, ...]
    """What may be asked for, the default first; empty where there is no choice."""
    calibrates: bool
    """Whether rows of the run's dataset decide what comes out."""

    def version(self) -> str:
        """The version of the tool. Raises: MissingEnvironment, MissingExtra."""
        ...

    def command(self, spec: Path) -> Sequence[str]:
        """The words that carry out the spec in a file."""
        ...
