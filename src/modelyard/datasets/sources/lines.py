"""Bytes as blocks of whole lines. Where a block ends depends on the bytes alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

MAX_LINE_BYTES = 16_000_000
KEPT_BYTES = 10_000
# A row costs a kilobyte in a worker, however short its line is.
BLOCK_ROWS = 100_000
OVERLONG = f"overlong line: more than {MAX_LINE_BYTES:,} bytes"


@dataclass(slots=True)
class LineBlock:
    """Whole lines. `overlong` has the number and the beginning of those that were too long; they are blank here."""

    first_line: int
    data: bytes
    overlong: list[tuple[int, bytes]] = field(default_factory=list)


class LineBlocks:
    """Pieces of bytes as blocks of about a size. Of a line over `MAX_LINE_BYTES` only the beginning is held.

    Blocks end where pieces do, so pieces must be cut by their size alone, and far below `MAX_LINE_BYTES`.
    """

    def __init__(self, pieces: Iterable[bytes], block_bytes: int) -> None:
        self._pieces = pieces
        self._block_bytes = block_bytes
        self._whole: list[bytes] = []
        self._size = 0
        self._open: list[bytes] = []
        self._open_size = 0
        self._first_line = 1
        self._num_lines = 0
        self._overlong: list[tuple[int, bytes]] = []

    @property
    def num_lines(self) -> int:
        """The lines that were read whole so far."""
        return self._first_line - 1 + self._num_lines

    def __iter__(self) -> Iterator[LineBlock]:
        for piece in self._pieces:
            self._take(piece)
            if self._size >= self._block_bytes or self._num_lines >= BLOCK_ROWS:
                yield self._block()
        if self._open_size:
            self._close_line()
        if self._size:
            yield self._block()

    def _take(self, piece: bytes) -> None:
        cut = piece.rfind(b"\n") + 1
        if not cut:
            self._grow(piece)
            return
        first = piece.find(b"\n") + 1
        self._grow(piece[: first - 1])
        self._close_line()
        self._add(piece[first:cut])
        self._grow(piece[cut:])

    def _grow(self, piece: bytes) -> None:
        """Add to the line that is not over yet; of one that is too long nothing more is kept."""
        self._open_size += len(piece)
        if self._open_size <= MAX_LINE_BYTES:
            self._open.append(piece)
        elif self._open:
            self._open = [b"".join(self._open)[:KEPT_BYTES]]

    def _close_line(self) -> None:
        line = b"".join(self._open)
        if self._open_size > MAX_LINE_BYTES:
            self._overlong.append((self.num_lines + 1, line[:KEPT_BYTES]))
            line = b""
        self._open, self._open_size = [], 0
        self._add(line + b"\n")

    def _add(self, lines: bytes) -> None:
        self._whole.append(lines)
        self._size += len(lines)
        self._num_lines += lines.count(b"\n")

    def _block(self) -> LineBlock:
        block = LineBlock(self._first_line, b"".join(self._whole), self._overlong)
        self._first_line += self._num_lines
        self._whole, self._size, self._num_lines, self._overlong = [], 0, 0, []
        return block
