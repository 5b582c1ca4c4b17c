"""Ctrl-C in the middle of durable work."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_WORDS = "interrupted; run the same command again to go on\n"
_LINE_AND_CURSOR_BACK = "\r\x1b[2K\x1b[?25h"


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """Within the block, Ctrl-C ends the process at once, with code 130; what was running goes on at the next call."""
    before = signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    # Steps run in a thread that nobody can interrupt, and Python would wait for it at exit. Durable work survives being
    # killed at any line, so this is no worse; each child process ends with us, as its guard sees our end of its pipe
    # close. The streams are not flushed through their objects: we may be in the middle of one of their calls.
    shown = _LINE_AND_CURSOR_BACK if sys.stderr.isatty() else ""
    os.write(2, (shown + _WORDS).encode())
    os._exit(130)
