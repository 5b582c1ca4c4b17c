"""A command in a real terminal: what it shows is read, keys are pressed."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`modelyard WORDS` with a pseudo-terminal as its controlling one."""

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (40, 100))
        self._theirs = theirs
        self.before = termios.tcgetattr(theirs)
        env = {**os.environ, "HOME": str(folder), "TERM": "xterm-256color", "MODELYARD_TRACKING": "none"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "modelyard", *words],
            cwd=folder,
            env=env,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self._raw = b""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.communicate()
        os.close(self._ours)
        os.close(self._theirs)

    def wait_for(self, text: str, within_s: float = 60.0) -> str:
        """What is shown, without colours, up to a text; what comes behind it is left for the next call."""
        end = time.monotonic() + within_s
        while True:
            shown = _ESCAPES.sub("", self._raw.decode("utf-8", "replace"))
            if text in shown:
                self._raw = shown.partition(text)[2].encode()
                return shown.partition(text)[0] + text
            assert time.monotonic() < end, f"'{text}' did not come, but {shown!r}"
            if select.select([self._ours], [], [], 0.05)[0]:
                self._raw += os.read(self._ours, 65536)

    def press(self, keys: str | bytes) -> None:
        """Press keys, one after the other."""
        os.write(self._ours, keys.encode() if isinstance(keys, str) else keys)

    def finish(self) -> tuple[int, str]:
        """The exit code and the standard output, once the command has ended."""
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out.decode()

    @property
    def is_as_before(self) -> bool:
        """Whether the command gave the terminal back as it was."""
        return termios.tcgetattr(self._theirs) == self.before
