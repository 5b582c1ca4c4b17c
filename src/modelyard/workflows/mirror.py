"""Mirror: shows in the tracker's registry which release serves and which is tried, and holds up nobody.

What to show follows from the rollouts alone, so that a mirror that was killed shows the same when it is started again.
"""

import threading
from collections.abc import Callable, Iterable

from modelyard.ports.rollout import Rollout
from modelyard.workflows.troubles import Troubles

Show = Callable[[str, str, str], None]


class Mirror:
    """Brings a tracker up to date in a thread of its own. `show` takes a service, a release's digest and an alias."""

    def __init__(self, show: Show, troubles: Troubles) -> None:
        self._show, self._troubles = show, troubles
        self._wanted: dict[tuple[str, str], str] = {}
        self._shown: dict[tuple[str, str], str] = {}
        self._thread: threading.Thread | None = None

    def follow(self, latest: Iterable[Rollout]) -> None:
        """Show what these, the last rollouts of the services, say. Returns at once."""
        wanted = {}
        for rollout in latest:
            wanted[rollout.service, "champion"] = rollout.serving
            if rollout.state == "running":
                wanted[rollout.service, "challenger"] = rollout.challenger
        self._wanted = wanted
        if self._pending() and not (self._thread and self._thread.is_alive()):
            self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
            self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Wait for what is under way."""
        if self._thread:
            self._thread.join(timeout_s)

    def _pending(self) -> list[tuple[tuple[str, str], str]]:
        return [(place, digest) for place, digest in self._wanted.items() if self._shown.get(place) != digest]

    def _work(self) -> None:
        while pending := self._pending():
            (service, alias), digest = pending[0]
            with self._troubles.around(f"the tracker's view of '{service}'"):
                self._show(service, digest, alias)
            # Tried once: the next change, or the next start, tries again.
            self._shown[service, alias] = digest
