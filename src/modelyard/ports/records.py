"""Records: the store of what happened and what was decided. One protocol a noun, one object that holds them all.

Every `add` is idempotent: adding the same value again changes nothing, another value under the same key raises
`Conflict`. Every `get` raises `NotFound`. `newest` lists newest first.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Protocol

import msgspec

from modelyard.ports.dataset import Dataset
from modelyard.ports.export import Export
from modelyard.ports.interaction import Feedback, Interaction, JournalEntry
from modelyard.ports.release import Release, Stage, StageMove
from modelyard.ports.report import Report
from modelyard.ports.rollout import Rollout
from modelyard.ports.routes import Key, RouteTable
from modelyard.ports.run import Run
from modelyard.ports.verdict import Approval, Verdict


class Datasets(Protocol):
    """Datasets by digest."""

    def add(self, dataset: Dataset) -> None:
        """Add a dataset. One that is there already becomes the newest of its name, by its `created_ms`."""
        ...

    def get(self, digest: str) -> Dataset: ...
    def find(self, ref: str) -> Dataset:
        """By `name` (the newest), `name@digest prefix`, or digest prefix. Raises: NotFound, Conflict if ambiguous."""
        ...

    def newest(self, name: str | None = None) -> list[Dataset]: ...


class Runs(Protocol):
    """Runs by id. A run is written when it starts and replaced when it ends; a finished run never changes."""

    def put(self, run: Run) -> None: ...
    def get(self, id: str) -> Run: ...
    def find(self, ref: str) -> Run:
        """By id, or name (the newest)."""
        ...

    def newest(self) -> list[Run]: ...


class Exports(Protocol):
    """Exports by the digest of what they were made of."""

    def add(self, export: Export) -> None:
        """Add an export. Raises: Conflict where other bytes came of the same inputs before."""
        ...

    def get(self, digest: str) -> Export: ...
    def find(self, ref: str) -> Export:
        """By `name` (the newest), `name@digest prefix`, or digest prefix."""
        ...

    def newest(self, run_id: str | None = None) -> list[Export]: ...


class Releases(Protocol):
    """Releases by digest, with their stages."""

    def add(self, release: Release) -> None:
        """Add a release; it begins in the stage `draft`."""
        ...

    def get(self, digest: str) -> Release: ...
    def find(self, ref: str) -> Release:
        """By `name` (the newest), `name@digest prefix`, or digest prefix."""
        ...

    def newest(self, name: str | None = None) -> list[Release]: ...
    def stage(self, digest: str) -> Stage: ...
    def move(self, move: StageMove) -> None:
        """Append a move and change the stage, in one transaction.

        Raises: Conflict where the release is no longer in `from_stage`.
        """
        ...

    def moves(self, digest: str) -> list[StageMove]:
        """The moves of a release, oldest first."""
        ...


class Reports(Protocol):
    """Evaluation reports by id."""

    def add(self, report: Report) -> None: ...
    def get(self, id: str) -> Report: ...
    def newest(self, release: str | None = None) -> list[Report]: ...


class Verdicts(Protocol):
    """Verdicts by id, and the approvals on them. Both only grow."""

    def add(self, verdict: Verdict) -> None: ...
    def get(self, id: str) -> Verdict: ...
    def newest(self, release: str | None = None) -> list[Verdict]: ...
    def approve(self, approval: Approval) -> None: ...
    def approvals(self, verdict_id: str) -> list[Approval]: ...


class Rollouts(Protocol):
    """Rollouts by id, in the order in which they were added. At most one runs for a service."""

    def add(self, rollout: Rollout) -> None:
        """Raises: Conflict where another rollout of the service runs, or something else serves than `champion`."""
        ...

    def get(self, id: str) -> Rollout: ...
    def replace(self, rollout: Rollout, *, expected_events: int) -> None:
        """Write a rollout back. Raises: Conflict where it has other than `expected_events` events by now."""
        ...

    def running(self, service: str | None = None) -> list[Rollout]: ...
    def newest(self, service: str | None = None) -> list[Rollout]: ...
    def latest(self, service: str | None = None) -> list[Rollout]:
        """The last rollout of each service, or of one, by the services' names: it says what serves."""
        ...


