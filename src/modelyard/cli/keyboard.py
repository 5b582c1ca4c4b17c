"""Where a person's words come from: single keys of a terminal, or lines of a pipe."""

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from modelyard.core.errors import InvalidInput

_ESCAPE_S = 0.05
_END_OF_INPUT = "\x04"


class Keyboard(Protocol):
    """Raises EOFError at the end of the input."""

    has_keys: bool

    def key(self) -> str:
        """One key, without waiting for Enter; empty for one that is no character, such as an arrow."""
        ...

    def line(self, ask: Callable[[], None]) -> str:
        """One line, without its end. `ask` shows what it is for, once the terminal is ready to edit it."""
        ...


@contextmanager
def keyboard(*, single_keys: bool) -> Iterator[Keyboard]:
    """What standard input is: a terminal, which is given back as it was, or a pipe."""
    if not sys.stdin.isatty():
        yield PipedLines()
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    # Ended by another program, we give the terminal back as well.
    at_end = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        # Before anything is shown: what is pressed as soon as it is must come as a key already.
        if single_keys:
            tty.setcbreak(descriptor, termios.TCSADRAIN)
        yield TerminalKeys(descriptor, before)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, at_end)


class PipedLines:
    """Lines of a pipe or a file, in UTF-8 whatever the locale. Raises: InvalidInput for a line that is not."""

    has_keys = False

    def key(self) -> str:
        return self.line(lambda: None)

    def line(self, ask: Callable[[], None]) -> str:
        ask()
        line = sys.stdin.buffer.readline()
        if not line:
            raise EOFError
        try:
            return line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"a line of the input is not UTF-8: {line[:40]!r}",
                expected="text in UTF-8",
                fix="recode it, for example with iconv; what was said before it is kept, the same command goes on",
            ) from error


class TerminalKeys:
    """Keys of a terminal. Ctrl-C stays the interrupt that it is, and a line is edited by the terminal itself."""

    has_keys = True

    def __init__(self, descriptor: int, for_lines: list[Any]) -> None:
        self._descriptor = descriptor
        self._for_lines = for_lines

    def key(self) -> str:
        key = self._character()
        if key == _END_OF_INPUT:
            raise EOFError
        if key == "\x1b":
            self._pass_sequence()
            return ""
        return key

    def line(self, ask: Callable[[], None]) -> str:
        now = termios.tcgetattr(self._descriptor)
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._for_lines)
        ask()
        line = ""
        while not line.endswith("\n"):
            line += self._character()
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, now)
        return line.rstrip("\r\n")

    def _pass_sequence(self) -> None:
        """Read what belongs to an escape, and no key more: F5 is ESC [ 1 5 ~, and its 1 must not be an answer.

        Arrows and their like are an escape with more behind it, which comes at once. Source: ECMA-48, 5.4.
        """
        opening = self._character() if self._comes() else ""
        if opening == "O":
            self._next_byte()
        elif opening == "[":
            final = self._next_byte()
            while final and not b"@" <= final <= b"~":
                final = self._next_byte()
            if final == b"[":
                # The function keys of a Linux console have a second bracket.
                self._next_byte()

    def _comes(self) -> bool:
        return bool(select.select([self._descriptor], [], [], _ESCAPE_S)[0])

    def _next_byte(self) -> bytes:
        return os.read(self._descriptor, 1) if self._comes() else b""

    def _character(self) -> str:
        """One character, of one byte or more. Read byte by byte, so that nothing waits in a buffer of ours."""
        data = b""
        while True:
            byte = os.read(self._descriptor, 1)
            if not byte:
                raise EOFError
            data += byte
            try:
                return data.decode()
            except UnicodeDecodeError:
                if len(data) == 4:
                    return "\ufffd"
