"""Limits, time limits, refusals and clients that leave."""

import contextlib
import json
import socket
import time

import pytest

from tests.gateway.harness import eventually
from tests.gateway.http.harness import CHUNKED_HEAD, Live, living, parse_answers, read_all, request, talk
from tests.gateway.http.harness import read_until as read

GET = request()


def code(body: bytes) -> str:
    return str(json.loads(body)["error"]["code"])


def test_the_handler_sees_the_request_as_it_was_sent() -> None:
    with living() as live:
        before_s = time.monotonic()
        talk(live.port, request("POST", "/echo?a=%20b", "X-Say: Hi", body=b"hello"))
        (seen,) = live.handler.seen
    assert (seen.method, seen.path, seen.query, seen.body) == ("POST", "/echo", b"a=%20b", b"hello")
    assert seen.headers == {b"host": b"test", b"x-say": b"Hi", b"content-length": b"5"}
    assert seen.peer == "127.0.0.1"
    assert before_s < seen.started_s < time.monotonic()


def test_a_body_of_many_pieces_arrives_whole() -> None:
    body = bytes(range(256)) * 20_000
    with living() as live, live.connect() as client:
        client.sendall(request("POST", "/echo", body=body))
        read(client, lambda data: bool(parse_answers(data)[0]))
        client.sendall(CHUNKED_HEAD)
        for start in range(0, len(body), 100_000):
            piece = body[start : start + 100_000]
            client.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        client.sendall(b"0\r\n\r\n")
        read(client, lambda data: bool(parse_answers(data)[0]))
        assert [seen.body for seen in live.handler.seen] == [body, body]


def test_a_length_beyond_the_limit_is_refused_before_the_body() -> None:
    with living(max_body_bytes=1000) as live:
        fits = talk(live.port, request("POST", body=b"x" * 1000))
        head = request("POST", "/echo", "content-length: 1001")
        outcome = talk(live.port, head)
        expecting = talk(live.port, head.replace(b"host", b"expect: 100-continue\r\nhost"))
    assert fits.statuses == [200]
    for refused in (outcome, expecting):
        assert [answer.status for answer in refused.answers] == [413]
        assert code(refused.answers[0].body) == "body_too_large"
        assert not refused.is_open


def test_a_chunked_body_beyond_the_limit_is_refused_while_it_arrives() -> None:
    with living(max_body_bytes=1000) as live:
        outcome = talk(live.port, CHUNKED_HEAD, *[b"64\r\n%b\r\n" % (b"x" * 100)] * 30)
        assert live.handler.seen == []
    assert outcome.statuses == [413]
    assert not outcome.is_open


def test_a_client_that_sends_on_after_a_refusal_still_reads_it() -> None:
    with living(max_body_bytes=1000) as live, live.connect() as client:
        client.sendall(request("POST", "/echo", "content-length: 3000000"))
        for _ in range(30):
            client.sendall(b"x" * 100_000)
        (answer,), _ = parse_answers(read_all(client))
    assert answer.status == 413


def test_a_refused_client_that_sends_without_end_is_left() -> None:
    with living(max_body_bytes=1000, linger_s=0.5) as live, live.connect() as client:
        client.sendall(request("POST", "/echo", "content-length: 3000000000"))

        def push() -> None:
            while True:
                client.sendall(b"x" * 1000)
                time.sleep(0.01)

        with pytest.raises((ConnectionError, TimeoutError)):
            push()
        eventually(lambda: live.num_connections == 0)


@pytest.mark.parametrize(
    "lines",
    [
        ["x-long: " + "x" * 2000],
        ["x-long: " + "x" * 400_000],
        [f"x-{number}: a" for number in range(51)],
        ["x-same: a"] * 51,
        ["x-same: a"] * 20_000,
    ],
    ids=["long", "very_long", "many", "repeated", "bomb"],
)
def test_a_head_beyond_the_limits_is_refused(lines: list[str]) -> None:
    with living(max_head_bytes=2000, max_headers=50) as live:
        outcome = talk(live.port, request("GET", "/echo", *lines))
        assert live.handler.seen == []
    assert outcome.statuses == [431]
    assert code(outcome.answers[0].body) == "head_too_large"
    assert not outcome.is_open


def test_a_head_without_end_is_refused() -> None:
    with living(max_head_bytes=2000) as live:
        pieces = [b"x" * 1000] * 8
        outcomes = [talk(live.port, b"GET /", *pieces), talk(live.port, b"GET / HTTP/1.1\r\nx: ", *pieces)]
    assert [outcome.statuses for outcome in outcomes] == [[431], [431]]


