"""Reports and quarantines of datasets, read back. Loads nothing heavy, because the command line reads them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import Corrupt, DataInvalid, NotFound

Report = dict[str, Any]
VERSION = 2
_FIX = "`modelyard data prepare NAME` makes the dataset anew"


def read_report(folder: Path) -> Report:
    """The report of a dataset's folder. Raises: DataInvalid where there is none that this version can read."""
    path = folder / "report.json"
    try:
        report = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError as error:
        raise DataInvalid("the dataset has no report.json", fix=_FIX) from error
    except msgspec.DecodeError as error:
        raise DataInvalid(f"the report of the dataset is damaged: {error}", fix=_FIX) from error
    if not isinstance(report, dict) or report.get("version") != VERSION:
        raise DataInvalid("the dataset was prepared by another version of Modelyard", fix=_FIX)
    return report


def read_quarantine(folder: Path, step: str = "") -> Iterator[dict[str, Any]]:
    """The rejected rows of a dataset's folder, or those of one step: {"source", "line", "step", "reason", "raw"}.

    Raises: NotFound where the folder has no quarantine; Corrupt where a line of it is damaged.
    """
    path = folder / "quarantine.jsonl"
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    if not path.is_file():
        raise NotFound("the dataset has no quarantine.jsonl", fix=_FIX)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = decode(line)
            except msgspec.DecodeError as error:
                raise Corrupt(f"line {number} of quarantine.jsonl is damaged: {error}", fix=_FIX) from error
            if not step or row.get("step") == step:
                yield row


def leaks(report: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """What would have leaked, as (step, what, rows)."""
    told = report["leakage"]
    dropped = [(step, cause, rows) for step, causes in told["dropped"].items() for cause, rows in causes.items()]
    return dropped + [
        (step, f"alike rows in two splits, {way}", rows)
        for step, ways in told["straddling"].items()
        for way, rows in ways.items()
    ]
