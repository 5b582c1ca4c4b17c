"""Server-sent events: cuts a byte stream into events without changing a byte. Knows nothing of what they carry.

Source: the event stream format of the HTML standard, section 9.2.6 (lines end in LF, CRLF or CR).
"""

import re

# Atomic groups, so that one CRLF is never taken for two line ends.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventSplitter:
    """Takes bytes as they come and gives back whole events, each with the blank line that ends it."""

    __slots__ = ("_buffer", "_scanned")

    def __init__(self) -> None:
        self._buffer = b""
        self._scanned = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The events that are whole now."""
        buffer = self._buffer + data if self._buffer else data
        events = []
        start = 0
        position = self._scanned
        only_lf = b"\r" not in buffer
        while end := _end_of_blank_line(buffer, position, only_lf):
            events.append(buffer[start:end])
            start = position = end
        self._buffer = buffer[start:]
        # A blank line is four bytes at most: the last three may be the beginning of one.
        self._scanned = max(0, len(self._buffer) - 3)
        return events

    @property
    def rest(self) -> bytes:
        """The bytes of the event that is not whole yet."""
        return self._buffer


def _end_of_blank_line(buffer: bytes, position: int, only_lf: bool) -> int:
    """Where the first blank line after a position ends, 0 where there is none."""
    if only_lf:
        found = buffer.find(b"\n\n", position)
        return found + 2 if found >= 0 else 0
    match = _BLANK_LINE.search(buffer, position)
    return match.end() if match else 0


def data_of(event: bytes) -> bytes | None:
    """The data of an event, or None where it has none (a comment, a bare field)."""
    if _is_plain(event):
        return event[6:-2]
    lines = [line for line in _LINE_END.split(event) if line.startswith(b"data:")]
    if not lines:
        return None
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines)


def with_data(event: bytes, data: bytes) -> bytes:
    """The event with other data (one line of it) and all its other lines as they were."""
    if _is_plain(event):
        return b"data: " + data + b"\n\n"
    others = [line for line in _LINE_END.split(event) if line and not line.startswith(b"data:")]
    return b"\n".join([*others, b"data: " + data, b"", b""])


def _is_plain(event: bytes) -> bool:
    """One line of data and LF alone: what nearly every engine sends, and quick to take apart."""
    return event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event
