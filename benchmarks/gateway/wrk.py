"""wrk as the client of a closed loop: so many connections, each with its next request as soon as it has its answer."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

_SCRIPT = Path(__file__).resolve().parent / "requests.lua"
_LONGEST_S = 3600


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What wrk tells of a run. Latencies are those of a closed loop: under load, of no use for comparison."""

    requests: int
    duration_us: int
    bytes: int
    p50_us: int
    p99_us: int
    connect: int
    read: int
    write: int
    status: int
    timeout: int

    @property
    def num_failed(self) -> int:
        """Answers that were not 2xx or 3xx, and connections that broke."""
        return self.connect + self.read + self.write + self.status + self.timeout


def drive(port: int, requests: Sequence[bytes], *, number: int, connections: int) -> Told:
    """Send so many requests and wait for their answers. Raises: SystemExit where any failed."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(b"%08d" % len(request) + request for request in requests))
        file.flush()
        command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{_LONGEST_S}s", "--timeout", "60s", "-s", _SCRIPT]
        command += [f"http://127.0.0.1:{port}", "--", file.name]
        command += [str(number + connections)]  # when the last of them is sent, no more than so many are on their way
        answer, failure = _run_until_sent(command)
    if "{" not in answer:
        raise SystemExit(f"wrk failed: {answer}{failure}")
    told = msgspec.json.decode(answer[answer.rindex("{") :], type=Told)
    if told.num_failed or told.requests < number - 1:
        raise SystemExit(f"{told.num_failed} of {number} requests failed: {told}")
    return told


def _run_until_sent(command: Sequence[str | Path]) -> tuple[str, str]:
    """Run wrk until it says that it has sent its requests, as it ends itself by time alone; its output and errors."""
    pipe = subprocess.PIPE
    with subprocess.Popen([str(part) for part in command], stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        answer, failure = process.communicate()
    return answer, said + failure
