"""Drain, TLS, pages of other origins, worker processes."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from modelyard.core.errors import InvalidInput, PortBusy
from modelyard.gateway.http import Cors, Tls, bind, bind_all
from tests.gateway.harness import eventually, free_port
from tests.gateway.http.harness import living, parse_answers, read_all, read_until, request, talk

GET = request()
ORIGIN = "https://app.example.com"
WORKER = """
import os, sys
from modelyard.gateway.http import Server, bind_all, run, supervise
from modelyard.gateway.errors import openai_error

class Handler:
    def admit(self, request): pass
    def failed(self, refusal, request): return openai_error(refusal.status, refusal.code, refusal.seen)
    def handle(self, request, reply):
        if request.path == "/die": os._exit(9)
        if request.path == "/later":
            import asyncio
            asyncio.get_running_loop().call_later(0.5, reply.send, 200, b"", b"%d" % os.getpid())
        elif request.path != "/never": reply.send(200, b"", b"%d" % os.getpid())

def work(number, listener):
    async def main(): await Server(Handler()).serve([listener])
    run(main)
    return 0

sys.exit(supervise(bind_all("127.0.0.1", int(sys.argv[1]), 2), work))
"""


def whole(data: bytes) -> bool:
    return bool(parse_answers(data)[0])


def test_drain_closes_idle_connections_and_answers_what_is_in_flight() -> None:
    with living() as live, live.connect() as idle, live.connect() as busy, live.connect() as streaming:
        idle.sendall(GET)
        read_until(idle, whole)
        live.handler.later_s = 0.5
        busy.sendall(request(path="/later"))
        streaming.sendall(request(path="/head_first"))
        eventually(lambda: len(live.handler.seen) == 3)
        live.stop()
        assert read_all(idle) == b""
        with pytest.raises(OSError, match="refused"):
            live.connect()
        ((answer,), _), ((stream,), _) = parse_answers(read_all(busy)), parse_answers(read_all(streaming))
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert stream.framing == "chunked"
        live.thread.join(timeout=10)
        assert not live.thread.is_alive()


def test_drain_takes_a_request_that_is_still_arriving() -> None:
    with living() as live, live.connect() as client:
        client.sendall(request("POST", "/echo", "content-length: 5") + b"he")
        eventually(lambda: live.num_connections == 1)
        time.sleep(0.1)
        live.stop()
        time.sleep(0.1)
        client.sendall(b"llo")
        (answer,), _ = parse_answers(read_all(client))
        assert (answer.status, answer.headers["connection"]) == (200, "close")


@pytest.mark.parametrize(("drain_s", "num_stops"), [(0.3, 1), (60.0, 2)], ids=["late", "forced"])
def test_what_outlasts_the_drain_is_broken_off_and_the_handler_told(drain_s: float, num_stops: int) -> None:
    with living(drain_s=drain_s) as live, live.connect() as client:
        client.sendall(request(path="/never"))
        eventually(lambda: live.handler.seen)
        for _ in range(num_stops):
            live.stop()
        live.thread.join(timeout=10)
        assert not live.thread.is_alive()
        assert live.handler.gone == ["/never"]


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


def served_name(port: int) -> str:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as sock:
        sock.sendall(GET)
        assert parse_answers(read_until(sock, whole))[0][0].status == 200
        der = sock.getpeercert(binary_form=True)
    assert der is not None
    return "second" if b"second.test" in der else "first"


def test_tls_serves_and_takes_a_changed_certificate(tmp_path: Path) -> None:
    tls = Tls(*make_certificate(tmp_path, "first.test"))
    with living(tls=tls) as live:
        assert served_name(live.port) == "first"
        (tmp_path / "key.pem").write_text("half of a")
        time.sleep(1.2)
        assert served_name(live.port) == "first"
        make_certificate(tmp_path, "second.test")
        eventually(lambda: served_name(live.port) == "second", seconds=5)


def test_tls_clients_stream_close_and_leave(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "localhost")
    context = ssl.create_default_context(cafile=str(certificate))
    with living(tls=Tls(certificate, key), max_body_bytes=1000) as live:
        url = f"https://localhost:{live.port}"
        with httpx.Client(verify=context, base_url=url) as client:
            assert client.get("/chunks").text == "onetwotwotwotwotwotwotwotwotwotwothree"
            assert client.post("/echo", content=b"x" * 2000).status_code == 413
            with pytest.raises(httpx.ReadTimeout):
                client.get("/never", timeout=0.3)
        eventually(lambda: live.handler.gone == ["/never"])
        with live.connect() as plain:
            plain.sendall(GET)
            assert read_all(plain) == b""
        eventually(lambda: live.num_connections == 0)


@pytest.mark.parametrize("spoil", ["missing", "other key", "encrypted"])
def test_files_that_are_no_certificate_are_refused_at_the_start(tmp_path: Path, spoil: str) -> None:
    certificate, key = make_certificate(tmp_path, "first.test")
    if spoil == "missing":
        key.unlink()
    elif spoil == "other key":
        (tmp_path / "other").mkdir()
        _, key = make_certificate(tmp_path / "other", "second.test")
    else:
        command = ["openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", str(key), "-out", f"{key}.enc"]
        subprocess.run(command, check=True, capture_output=True)
        key = Path(f"{key}.enc")
    with pytest.raises(InvalidInput, match="cannot be used for TLS"):
        Tls(certificate, key)


def preflight(*lines: str) -> bytes:
    return request("OPTIONS", "/echo", "access-control-request-method: POST", *lines)


def test_a_page_of_an_allowed_origin_may_call() -> None:
    asked = "access-control-request-headers: authorization, content-type"
    with living(cors=Cors([ORIGIN], exposed=["x-request-id"])) as live:
        allowed, plain, refused, stream = talk(
            live.port,
            preflight(f"origin: {ORIGIN}", asked, "x-refuse: a preflight has no key"),
            request("GET", "/echo", f"origin: {ORIGIN}"),
            request("GET", "/echo", f"origin: {ORIGIN}", "x-refuse: 1"),
            request("GET", "/chunks", f"origin: {ORIGIN}"),
        ).answers
        assert [seen.method for seen in live.handler.seen] == ["GET", "GET"]
    assert (allowed.status, refused.status) == (204, 401)
    assert allowed.headers["access-control-allow-headers"] == "authorization, content-type"
    assert "POST" in allowed.headers["access-control-allow-methods"]
    for answer in (allowed, plain, refused, stream):
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["access-control-expose-headers"] == "x-request-id"
        assert answer.headers["vary"] == "origin"


def test_a_page_of_another_origin_may_not() -> None:
    with living(cors=Cors([ORIGIN])) as live:
        answers = talk(live.port, preflight("origin: https://evil.example"), GET).answers
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["vary"] == "origin"


def test_a_star_allows_every_page_and_nothing_set_allows_none() -> None:
    with living(cors=Cors(["*"])) as live:
        answers = talk(live.port, preflight(f"origin: {ORIGIN}"), GET).answers
    assert [answer.headers["access-control-allow-origin"] for answer in answers] == ["*", "*"]
    with living() as live:
        answers = talk(live.port, preflight(f"origin: {ORIGIN}")).answers
        assert [seen.method for seen in live.handler.seen] == ["OPTIONS"]
    assert "access-control-allow-origin" not in answers[0].headers


def test_a_shared_address_is_not_taken_from_another_program() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        for count in (1, 3):
            with pytest.raises(PortBusy):
                bind_all("127.0.0.1", port, count)
    sockets = bind_all("127.0.0.1", 0, 3)
    assert len({sock.getsockname() for sock in sockets}) == 1
    with pytest.raises(PortBusy):
        bind_all("127.0.0.1", sockets[0].getsockname()[1], 2)
    for sock in sockets:
        sock.close()


@contextmanager
def workers() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", WORKER, str(port)], stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            eventually(lambda: ask(url))
            yield process, url
        finally:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


def ask(url: str, path: str = "/") -> int:
    """The process that answered; 0 where none did."""
    try:
        return int(httpx.get(url + path, timeout=10).text)
    except httpx.TransportError:
        return 0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_share_the_load_and_are_started_again() -> None:
    with workers() as (process, url):
        first = eventually(lambda: len(found := {ask(url) for _ in range(30)}) == 2 and found)
        assert process.pid not in first
        ask(url, "/die")
        (survivor,) = eventually(lambda: len(left := {pid for pid in first if alive(pid)}) == 1 and left)
        second = eventually(lambda: len(found := {ask(url) for _ in range(30)}) == 2 and found)
        assert survivor in second
        assert 0 not in second
        process.terminate()
        assert process.wait(timeout=10) == 0
        assert not [pid for pid in second if alive(pid)]


def test_an_upgrade_with_a_coding_that_is_none_is_refused() -> None:
    head = b"POST /echo HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: x\r\ntransfer-encoding: gzip\r\n\r\n"
    with living() as live, live.connect() as client:
        client.sendall(head + b"5\r\nhello\r\n0\r\n\r\n")
        (answer,), _ = parse_answers(read_all(client))
        assert answer.status == 400


def test_workers_whose_parent_was_killed_answer_what_they_have_and_end() -> None:
    with workers() as (process, url):
        port = int(url.rpartition(":")[2])
        both = eventually(lambda: len(found := {ask(url) for _ in range(30)}) == 2 and found)
        with socket.create_connection(("127.0.0.1", port)) as later:
            later.sendall(request(path="/later"))
            time.sleep(0.2)
            process.kill()
            assert parse_answers(read_all(later))[0][0].status == 200
        eventually(lambda: not [pid for pid in both if alive(pid)])


def test_sigterm_to_the_parent_drains_the_workers_and_a_second_one_ends_them() -> None:
    with workers() as (process, url):
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as later:
            later.sendall(request(path="/later"))
            time.sleep(0.2)
            process.terminate()
            assert parse_answers(read_all(later))[0][0].status == 200
        assert process.wait(timeout=10) == 0
    with workers() as (process, url):
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as never:
            never.sendall(request(path="/never"))
            time.sleep(0.2)
            process.terminate()
            time.sleep(0.3)
            assert process.poll() is None
            process.terminate()
            assert process.wait(timeout=5) == 0
