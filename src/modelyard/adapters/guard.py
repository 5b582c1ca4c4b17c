"""A small process between us and a server, so that no server outlives us, however we end.

`python -m modelyard.adapters.guard GRACE_S LINGER_S COMMAND...` runs the command and ends it when told to (SIGTERM),
or some time after its standard input closes: the other end is held by the parent, and the system closes it even after
SIGKILL. The command gets SIGTERM, then its whole process group SIGKILL. Should the guard itself be killed, Linux ends
the command.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the command until it ends or must end; return its exit code."""
    grace_s, linger_s, command = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # The guard has one thread so far, which makes preexec_fn safe; and it never ends before the process does, which
    # makes the death signal mean the guard's death.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=_die_with_parent)
    threading.Thread(target=_stop_at_end_of_input, args=(stop, linger_s), daemon=True).start()
    while child.poll() is None and not stop.wait(0.1):
        pass
    if child.poll() is None:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(grace_s)
    with suppress(ProcessLookupError):  # nothing of the group may be left
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop_at_end_of_input(stop: threading.Event, linger_s: float) -> None:
    while os.read(0, 1024):
        pass
    time.sleep(linger_s)
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