@pytest.mark.parametrize("rest", [b"0\r\nx-trailer: ", b"5;ext="], ids=["trailer", "extension"])
def test_what_is_no_body_has_an_end_too(rest: bytes) -> None:
    with living(max_head_bytes=2000) as live:
        outcome = talk(live.port, CHUNKED_HEAD + rest, *[b"x" * 1000] * 8)
    assert outcome.statuses == [431]


def test_a_small_head_after_a_large_body_is_no_large_head() -> None:
    body = b"x" * 5000
    with living(max_head_bytes=2000) as live:
        outcome = talk(live.port, request("POST", body=body) + GET[:10], GET[10:20], GET[20:])
    assert outcome.statuses == [200, 200]


def test_slow_heads_and_bodies_are_refused() -> None:
    with living(head_s=0.3, body_s=0.3, min_body_bytes_s=100) as live, live.connect() as head, live.connect() as body:
        head.sendall(b"GET / HTTP/1.1\r\nhost: te")
        body.sendall(request("POST", "/echo", "content-length: 1000"))
        for sock in (head, body):
            (answer,), _ = parse_answers(read_all(sock))
            assert answer.status == 408
            assert answer.headers["connection"] == "close"


def test_a_body_that_drips_is_refused_and_one_that_flows_is_not() -> None:
    with living(body_s=0.6, min_body_bytes_s=100) as live, live.connect() as drips, live.connect() as flows:
        for sock in (drips, flows):
            sock.sendall(request("POST", "/echo", "content-length: 2000"))
        for _ in range(20):
            flows.sendall(b"x" * 100)
            with contextlib.suppress(ConnectionError):
                drips.sendall(b"x")
            time.sleep(0.1)
        (late,), _ = parse_answers(read_all(drips))
        (answer,), _ = parse_answers(read(flows, lambda data: bool(parse_answers(data)[0])))
    assert (late.status, answer.status) == (408, 200)


def test_idle_connections_are_closed_and_busy_ones_are_not() -> None:
    with living(idle_s=0.3) as live, live.connect() as silent, live.connect() as used, live.connect() as busy:
        live.handler.later_s = 1.0
        used.sendall(GET)
        busy.sendall(request(path="/later"))
        assert read_all(silent) == b""
        assert len(parse_answers(read_all(used))[0]) == 1
        assert parse_answers(read_all(busy))[0][0].status == 200


def test_a_refusal_of_the_handler_keeps_the_connection_where_the_body_is_there() -> None:
    refused = request("POST", "/echo", "x-refuse: 1", body=b"hello")
    with living() as live:
        outcome = talk(live.port, refused, GET, request("GET", "/refuse"))
        unfinished = talk(live.port, refused[:-2])
        expecting = talk(
            live.port, request("POST", "/echo", "x-refuse: 1", "expect: 100-continue", "content-length: 5")
        )
    assert outcome.statuses == [401, 200, 429]
    assert outcome.is_open
    assert outcome.answers[0].headers["www-authenticate"] == "Bearer"
    assert outcome.answers[2].headers["retry-after"] == "3"
    assert (unfinished.statuses, unfinished.is_open) == ([401], False)
    assert [answer.status for answer in expecting.answers] == [401]


def test_100_continue_is_said_once_and_only_where_it_is_waited_for() -> None:
    head = request("POST", "/echo", "expect: 100-continue", "content-length: 6")
    chunked = request("POST", "/echo", "expect: 100-continue", "transfer-encoding: chunked")
    with living() as live:
        outcome = talk(live.port, head, b"abc", b"def")
        at_once = talk(live.port, head + b"abcdef")
        slow_chunk = talk(live.port, chunked, b"3", b"\r\n", b"abc\r\n0\r\n\r\n")
        behind = talk(live.port, request(path="/later") + head, b"abcdef", gap_s=0.1)
    assert [answer.status for answer in outcome.answers] == [100, 200]
    assert [answer.status for answer in at_once.answers] == [200]
    assert [answer.status for answer in slow_chunk.answers] == [100, 200]
    assert [answer.status for answer in behind.answers] == [200, 100, 200]


def test_a_handler_that_breaks_is_told_and_logged() -> None:
    with living(may_fail=True) as live:
        outcome = talk(live.port, request(path="/break"), request("GET", "/echo", "x-break-early: 1"), GET)
        late = talk(live.port, request(path="/break_late"))
        assert len(live.problems) == 3
        assert all("failed" in problem for problem in live.problems)
    assert outcome.statuses == [500, 500, 200]
    assert late.statuses == []
    assert late.rest.endswith(b"4\r\nsome\r\n")
    assert not late.is_open


