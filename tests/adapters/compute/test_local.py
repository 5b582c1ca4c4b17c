import os
import signal
import subprocess
import sys
import time

import pytest

from modelyard.adapters.compute import local
from modelyard.adapters.compute.local import LocalCompute
from modelyard.core.errors import JobFailed


def python(code):
    return [sys.executable, "-c", code]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid, timeout_s=15.0):
    deadline = time.monotonic() + timeout_s
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_objects_are_progress_and_the_rest_is_kept(tmp_path):
    seen = []
    code = """
import sys
print('{"step": 1}'); print("hello"); print('{broken'); print('[1]'); print('{"step": 2}')
print("aside", file=sys.stderr)
"""
    compute = LocalCompute(tmp_path / "logs" / "jobs.log")
    compute.run(python(code), env={}, progress=seen.append)
    assert seen == [{"step": 1}, {"step": 2}]
    log = (tmp_path / "logs" / "jobs.log").read_text()
    assert all(word in log for word in ("hello", "{broken", "[1]", "aside"))
    assert '\n{"step"' not in log


def test_the_environment_is_laid_over_ours(monkeypatch):
    monkeypatch.setenv("OURS", "kept")
    seen = []
    code = "import os, json; print(json.dumps({k: os.environ.get(k) for k in ('OURS', 'GIVEN')}))"
    LocalCompute().run(python(code), env={"GIVEN": "new"}, progress=seen.append)
    assert seen == [{"OURS": "kept", "GIVEN": "new"}]


def test_a_failure_carries_its_code_and_last_words(tmp_path):
    code = "import sys\nfor i in range(100): print('line', i, file=sys.stderr)\nsys.exit(3)"
    with pytest.raises(JobFailed) as raised:
        LocalCompute(tmp_path / "jobs.log").run(python(code), env={}, progress=lambda _: None)
    assert "ended with code 3" in raised.value.seen
    assert "line 99" in raised.value.seen
    assert "line 10\n" not in raised.value.seen
    assert "jobs.log" in raised.value.fix


def test_a_command_that_does_not_exist_is_a_failure():
    with pytest.raises(JobFailed):
        LocalCompute().run(["/nowhere/at-all"], env={}, progress=lambda _: None)


def test_much_output_on_both_streams_does_not_block():
    code = "import sys\nfor i in range(20000): print('x' * 50); print('y' * 50, file=sys.stderr)"
    LocalCompute().run(python(code), env={}, progress=lambda _: None)


def test_a_listener_that_raises_ends_the_command():
    pids = []

    def listen(event):
        pids.append(event["pid"])
        raise RuntimeError("enough")

    code = "import os, time; print('{\"pid\": %d}' % os.getpid(), flush=True); time.sleep(60)"
    with pytest.raises(RuntimeError, match="enough"):
        LocalCompute().run(python(code), env={}, progress=listen)
    assert wait_until_gone(pids[0])


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_the_command_ends_with_us(sign, tmp_path):
    child = "import os, time; print('{\"pid\": %d}' % os.getpid(), flush=True); time.sleep(60)"
    parent = f"""
import sys
from modelyard.adapters.compute.local import LocalCompute
LocalCompute().run([sys.executable, "-c", {child!r}], env={{}}, progress=lambda e: print(e["pid"], flush=True))
"""
    process = subprocess.Popen(python(parent), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    pid = int(process.stdout.readline())
    assert alive(pid)
    os.kill(process.pid, sign)
    process.wait()
    process.stdout.close()
    assert wait_until_gone(pid)


def test_killed_is_not_out_of_memory_and_out_of_memory_is_named(monkeypatch):
    suicide = python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(JobFailed, match="killed from outside"):
        LocalCompute().run(suicide, env={}, progress=lambda _: None)
    counts = iter([4, 5])
    monkeypatch.setattr(local, "_memory_kills", lambda: next(counts))
    with pytest.raises(JobFailed, match="because memory ran out") as raised:
        LocalCompute().run(suicide, env={}, progress=lambda _: None)
    assert "batch_size" in raised.value.fix
