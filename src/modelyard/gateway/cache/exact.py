"""The answers to equal requests: the least recently used go first, and none is given after its time."""

from collections import OrderedDict
from time import monotonic

from modelyard.gateway.cache.answers import Entry, Hit, Unusable


class Exact:
    """Answers of one service by the digests of their requests. At most `max_bytes`, none older than `ttl_s`."""

    __slots__ = ("_entries", "bytes", "evictions", "max_bytes", "ttl_s")

    def __init__(self, max_bytes: int, ttl_s: float) -> None:
        self.max_bytes = max_bytes
        self.ttl_s = ttl_s
        self.bytes = 0
        self.evictions = 0
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> Hit | None:
        """The answer to a request, None where there is none (any more)."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        age_s = monotonic() - entry.stored_s
        try:
            if age_s < self.ttl_s:
                entry.open()
                self._entries.move_to_end(key)
                return Hit(entry, age_s)
        except Unusable:
            pass
        self._drop(key)
        return None

    def put(self, key: bytes, entry: Entry) -> None:
        """Keep an answer. One that would push out half of the others is not worth it."""
        if entry.size * 2 > self.max_bytes:
            return
        self._drop(key)
        self._entries[key] = entry
        self.bytes += entry.size
        self.shrink()

    def shrink(self) -> None:
        """Let the least recently used go until the rest fits."""
        while self.bytes > self.max_bytes:
            _, entry = self._entries.popitem(last=False)
            self.bytes -= entry.size
            self.evictions += 1

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.size
