"""The training process: `python -m modelyard.training.worker SPEC.json`.

Standard output carries JSON objects, one a line; everything else goes to standard error. The events: `preflight`,
`warned`, `started`, `progress` (one a step), `validated`, `checkpoint`, `no_room`, `out_of_memory`, then `finished`
with the metrics, or `failed` with the error. Exit codes are those of core/errors.py.

Several of them, started by torchrun or Ray Train, train one model together: see ranks.py.
"""

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TextIO

import msgspec

from modelyard.core.errors import InvalidInput, ModelyardError


def main(arguments: list[str]) -> int:
    """Train as the spec in the named file says; return the exit code."""
    prepare_environment()
    out = sys.stdout
    with redirect_stdout(sys.stderr):
        try:
            finished = _train(Path(arguments[0]), out)
        except ModelyardError as error:
            _emit(out, {"event": "failed", "error": error.as_dict()})
            print(error, file=sys.stderr)
            return error.exit_code
    if _is_first():
        _emit(out, finished)
    return 0


def _train(path: Path, out: TextIO) -> dict[str, Any]:
    from modelyard.training.spec import TrainingSpec

    try:
        spec = msgspec.json.decode(path.read_bytes(), type=TrainingSpec)
    except (OSError, msgspec.MsgspecError) as error:
        raise InvalidInput(f"{path} is not a training spec: {error}") from error

    from modelyard.training.job import train
    from modelyard.training.stopping import Stop

    stop = Stop()
    stop.hear(signal.SIGTERM)
    result = train(spec, lambda event: _emit(out, event) if _is_first() else None, stop)
    return {"event": "finished", "metrics": result.metrics, "precision": result.precision}


def _is_first() -> bool:
    """Whether this process speaks for all that train together; of what goes wrong each tells."""
    return os.environ.get("RANK", "0") == "0"


def _emit(out: TextIO, event: Mapping[str, Any]) -> None:
    print(msgspec.json.encode(event).decode(), file=out, flush=True)


def prepare_environment() -> None:
    """Set what the libraries read when they are imported."""
    # Before the libraries are imported, which read these once: nothing is fetched, and no usage is sent anywhere.
    os.environ.update(
        HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="true", TRANSFORMERS_VERBOSITY="error"
    )
    # Threads that wait by spinning make training six times slower as soon as another process wants the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
