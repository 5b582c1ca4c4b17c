"""Real training without a process of its own, which takes ten times as long to start as a tiny model to train."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import Interrupted, JobFailed, ModelyardError
from modelyard.ports.compute import Progress
from modelyard.training.spec import TrainingSpec
from modelyard.training.stopping import Stop


class InProcess:
    """Trains here. As with a process of its own, a listener that raises ends the training, which saves its work."""

    def run(self, command: Sequence[str], *, env: Mapping[str, str], progress: Progress) -> None:
        from modelyard.training.job import train

        stop, raised = Stop(), []

        def hear(event: Mapping[str, Any]) -> None:
            if raised:
                return
            try:
                progress(event)
            except BaseException as error:
                raised.append(error)
                stop.ask()

        spec = msgspec.json.decode(Path(command[-1]).read_bytes(), type=TrainingSpec)
        try:
            train(spec, hear, stop)
        except Interrupted:
            if not raised:
                raise
        except ModelyardError as error:
            progress({"event": "failed", "error": error.as_dict()})
            raise JobFailed(str(error)) from error
        if raised:
            raise raised[0]
