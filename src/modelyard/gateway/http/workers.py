"""Several worker processes on one address, and the small parent that keeps them running.

Each worker gets a listening socket of its own, between which the system divides the connections. The parent keeps them
all open, so that those that wait on the socket of a worker that died are answered by the one that takes its place. A
worker whose parent was killed ends in order: it would hold the address, and nobody would start it again.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

_QUICK_S = 1.0
_MAX_PAUSE_S = 5.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger(__name__)


def supervise(sockets: Sequence[socket.socket], work: Callable[[int, socket.socket], int]) -> int:
    """Run `work(number, socket)` in a process for each socket until SIGTERM or SIGINT; start those that die again.

    To be called on the main thread, where no loop and no other thread runs yet. Every signal is passed on, so that the
    second one ends the workers at once. Returns: the exit code, 0 where every worker ended with 0 after the signal.
    """
    return _Parent(sockets, work).run()


class _Parent:
    def __init__(self, sockets: Sequence[socket.socket], work: Callable[[int, socket.socket], int]) -> None:
        self._sockets = list(sockets)
        self._work = work
        self._workers: dict[int, tuple[int, float]] = {}  # by process id: which one, started when
        self._num_quick = [0] * len(self._sockets)
        self._stopping = False
        self._code = 0
        # Nobody writes to it: it ends with the parent, which holds the one end that workers do not.
        self._life, self._held = os.pipe()

    def run(self) -> int:
        former = [signal.signal(number, self._pass_on) for number in _SIGNALS]
        try:
            for number in range(len(self._sockets)):
                self._start(number)
            while self._workers:
                child, status = os.wait()
                if child in self._workers:
                    self._bury(child, os.waitstatus_to_exitcode(status))
        finally:
            for number, handler in zip(_SIGNALS, former, strict=True):
                signal.signal(number, handler)
            os.close(self._life)
            os.close(self._held)
        return self._code

    def _start(self, number: int) -> None:
        # A signal between the fork and the note of it would be passed on to everyone but the new one.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            if self._stopping:
                return
            child = os.fork()
            if not child:
                self._be_worker(number)
            self._workers[child] = (number, time.monotonic())
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _be_worker(self, number: int) -> None:
        code = 1
        try:
            for name in _SIGNALS:
                signal.signal(name, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            for other, listener in enumerate(self._sockets):
                if other != number:
                    listener.close()
            os.close(self._held)
            threading.Thread(target=_end_with_parent, args=(self._life,), daemon=True).start()
            code = self._work(number, self._sockets[number])
        except BaseException:
            logger.exception("worker %d failed", number)
        finally:
            # What the parent has still to do at its own end is not the child's to do.
            logging.shutdown()
            os._exit(code)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if not self._stopping:
            self._stopping = True
            # A socket that stayed open here would go on collecting connections that nobody takes.
            for listener in self._sockets:
                listener.close()
        for child in self._workers:
            os.kill(child, number)

    def _bury(self, child: int, code: int) -> None:
        number, started_s = self._workers.pop(child)
        if self._stopping:
            self._code = self._code or abs(code)
            return
        quick = time.monotonic() - started_s < _QUICK_S
        self._num_quick[number] = self._num_quick[number] + 1 if quick else 0
        pause_s = min(_MAX_PAUSE_S, 0.1 * 2 ** min(self._num_quick[number], 10)) if quick else 0.0
        logger.error("worker %d ended with code %d; it is started again in %.1f s", number, code, pause_s)
        time.sleep(pause_s)
        self._start(number)


def _end_with_parent(life: int) -> None:
    os.read(life, 1)
    logger.error("the parent of this worker is gone: it ends, too")
    os.kill(os.getpid(), signal.SIGTERM)
