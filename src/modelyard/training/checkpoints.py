"""Checkpoints of a run: published whole, the last ones kept, read back only by the run they belong to.

Knows nothing about models: what lies in a checkpoint is written by whoever makes one.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from modelyard.core.errors import Conflict, Corrupt
from modelyard.core.files import folder_atomically, write_json_atomically

_KEPT = 2
_PROGRESS = "progress.json"


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """A look at held-out rows after a step. `loss` is in nats a learnt token, or a pair."""

    step: int
    loss: float


class RunProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is, besides its weights.

    `losses` has one entry a step, in nats a token or a pair; `seconds` counts training alone. `micro_batch` is
    how many sequences the device takes at once. `identity` names by digest what the run is made of: recipe, rows, base.
    """

    step: int
    losses: list[float]
    num_tokens: int
    seconds: float
    micro_batch: int
    validations: list[Validation] = []
    identity: dict[str, str] = {}


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One of them: its folder, and how far the run was."""

    folder: Path
    progress: RunProgress


class Checkpoints:
    """The checkpoints in a folder, which may not be there yet."""

    def __init__(self, folder: Path, identity: Mapping[str, str]) -> None:
        self._folder = folder
        self._identity = dict(identity)

    def newest(self) -> Checkpoint | None:
        """The one to go on from. Raises: Conflict where it was made by something else; Corrupt."""
        for folder in reversed(self._folders()):
            progress = _read(folder / _PROGRESS)
            self._check(folder, progress)
            return Checkpoint(folder=folder, progress=progress)
        return None

    def has_room(self, num_bytes: int) -> bool:
        """Whether a checkpoint of that size fits on the disk."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self._folder).free >= num_bytes

    @contextmanager
    def publishing(self, progress: RunProgress) -> Iterator[Path]:
        """A scratch folder that becomes the checkpoint of a step when the block ends well. Older ones go then."""
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"step-{progress.step:09d}"
        if target.exists():
            shutil.rmtree(target)
        with folder_atomically(target) as scratch:
            yield scratch
            whole = msgspec.structs.replace(progress, identity=self._identity)
            write_json_atomically(scratch / _PROGRESS, msgspec.to_builtins(whole))
        for folder in self._folders()[:-_KEPT]:
            shutil.rmtree(folder, ignore_errors=True)

    def _folders(self) -> list[Path]:
        return sorted(self._folder.glob("step-*[0-9]"))

    def _check(self, folder: Path, progress: RunProgress) -> None:
        for name in sorted({*self._identity, *progress.identity}):
            seen, expected = progress.identity.get(name, "nothing"), self._identity.get(name, "nothing")
            if seen != expected:
                raise Conflict(
                    f"the checkpoint {folder} is of another {name}: {seen}",
                    expected=expected,
                    fix=f"train under a new id, or restore the {name} that the run began with",
                )


def _read(path: Path) -> RunProgress:
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunProgress)
    except (OSError, msgspec.MsgspecError) as error:
        raise Corrupt(
            f"the checkpoint {path.parent} cannot be read: {error}",
            expected=f"a {_PROGRESS} as training writes it",
            fix="remove that folder; training goes on from the one before it",
        ) from error
