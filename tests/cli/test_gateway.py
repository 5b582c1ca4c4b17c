"""`modelyard gateway` as a person runs it: serve, a load on it, its status."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from modelyard.cli.gateway_status import samples_of, status_of
from modelyard.core.files import write_atomically
from modelyard.ports.kills import FILE_NAME, Kill, encode_kills
from modelyard.ports.limits import Limits
from modelyard.ports.routes import Service
from modelyard.workflows.load import Load, Sample, base_of, histogram_of, report_of
from tests.gateway.harness import KEY, Yard, answers, eventually, free_port, key_of, serving, variant
from tests.gateway.upstream import Engine

COMMAND = [sys.executable, "-m", "modelyard", "gateway"]
ENV = {**os.environ, "YARD_KEY": KEY}


def modelyard(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], env=ENV, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def running(yard: Yard, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    port = free_port()
    yard.url = f"http://127.0.0.1:{port}"
    words = ["--table", str(yard.table), "--journal", str(yard.journal), "--port", str(port), *flags]
    with subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE) as process:
        try:
            eventually(lambda: answers(f"{yard.url}/ready"))
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """A gateway of two workers, in front of an engine whose streams have pieces 10 ms apart."""
    yard = Yard(tmp_path_factory.mktemp("served"))
    with serving(Engine(piece_delay_s=0.01)) as engine_url:
        key = msgspec.structs.replace(key_of("sk-few"), id="key-few", limits=Limits(requests_per_minute=6, burst=3))
        service = Service(name="support", champion=variant("champ", engine_url))
        yard.publish(service, keys=(key_of(), key), wait=False)
        with running(yard, "--workers", "2", "--log-format", "json") as process:
            yield yard
            process.terminate()
            assert process.wait(timeout=20) == 0


def test_a_load_is_sent_at_its_rate_and_told_in_numbers(served: Yard) -> None:
    done = modelyard("bench", served.url, "--key", "YARD_KEY", "--rate", "40", "--seconds", "1", "--stream", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["model"], report["requests"], report["answered"], report["errors"]) == ("support", 40, 40, {})
    assert 0.9 < report["wall_s"] < 5
    assert report["first_byte_ms"]["p50"] <= report["total_ms"]["p50"] <= report["total_ms"]["p99"]
    assert report["overhead_us"]["p50"] > 0
    assert report["tokens_per_s"]["p50"] > 0
    assert report["tokens"] > 40
    assert sum(count for _, count in report["histogram_ms"]) == 40


def test_a_load_in_words_has_a_picture(served: Yard) -> None:
    done = modelyard("bench", f"{served.url}/v1/", "--key", "YARD_KEY", "--rate", "20", "--seconds", "0.5")
    assert done.returncode == 0, done.stderr
    assert "10 of 10 answers from support" in done.stdout
    assert "gateway's own time (us)" in done.stdout
    assert "up to" in done.stdout
    assert "#" in done.stdout
    assert "Sending: done" in done.stderr


def test_errors_are_counted_by_code(served: Yard) -> None:
    done = subprocess.run(
        [*COMMAND, "bench", served.url, "--key", "FEW", "--rate", "20", "--seconds", "1", "--json"],
        env={**ENV, "FEW": "sk-few"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["answered"] + sum(report["errors"].values()) == 20
    assert list(report["errors"]) == ["429 rate_limit_exceeded"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("bench", "{url}"), 2, "401 missing_api_key"),
        (("bench", "{url}", "--key", "NO_SUCH_NAME"), 2, "the environment variable NO_SUCH_NAME is not set"),
        (("bench", "{url}", "--key", "YARD_KEY", "--model", "nobody"), 2, "404 model_not_found"),
        (("bench", "http://127.0.0.1:9"), 6, "the address does not answer"),
        (("bench", "127.0.0.1:9"), 2, "is no address"),
        (("status", "http://127.0.0.1:9"), 6, "no gateway answers there"),
        (("status", "--table", "nowhere.json"), 4, "there is no route table at nowhere.json"),
        (("status",), 2, "give either"),
        ((), 2, "--table and --journal are needed"),
        (("--table", "t", "--journal", "j", "--redis", "NO_SUCH_NAME"), 2, "NO_SUCH_NAME is not set"),
        (("--table", "t", "--journal", "j", "--tls-key", "k"), 2, "TLS needs a certificate and a key"),
        (("--table", "t", "--journal", "j", "--on-redis-down", "maybe"), 2, "maybe"),
    ],
)
def test_a_mistake_is_told_before_anything_is_sent(served: Yard, words: tuple[str, ...], code: int, said: str) -> None:
    done = modelyard(*(word.format(url=served.url) for word in words))
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert KEY not in done.stderr + done.stdout


def test_status_of_a_running_gateway(served: Yard) -> None:
    served.post()
    found = json.loads(modelyard("status", served.url, "--json").stdout)
    assert (found["ready"], found["table_version"], found["troubles"]) == (True, 1, {})
    support = found["services"]["support"]
    assert support["requests"] >= 1
    assert set(support["replicas"].values()) == {"closed"}
    assert "ready, route table 1" in modelyard("status", served.url).stdout


def test_status_of_files(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    champion, challenger = variant("champ", "http://secret:1"), variant("chall", "http://secret:1")
    yard.publish(Service(name="support", champion=champion, challenger=challenger, weight_bp=500))
    write_atomically(tmp_path / FILE_NAME, encode_kills((Kill(kind="tenant", name="acme", reason="runaway"),)))
    told = modelyard("status", "--table", str(yard.table)).stdout
    assert "champ@123" in told
    assert "chall@123 (5%)" in told
    assert "stopped: tenant acme runaway" in told
    assert "secret" not in told
    found = json.loads(modelyard("status", "--table", str(yard.table), "--json").stdout)
    assert found["services"]["support"]["challenger_percent"] == 5


def test_a_broken_table_and_lost_lines_are_told() -> None:
    page = (
        "modelyard_gateway_table_broken 1\nmodelyard_gateway_journal_lost_total 7\nmodelyard_gateway_table_version 3\n"
        'modelyard_gateway_requests_total{service="a",role="champion",release="x",status="200"} 2\n'
        'modelyard_gateway_requests_total{service="a",role="champion",release="x",status="502"} 1\n'
        'modelyard_gateway_replica_state{service="a",variant="v",release="x",replica="0",state="open"} 1\n'
        'modelyard_gateway_replica_state{service="a",variant="v",release="x",replica="0",state="closed"} 0\n'
    )
    found = status_of(False, samples_of(page))
    assert found["troubles"] == {
        "1 while the newest route table could not be taken": 1,
        "journal lines given up": 7,
    }
    assert found["services"]["a"] == {
        "requests": 3,
        "errors": 0,
        "in_flight": 0,
        "waiting": 0,
        "replicas": {"v/0": "open"},
    }


@pytest.mark.parametrize("said", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_addresses_in_any_form(said: str) -> None:
    assert base_of(f"https://host:1{said}") == "https://host:1/v1"


def test_what_waits_for_room_here_is_counted_from_when_it_was_due() -> None:
    with serving(Engine(delay_s=0.3)) as url:
        done = modelyard(
            "bench", url, "--model", "champ", "--rate", "20", "--seconds", "0.5", "--concurrency", "1", "--json"
        )
    report = json.loads(done.stdout)
    assert report["answered"] == 10
    assert report["total_ms"]["most"] > 2000
    assert report["late_ms"]["most"] > 1700


def test_percentiles_and_bars() -> None:
    samples = [Sample(total_ms=float(n), first_ms=1.0, tokens=2) for n in range(1, 101)] + [Sample(error="502 x")]
    report = report_of(Load(url="http://x", stream=True), samples, 10.0)
    assert report.total_ms is not None
    assert (report.total_ms.p50, report.total_ms.p90, report.total_ms.p99, report.total_ms.most) == (50, 90, 99, 100)
    assert (report.answered, report.errors) == (100, {"502 x": 1})
    bars = histogram_of([1.0, 1.2, 10.0])
    assert sum(count for _, count in bars) == 3
    assert bars[0] == (1.5, 2)
    assert bars[-1][0] >= 10.0


def test_a_signal_ends_it_with_code_0(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    yard.publish(Service(name="support", champion=variant("champ", "http://127.0.0.1:9")), wait=False)
    with running(yard) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
