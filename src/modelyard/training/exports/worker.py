"""The merging process: `python -m modelyard.training.exports.worker SPEC.json`.

Standard output carries JSON objects, one a line; everything else goes to standard error. Exit codes are those of
core/errors.py.
"""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TextIO

import msgspec

from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.ports.exporter import ExportSpec
from modelyard.training.worker import prepare_environment


def main(arguments: list[str]) -> int:
    """Merge as the spec in the named file says; return the exit code."""
    prepare_environment()
    out = sys.stdout
    with redirect_stdout(sys.stderr):
        try:
            checks = _merge(Path(arguments[0]), out)
        except ModelyardError as error:
            _emit(out, {"event": "failed", "error": error.as_dict()})
            print(error, file=sys.stderr)
            return error.exit_code
    _emit(out, {"event": "finished", "checks": checks})
    return 0


def _merge(path: Path, out: TextIO) -> dict[str, float]:
    try:
        spec = msgspec.json.decode(path.read_bytes(), type=ExportSpec)
    except (OSError, msgspec.MsgspecError) as error:
        raise InvalidInput(f"{path} is not an export spec: {error}") from error

    from modelyard.training.exports.merged import merge

    return merge(spec, lambda event: _emit(out, event))


def _emit(out: TextIO, event: Mapping[str, Any]) -> None:
    print(msgspec.json.encode(event).decode(), file=out, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
