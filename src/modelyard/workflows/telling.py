"""Telling: what was ingested goes to the telemetry, at least once, by marks of its own in the records.

It is a second reader of the journal, behind the ingester and never beyond its marks, in a thread of its own: a
collector that does not answer holds nothing up and misses nothing that happened less than `CATCH_UP_MS` ago.
"""

import threading
from pathlib import Path

from modelyard.core.clock import now_ms
from modelyard.core.errors import Unavailable
from modelyard.ports.interaction import Feedback, Interaction, JournalEntry
from modelyard.ports.records import InteractionQuery, JournalMark, Records
from modelyard.ports.telemetry import Evaluation, Telemetry
from modelyard.workflows.ingest import decode, read_batches, sizes
from modelyard.workflows.troubles import Troubles

CATCH_UP_MS = 86_400_000
_BATCH_LINES = 200
_BATCH_BYTES = 1 << 20


class Teller:
    """Tells what a journal folder holds, as far as it was ingested."""

    def __init__(
        self, records: Records, journal: Path, telemetry: Telemetry, *, catch_up_ms: int = CATCH_UP_MS
    ) -> None:
        self._records, self._folder, self._telemetry = records, journal, telemetry
        self._catch_up_ms = catch_up_ms
        self._told: dict[str, int] = {}

    def tell_once(self, stop: threading.Event | None = None) -> int:
        """Tell what was ingested since; return how many entries. Raises: Unavailable, and what the records raise."""
        try:
            found = [(path, size) for path, size in sizes(self._folder) if size > self._told.get(path.name, 0)]
            return sum(self._tell_segment(path) for path, _ in found if not (stop and stop.is_set()))
        except OSError as error:
            raise Unavailable(f"the journal in {self._folder} cannot be read: {error.strerror}") from error

    def run(self, stop: threading.Event, interval_s: float = 1.0) -> None:
        """Tell again and again until told to stop. What goes wrong is logged once and tried again."""
        troubles = Troubles()
        while not stop.wait(interval_s):
            with troubles.around("the telemetry"):
                self.tell_once(stop)

    def close(self) -> None:
        """Break off what is being sent."""
        self._telemetry.close()

    def _tell_segment(self, path: Path) -> int:
        store = self._records.interactions
        begin, end = store.told(path.name), store.mark(path.name)
        num_told = 0
        try:
            with path.open("rb") as file:
                for batch in read_batches(file, path.name, begin, end, lines=_BATCH_LINES, num_bytes=_BATCH_BYTES):
                    entries, _ = decode(batch)
                    num_told += self._tell(list(entries.values()))
                    store.move_told(JournalMark(segment=path.name, offset=batch[-1].end))
        except FileNotFoundError:
            return num_told  # ingested, old, and removed
        self._told[path.name] = end
        return num_told

    def _tell(self, entries: list[JournalEntry]) -> int:
        since_ms = now_ms() - self._catch_up_ms
        said = [one for one in entries if isinstance(one, Interaction) and one.at_ms >= since_ms]
        judged = [one for one in entries if isinstance(one, Feedback) and one.at_ms >= since_ms]
        if said or judged:
            self._telemetry.tell(said, self._evaluations(judged))
        return len(said) + len(judged)

    def _evaluations(self, judged: list[Feedback]) -> list[Evaluation]:
        if not judged:
            return []
        ids = tuple(sorted({one.interaction_id for one in judged}))
        found = {one.id: one for one in self._records.interactions.find(InteractionQuery(ids=ids), limit=len(ids))}
        return [Evaluation(feedback=one, interaction=found.get(one.interaction_id)) for one in judged]
