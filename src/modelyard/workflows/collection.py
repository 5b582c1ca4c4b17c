"""Rows from production: a service's interactions in a window, straight from the records into a preparation.

They are read twice: once to count them, and to apply the limits, once for their texts, which no file ever holds.
"""

from collections import Counter
from collections.abc import Iterator

import msgspec

from modelyard.core.clock import iso, now_ms
from modelyard.core.errors import DataInvalid
from modelyard.datasets.collection.config import CollectConfig
from modelyard.datasets.collection.judging import row_of
from modelyard.datasets.collection.moments import moment_ms
from modelyard.datasets.collection.reasons import FIXES, NOT_SAMPLED, PassedOver
from modelyard.datasets.collection.selection import Selection
from modelyard.datasets.collection.stream import Collected
from modelyard.ports.dataset import Window
from modelyard.ports.records import Records, ReviewedInteraction
from modelyard.workflows.tools import Progress, silent

_TELL_EVERY = 200


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What is collected of a window, in rows and bytes, and what is passed over and why, most first."""

    window: Window
    num_bytes: int
    passed_over: dict[str, int]


class Collection:
    """What `collect` means at one moment. `config` names the window by its moments and the releases by their digests.

    Raises: DataInvalid for a window of no time; NotFound, Conflict for a release.
    """

    def __init__(self, records: Records, config: CollectConfig) -> None:
        self._records = records
        self._since_ms, self._until_ms = _bounds(config)
        releases = sorted({records.releases.find(ref).digest for ref in config.releases})
        moments = {"since": iso(self._since_ms), "until": iso(self._until_ms)}
        self.config = config.model_copy(update={**moments, "releases": tuple(releases)})
        self._selection = Selection(self.config)

    def survey(self, progress: Progress = silent) -> Survey:
        """Count the window through, and keep nothing of it but what the limits need. Once for each collection."""
        passed_over: Counter[str] = Counter()
        num_rows = num_bytes = 0
        for number, one in enumerate(self._interactions()):
            if number % _TELL_EVERY == 0:
                done_ms = one.interaction.at_ms - self._since_ms
                progress(done_ms, self._until_ms - self._since_ms, "collecting")
            try:
                line = row_of(one, self.config)
                self._selection.enter(one.interaction)
            except PassedOver as reason:
                passed_over[str(reason)] += 1
            else:
                num_rows += 1
                num_bytes += len(line)
        over = self._selection.close()
        passed_over.update(over)
        kept = num_rows - sum(over.values())
        return Survey(
            window=self._window(kept),
            num_bytes=num_bytes * kept // max(num_rows, 1),
            passed_over={reason: count for reason, count in passed_over.most_common() if count},
        )

    def collected(self, progress: Progress = silent) -> Collected:
        """The rows for a preparation. Raises: DataInvalid where there are none: it says why, and what to do."""
        survey = self.survey(progress)
        if not survey.window.num_interactions:
            raise _nothing(survey)
        return Collected(window=survey.window, num_bytes=survey.num_bytes, lines=self._lines)

    def _lines(self, passed_over: Counter[str]) -> Iterator[bytes]:
        for one in self._interactions():
            try:
                line = row_of(one, self.config)
                self._selection.check(one.interaction)
            except PassedOver as reason:
                passed_over[str(reason)] += 1
            else:
                yield line

    def _interactions(self) -> Iterator[ReviewedInteraction]:
        service, since_ms, until_ms = self.config.service, self._since_ms, self._until_ms
        return self._records.interactions.between(service, since_ms=since_ms, until_ms=until_ms)

    def _window(self, num_interactions: int) -> Window:
        return Window(
            service=self.config.service,
            since_ms=self._since_ms,
            until_ms=self._until_ms,
            num_interactions=num_interactions,
        )


def _bounds(config: CollectConfig) -> tuple[int, int]:
    """The first moment inside of the window and the first one outside, which never lies in the future."""
    now = now_ms()
    since_ms = moment_ms(config.since, now_ms=now)
    until_ms = min(now if config.until is None else moment_ms(config.until, now_ms=now), now)
    if since_ms >= until_ms:
        raise DataInvalid(
            f"the window of `collect` from {iso(since_ms)} to {iso(until_ms)} holds no time",
            expected="`since` before `until`, and before now",
            fix="correct `collect.since` or `collect.until` in the project file",
        )
    return since_ms, until_ms


def _nothing(survey: Survey) -> DataInvalid:
    window = survey.window
    where = f"of the service '{window.service}' from {iso(window.since_ms)} to {iso(window.until_ms)}"
    if not survey.passed_over:
        return DataInvalid(
            f"there are no interactions {where}",
            expected="recorded traffic; what a gateway journals reaches the records while `modelyard up` runs",
            fix="widen `collect.since` and `collect.until`",
        )
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in survey.passed_over.items())
    telling = [reason for reason in survey.passed_over if reason != NOT_SAMPLED] or [NOT_SAMPLED]
    return DataInvalid(
        f"nothing can be collected {where}: {reasons}",
        expected="at least one interaction that may be learned from",
        fix=FIXES.get(telling[0], "widen `collect` in the project file"),
    )
