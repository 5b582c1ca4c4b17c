"""The plan of one preparation: all that a worker needs besides the rows, written once and read by each worker."""

import pickle
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import msgspec

from modelyard.core.ids import new_id
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.outcome import Rejection
from modelyard.datasets.overlap.reference import Reference
from modelyard.datasets.personal.masking import mask_raw
from modelyard.datasets.personal.presidio import Presidio
from modelyard.datasets.shapes.shape import Shape
from modelyard.datasets.tokens import TokenCounter


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done to every row. `folder` is where workers leave what they made; all of them see it."""

    config: DatasetConfig
    shape: Shape
    folder: Path
    counter: TokenCounter | None = None
    suites: Reference | None = None
    known: Reference | None = None
    presidio: Presidio | None = None
    id: str = field(default_factory=new_id)

    @property
    def has_labels(self) -> bool:
        """Whether rows have labels: named by the configuration, or answers made by a template."""
        return self.config.label is not None or self.shape.name == "template"

    @property
    def is_masked(self) -> bool:
        """Whether the texts of rows hold no personal data any more. A quarantine holds none in any case."""
        return self.config.personal_data.mode == "mask"

    def covered(self, rejection: Rejection) -> Rejection:
        """A rejected row without what Presidio finds in it; what patterns find, the quarantine masks itself."""
        if self.presidio is None:
            return rejection
        reason, raw = (mask_raw(text, self.presidio) for text in (rejection.reason, rejection.raw))
        return msgspec.structs.replace(rejection, reason=reason, raw=raw)

    @property
    def path(self) -> Path:
        """Where the workers of this preparation find the plan."""
        # A name of its own, as workers keep the plan of a path in memory.
        return self.folder / f"plan-{self.id}.pickle"

    def save(self) -> None:
        """Write it there. Our own workers alone read it, in a folder that this process has just made."""
        self.path.write_bytes(pickle.dumps(self))


@lru_cache(maxsize=1)
def load_plan(path: Path) -> Plan:
    """The plan of a preparation, once for each worker."""
    plan: Plan = pickle.loads(path.read_bytes())  # noqa: S301
    return plan