class Routes(Protocol):
    """Route tables by version, and the hashed keys that go into them."""

    def add_table(self, table: RouteTable) -> None:
        """Raises: Conflict where the version exists."""
        ...

    def table(self, version: int | None = None) -> RouteTable:
        """A version, or the newest. Raises: NotFound where there is none yet."""
        ...

    def add_key(self, key: Key) -> None: ...
    def rotate_key(self, key: Key, *, old_expires_ms: int) -> None:
        """Add a key, and let the one that it `replaces` end at a moment, both or neither.

        Raises: NotFound where the old one is gone; Conflict where it was rotated already.
        """
        ...

    def remove_key(self, id: str) -> None: ...
    def keys(self) -> list[Key]: ...


class JournalMark(msgspec.Struct, frozen=True, kw_only=True):
    """How far a journal segment was ingested, in bytes."""

    segment: str
    offset: int


class ScoredInteraction(msgspec.Struct, frozen=True, kw_only=True):
    """An interaction with its score, or with none yet (-1)."""

    interaction: Interaction
    score: float


class ReviewedInteraction(msgspec.Struct, frozen=True, kw_only=True):
    """An interaction with the feedback on it, oldest first; on a shadow also that on the interaction it shadows."""

    interaction: Interaction
    feedback: tuple[Feedback, ...] = ()


class InteractionQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which interactions: those that meet every field that is set. `statuses` are the lowest and the highest."""

    ids: tuple[str, ...] = ()
    service: str = ""
    tenant: str = ""
    key_id: str = ""
    session: str = ""
    trace: str = ""
    release: str = ""
    statuses: tuple[int, int] | None = None
    since_ms: int = 0


UsageBy = Literal["tenant", "key", "service", "release", "user"]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What some interactions came to. A failure is a status of 400 or above; shadows count nowhere."""

    key: str
    requests: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nanousd: int = 0
    saved_nanousd: int = 0


class Interactions(Protocol):
    """Interactions and feedback, written by the ingester alone."""

    def ingest(self, entries: Sequence[JournalEntry], mark: JournalMark) -> int:
        """Store entries and the new mark in one transaction; return how many were new.

        Entries already there are passed over, so a batch that is sent twice is counted once.
        """
        ...

    def mark(self, segment: str) -> int:
        """The offset up to which a segment was ingested, 0 for a new one."""
        ...

    def get(self, id: str) -> Interaction: ...
    def feedback(self, interaction_id: str) -> list[Feedback]: ...
    def newest(self, service: str | None = None, *, limit: int = 100) -> list[Interaction]: ...
    def find(self, query: InteractionQuery, *, limit: int = 100) -> list[Interaction]:
        """The last interactions that match, newest first."""
        ...

    def usage(self, by: UsageBy, query: InteractionQuery) -> list[Usage]:
        """The totals of what matches by a key, dearest first; summed by the store, exactly."""
        ...

    def scored(self, service: str, *, since_ms: int, rollout_id: str, metric: str) -> Iterable[ScoredInteraction]:
        """The interactions of a rollout since a moment, oldest first, each with its score for a metric.

        The score is that of the newest feedback on it; for a shadow it is 1 or 0 by comparing its answer's hash with
        the right answer's hash given for the interaction it shadows; -1 where nothing is known.
        """
        ...

    def between(self, service: str, *, since_ms: int, until_ms: int) -> Iterator[ReviewedInteraction]:
        """The interactions of a service from a moment up to, not including, another: oldest first, then by id.

        They are read in pages, so that memory is bounded and no transaction stays open in between.
        """
        ...

    def count(self, service: str | None = None) -> int: ...
    def ingested(self) -> int:
        """A number that grows with whatever is ingested: where it stayed, nothing came in. Cheap to ask for."""
        ...

    def forget_marks(self, segment: str) -> None:
        """Drop the marks of a segment whose file is gone; `ingested` does not shrink by it."""
        ...

    def told(self, segment: str) -> int:
        """The offset up to which a segment was told to the telemetry, 0 for a new one."""
        ...

    def move_told(self, mark: JournalMark) -> None:
        """Say that a segment was told up to there."""
        ...


class Records(Protocol):
    """All nouns of one store."""

    datasets: Datasets
    runs: Runs
    exports: Exports
    releases: Releases
    reports: Reports
    verdicts: Verdicts
    rollouts: Rollouts
    routes: Routes
    interactions: Interactions

    def close(self) -> None:
        """Give back the connections."""
        ...
