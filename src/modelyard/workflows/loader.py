"""Loader: brings releases into an engine, each in a thread of its own, so that one that hangs holds up nothing."""

import threading
from collections.abc import Callable, Iterable

from modelyard.core.clock import monotonic_s


class Loader:
    """Which releases an engine holds. A load that failed is tried again after `retry_s`.

    `load` loads the release of a digest. Nothing is waited for longer than `patience_s`, and only once.
    """

    def __init__(self, load: Callable[[str], None], *, patience_s: float, retry_s: float) -> None:
        self._load, self._patience_s, self._retry_s = load, patience_s, retry_s
        self._attempts: dict[str, _Attempt] = {}

    def holds(self, digest: str) -> bool:
        """Whether the engine serves a release."""
        attempt = self._attempts.get(digest)
        return attempt is not None and attempt.done.is_set() and attempt.error is None

    def error(self, digest: str) -> Exception | None:
        """Why the last load of a release failed."""
        attempt = self._attempts.get(digest)
        return attempt.error if attempt else None

    def bring(self, digests: Iterable[str]) -> bool:
        """Load what is missing; return whether anything of it is there now."""
        missing = [digest for digest in digests if not self.holds(digest)]
        begun = [self._begin(digest) for digest in missing if self._is_due(digest)]
        deadline_s = monotonic_s() + self._patience_s
        for attempt in begun:
            attempt.done.wait(max(0.0, deadline_s - monotonic_s()))
        return any(self.holds(digest) for digest in missing)

    def forget(self) -> None:
        """The engine was started anew and holds nothing."""
        self._attempts = {}

    def _is_due(self, digest: str) -> bool:
        attempt = self._attempts.get(digest)
        if attempt is None:
            return True
        return attempt.error is not None and monotonic_s() >= attempt.began_s + self._retry_s

    def _begin(self, digest: str) -> "_Attempt":
        attempt = self._attempts[digest] = _Attempt()
        threading.Thread(target=attempt.run, args=(self._load, digest), name=f"load {digest}", daemon=True).start()
        return attempt


class _Attempt:
    """One load of one release; over when `done` is set."""

    def __init__(self) -> None:
        self.began_s = monotonic_s()
        self.done = threading.Event()
        self.error: Exception | None = None

    def run(self, load: Callable[[str], None], digest: str) -> None:
        try:
            load(digest)
        except Exception as error:
            self.error = error
        finally:
            self.done.set()
