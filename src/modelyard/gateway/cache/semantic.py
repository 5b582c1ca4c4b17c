"""The answers to like questions: the nearest by the cosine of their embeddings, where all else is equal.

The only file of the gateway that needs numpy: a plain loop over 1,000 vectors of 384 numbers takes 20 ms and more.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import MissingExtra
from modelyard.gateway.cache.answers import Entry, Hit, Unusable
from modelyard.gateway.cache.plan import Question
from modelyard.ports.serving import SemanticCache

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

Embed = Callable[[str], Awaitable[list[float]]]

_MAX_CHARS = 8192
_MAX_FAILURES = 3
_PAUSE_S = 10.0
_MAX_SPACES = 256
_BYTES_A_NUMBER = 4

log = logging.getLogger(__name__)


class Space:
    """The questions of one tenant to one release, a row each. The oldest row is written over first.

    Shapes: `vectors` (rows, numbers), normalised; `marks` and `stored_s` (rows,).
    """

    __slots__ = ("_entries", "_guards", "_marks", "_next", "_stored_s", "_vectors", "size")

    def __init__(self, numbers: int, max_entries: int) -> None:
        import numpy as np

        # Pages of zeros cost nothing until they are written to.
        self._vectors: Vectors = np.zeros((max_entries, numbers), dtype=np.float32)
        self._marks = np.zeros(max_entries, dtype=np.int64)
        self._stored_s = np.zeros(max_entries)
        self._entries: list[Entry] = []
        self._guards: list[bytes] = []
        self._next = 0
        self.size = 0

    def fits(self, vector: "Vectors", max_entries: int) -> bool:
        """Whether it was made for such vectors (another model gives others) and as many."""
        return self._vectors.shape == (max_entries, len(vector))

    def nearest(self, guard: bytes, vector: "Vectors", ttl_s: float) -> tuple[Entry, float] | None:
        """The nearest question under a guard that still holds, with its cosine."""
        import numpy as np

        rows = len(self._entries)
        holds = (self._marks[:rows] == _mark(guard)) & (self._stored_s[:rows] > monotonic() - ttl_s)
        if self._vectors.shape[1] != len(vector) or not holds.any():
            return None
        cosines = np.where(holds, self._vectors[:rows] @ vector, -1.0)
        best = int(cosines.argmax())
        return (self._entries[best], float(cosines[best])) if self._guards[best] == guard else None

    def add(self, guard: bytes, vector: "Vectors", entry: Entry) -> None:
        """Keep an answer."""
        row, size = self._next, entry.size + len(vector) * _BYTES_A_NUMBER
        if row < len(self._entries):
            self.size -= self._entries[row].size + len(vector) * _BYTES_A_NUMBER
            self._entries[row], self._guards[row] = entry, guard
        else:
            self._entries.append(entry)
            self._guards.append(guard)
        self.size += size
        self._vectors[row], self._marks[row], self._stored_s[row] = vector, _mark(guard), entry.stored_s
        self._next = (row + 1) % len(self._vectors)


def _mark(guard: bytes) -> int:
    return int.from_bytes(guard[:8], "big", signed=True)


class Semantic:
    """The spaces of one service. What goes wrong with the embedder is a miss, and after a few it is left alone."""

    __slots__ = ("_failures", "_paused_s", "_spaces", "bytes", "config", "embed", "evictions", "failures", "max_bytes")

    def __init__(self, config: SemanticCache, max_bytes: int, embed: Embed) -> None:
        self.config = config
        self.max_bytes = max_bytes
        self.embed = embed
        self.bytes = 0
        self.evictions = 0
        self.failures = 0
        self._failures = 0
        self._paused_s = 0.0
        self._spaces: OrderedDict[bytes, Space] = OrderedDict()

    async def get(self, question: Question) -> Hit | None:
        """The answer to a question that is near enough, None where there is none. Fills in the question's vector."""
        vector = await self._vector(question.text)
        if vector is None:
            return None
        question.vector = vector
        space = self._spaces.get(question.scope)
        found = space.nearest(question.guard, vector, self.config.ttl_s) if space else None
        if found is None or found[1] < self.config.threshold:
            return None
        entry, similarity = found
        try:
            entry.open()
        except Unusable:
            return None
        self._spaces.move_to_end(question.scope)
        return Hit(entry, monotonic() - entry.stored_s, "semantic", similarity)

    def put(self, question: Question, entry: Entry) -> None:
        """Keep an answer to a question that was looked for before."""
        vector: Any = question.vector
        if vector is None or entry.size * 2 > self.max_bytes:
            return
        space = self._spaces.get(question.scope)
        before = space.size if space else 0
        if space is None or not space.fits(vector, self.config.max_entries):
            space = self._spaces[question.scope] = Space(len(vector), self.config.max_entries)
        space.add(question.guard, vector, entry)
        self.bytes += space.size - before
        self._spaces.move_to_end(question.scope)
        # The last one goes as a whole too where it alone is too large.
        while self.bytes > self.max_bytes or len(self._spaces) > _MAX_SPACES:
            _, gone = self._spaces.popitem(last=False)
            self.bytes -= gone.size
            self.evictions += 1

    async def _vector(self, text: str) -> "Vectors | None":
        """The normalised embedding of a text, None where the embedder fails, is too slow, or is left alone."""
        import numpy as np

        if len(text) > _MAX_CHARS or monotonic() < self._paused_s:
            return None
        try:
            async with asyncio.timeout(self.config.timeout_s):
                vector = np.asarray(await self.embed(text), dtype=np.float32)
        except Exception as error:  # whatever it is, the request is answered without
            self._note_failure(error)
            return None
        length = float(np.linalg.norm(vector)) if vector.ndim == 1 else 0.0
        if not 0 < length < float("inf"):
            self._note_failure(ValueError("the embedding is no vector with a length"))
            return None
        self._failures = 0
        return vector / np.float32(length)

    def _note_failure(self, error: Exception) -> None:
        self.failures += 1
        self._failures += 1
        if self._failures == _MAX_FAILURES:
            self._failures = 0
            self._paused_s = monotonic() + _PAUSE_S
            # Its type alone: the message of a client may hold an address.
            log.warning(
                "'%s' gives no embeddings (%s), paused for %g s", self.config.service, type(error).__name__, _PAUSE_S
            )


def check_numpy() -> None:
    """Raises: MissingExtra where numpy is not there."""
    try:
        import numpy  # noqa: F401
    except ImportError as error:
        raise MissingExtra("numpy", "semantic-cache") from error
