"""Byte conversations nobody planned, against a live server: it never hangs, fails, leaks or stops answering.

What was found is kept in `corpus/`, one file a conversation (its pieces divided by `PIECE`), and replayed always.
"""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.harness import eventually
from tests.gateway.http.cases import CASES
from tests.gateway.http.harness import Live, living, parse_answers, read_until, request

CORPUS = Path(__file__).parent / "corpus"
PIECE = b"\n--8<--\n"
ANY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
QUICK = {"head_s": 1.0, "body_s": 1.0, "idle_s": 1.0, "linger_s": 0.5, "max_body_bytes": 5000, "max_head_bytes": 4000}
SEEDS = [b"".join(case.pieces) for case in CASES]
TOKENS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b":",
    b";",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"chunked",
]
TOKENS += [b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n", b"host: b\r\n", b"connection: close\r\n"]
TOKENS += [b"expect: 100-continue\r\n", b"connection: upgrade\r\nupgrade: h2c\r\n", b"ffffffff\r\n", b"GET /later "]
TOKENS += [b"x" * 5000, b"\xff", b"/chunks", b"x-refuse: 1\r\n"]


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Requests that are valid or nearly so, bent, and cut into pieces."""
    data = b"".join(draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 4))):
        data = bend(draw, data)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def bend(draw: st.DrawFn, data: bytes) -> bytes:
    kind = draw(st.sampled_from(["cut", "insert", "duplicate", "flip", "shuffle", "noise"]))
    start, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
    if kind == "cut":
        return data[:start] + data[end:]
    if kind == "insert":
        return data[:start] + draw(st.sampled_from(TOKENS)) + data[start:]
    if kind == "duplicate":
        return data[:end] + data[start:end] + data[end:]
    if kind == "flip":
        return data[:start] + bytes([draw(st.integers(0, 255))]) + data[start + 1 :]
    if kind == "shuffle":
        return b"\r\n".join(draw(st.permutations(data.split(b"\r\n"))))
    return data[:start] + draw(st.binary(max_size=40)) + data[start:]


def hold(live: Live, pieces: list[bytes], *, half_close: bool) -> None:
    """Send the pieces, read for a moment, leave. What comes back, if anything does, begins as an answer does."""
    data = b""
    with live.connect() as client, contextlib.suppress(OSError):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        client.settimeout(0.02)
        while more := client.recv(65_536):
            data += more
    assert not data or data.startswith(b"HTTP/1.1 "), data[:200]


def check(live: Live) -> None:
    with live.connect() as client:
        client.sendall(request())
        (answer,), _ = parse_answers(read_until(client, lambda data: bool(parse_answers(data)[0])))
    assert answer.status == 200
    assert live.problems == []


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with living(**QUICK) as live:
        yield live
        eventually(lambda: live.num_connections == 0, seconds=10)


@settings(ANY, max_examples=250, derandomize=True)
@given(pieces=conversations(), half_close=st.booleans())
def test_it_survives(live: Live, pieces: list[bytes], half_close: bool) -> None:
    hold(live, pieces, half_close=half_close)
    check(live)


@pytest.mark.long
@settings(ANY, max_examples=2000)
@given(pieces=conversations(), half_close=st.booleans())
def test_it_survives_what_was_never_tried(live: Live, pieces: list[bytes], half_close: bool) -> None:
    hold(live, pieces, half_close=half_close)
    check(live)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.bin")), ids=lambda path: path.stem)
def test_it_survives_what_was_found(live: Live, path: Path) -> None:
    pieces = path.read_bytes().split(PIECE)
    for half_close in (False, True):
        hold(live, pieces, half_close=half_close)
        check(live)


def test_conversations_that_are_never_ended_end_by_themselves(live: Live) -> None:
    clients = [live.connect() for _ in SEEDS]
    for client, seed in zip(clients, SEEDS, strict=True):
        client.sendall(seed[: len(seed) * 2 // 3])
    began_s = time.monotonic()
    # The longest chain: half a body, the body's time, the time to linger, each looked at once a second.
    eventually(lambda: live.num_connections == 0, seconds=8)
    assert time.monotonic() - began_s < 8
    for client in clients:
        client.close()
    check(live)