def test_a_long_pipeline_is_answered_in_order_and_bounded() -> None:
    with living() as live:
        count = 50
        data = request(path="/later") + b"".join(request(path=f"/echo?{number}") for number in range(count))
        outcome = talk(live.port, data)
        assert [answer.status for answer in outcome.answers] == [200] * (count + 1)
        assert [seen.query for seen in live.handler.seen[1:]] == [b"%d" % number for number in range(count)]
        bounded = talk(live.port, request(path="/later") + GET * 5000)
    assert len(bounded.statuses) == 101
    assert bounded.answers[-1].headers["connection"] == "close"
    assert not bounded.is_open


def test_reading_stops_while_a_pipeline_waits() -> None:
    with living() as live, live.connect() as client:
        client.sendall(request(path="/never") + GET)
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.sendall(GET * 1_000_000)
        assert len(live.handler.seen) == 1


def leave_by_close(client: socket.socket) -> None:
    client.close()


def leave_by_reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


@pytest.mark.parametrize("leave", [leave_by_close, leave_by_reset])
@pytest.mark.parametrize("path", ["/never", "/head_first"])
def test_the_handler_is_told_once_that_the_client_left(path: str, leave: object) -> None:
    with living() as live:
        client = live.connect()
        client.sendall(request("POST", path, body=b"hello"))
        eventually(lambda: live.handler.seen)
        began_s = time.monotonic()
        leave(client)  # type: ignore[operator]
        eventually(lambda: live.num_connections == 0, seconds=5)
        assert time.monotonic() - began_s < 1.5
        if path == "/never":
            assert live.handler.gone == [path]


def test_an_answer_that_is_out_tells_nobody_that_the_client_left() -> None:
    with living() as live:
        client = live.connect()
        client.sendall(GET)
        read(client, lambda data: bool(parse_answers(data)[0]))
        client.close()
        eventually(lambda: live.num_connections == 0)
        assert live.handler.gone == []


def test_a_client_that_leaves_in_its_body_is_forgotten() -> None:
    with living() as live:
        client = live.connect()
        client.sendall(request("POST", "/echo", "content-length: 100") + b"abc")
        eventually(lambda: live.num_connections == 1)
        client.close()
        eventually(lambda: live.num_connections == 0)
        assert live.handler.seen == []


def test_a_slow_reader_pauses_the_flow_and_resumes_it() -> None:
    with living() as live, live.connect() as client:
        client.sendall(request(path="/flood"))
        eventually(lambda: live.handler.events == ["pause"])
        answers, _ = parse_answers(read(client, lambda data: data.endswith(b"end\r\n0\r\n\r\n")))
        assert live.handler.events == ["pause", "resume"]
    assert answers[0].body.endswith(b"xend")


def test_a_client_that_never_reads_is_left() -> None:
    with living(write_s=0.3) as live, live.connect() as client:
        client.sendall(request(path="/flood"))
        eventually(lambda: live.handler.gone == ["/flood"], seconds=5)
        eventually(lambda: live.num_connections == 0)


def test_a_broken_off_stream_cannot_be_taken_for_a_whole_one() -> None:
    with living() as live:
        outcome = talk(live.port, request(path="/abort"))
        assert (outcome.statuses, outcome.is_open) == ([], False)
        assert outcome.rest.endswith(b"some\r\n")
        with live.connect() as client:
            client.sendall(b"GET /abort HTTP/1.0\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                read_all(client)
        assert live.handler.gone == []


def test_the_head_of_a_stream_goes_out_without_a_chunk_and_with_one_in_one_piece() -> None:
    with living() as live, live.connect() as client:
        client.sendall(request(path="/head_first"))
        assert client.recv(65_536).endswith(b"\r\n\r\n")
        assert client.recv(65_536) == b"0\r\n\r\n"
        client.sendall(request(path="/chunks"))
        assert client.recv(65_536).endswith(b"\r\n\r\n3\r\none\r\n")


def test_too_many_connections_are_told_so(live_of_two: Live) -> None:
    live = live_of_two
    with live.connect() as first, live.connect() as second:
        eventually(lambda: live.num_connections == 2)
        with live.connect() as third:
            third.sendall(GET)
            (answer,), _ = parse_answers(read_all(third))
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert code(answer.body) == "too_many_connections"
        for sock in (first, second):
            sock.sendall(GET)
            assert parse_answers(read(sock, lambda data: bool(parse_answers(data)[0])))[0][0].status == 200
    eventually(lambda: live.num_connections == 0)
    assert talk(live.port, GET).statuses == [200]
