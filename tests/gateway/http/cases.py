"""The shared corpus: byte conversations that are held with uvicorn and with our server."""

from collections.abc import Sequence
from typing import Any

import msgspec

from tests.gateway.http.harness import request


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent, in pieces. Where ours differs on purpose, `ours` has its statuses and whether the connection stays
    open, and `why` the reason. Where uvicorn's outcome hangs on how the bytes fall into reads, the case is not `steady`
    and ours alone is held to `ours`. `cut`: ours breaks the answer off, so that a piece of it is left over."""

    name: str
    pieces: tuple[bytes, ...]
    methods: tuple[str, ...] = ()
    half_close: bool = False
    ours: tuple[list[int], bool] | None = None
    why: str = ""
    steady: bool = True
    cut: bool = False


CASES: list[Case] = []


def add(name: str, *pieces: bytes, methods: Sequence[str] = (), **options: Any) -> None:
    CASES.append(Case(name=name, pieces=pieces, methods=tuple(methods), **options))


def raw(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


GET = request()
POST = request("POST", body=b"hello")
CHUNKED = request("POST", "/echo", "transfer-encoding: chunked")
REFUSED = [400], False

# Plain requests and connections that stay open.
add("get", GET)
add("post", POST)
add("two_in_turn", GET, POST)
add("byte_by_byte", *(POST[i : i + 1] for i in range(len(POST))))
add("query", request(path="/echo?a=1&b=%20"))
add("empty_query", request(path="/echo?"))
add("escaped_path", request(path="/ec%68o%20x"))
add("unicode_path", request(path="/%C3%A9"))
add("empty_header", request("GET", "/echo", "x-say:"))
add("header_spaces", request("GET", "/echo", "x-say: \t hello  world"))
add("latin1_header", request("GET", "/echo", "x-say: caf\xe9"))
add("upper_case_names", request("GET", "/echo", "X-SAY: hello"))
add("leading_newlines", b"\r\n\r\n" + GET)
add("empty_body", request("POST", "/echo", "content-length: 0"))
add("post_without_length", request("POST", "/echo"))
add("head", request("HEAD"), methods=["HEAD"])
add("head_then_get", request("HEAD"), GET, methods=["HEAD", "GET"])
add("head_of_stream", request("HEAD", "/chunks"), methods=["HEAD"])
add("options", request("OPTIONS"))
add("options_star", raw("OPTIONS * HTTP/1.1", "host: test"))
add("delete_with_body", request("DELETE", body=b"x"))
add("no_content", request(path="/empty"))
add("no_content_then_get", request(path="/empty"), GET)
add("stream", request(path="/chunks"))
add("stream_then_get", request(path="/chunks"), GET)
add("close", request("GET", "/echo", "connection: close"))
add("close_upper_case", request("GET", "/echo", "Connection: Close"))
add("close_among_others", request("GET", "/echo", "connection: foo, close"))
add("close_stream", request("GET", "/chunks", "connection: close"))
add("keep_alive_said", request("GET", "/echo", "connection: keep-alive"))
add("incomplete_head", b"GET /echo HTTP/1.1\r\nhost: te")
add("incomplete_body", request("POST", "/echo", "content-length: 9") + b"abc")

# HTTP/1.0.
add("http_1_0", raw("GET /echo HTTP/1.0"))
add("http_1_0_with_host", raw("GET /echo HTTP/1.0", "host: test"))
add("http_1_0_keep_alive", raw("GET /echo HTTP/1.0", "connection: keep-alive"))
add("http_1_0_post", raw("POST /echo HTTP/1.0", "content-length: 5", body=b"hello"))
add(
    "http_1_0_stream",
    raw("GET /chunks HTTP/1.0"),
    ours=([200], False),
    why="HTTP/1.0 knows no chunks (RFC 9112, 7.1): the end of the connection is the end of the answer",
)

# Pipelines.
add("pipeline_of_two", GET + POST)
add("pipeline_of_five", request(path="/later") + GET + request(path="/chunks") + POST + GET)
add("pipeline_of_twenty", GET * 20)
add("pipeline_split", GET + POST[:-3], POST[-3:] + GET)
add("pipeline_behind_later", request(path="/later") + POST[:20], POST[20:] + GET)
add("pipeline_close_first", request("GET", "/echo", "connection: close") + GET)
add("pipeline_close_second", GET + request("GET", "/echo", "connection: close"))
add("pipeline_with_head", request("HEAD") + GET, methods=["HEAD", "GET"])
GARBAGE_LAST = "answers come in the order of the requests; uvicorn refuses the second first and loses the first answer"
add(
    "pipeline_then_garbage",
    GET + b"\x00\x01garbage\r\n\r\n",
    ours=([200, 400], False),
    why=GARBAGE_LAST,
)
add(
    "pipeline_later_then_garbage",
    request(path="/later") + b"\x00garbage\r\n\r\n",
    ours=([200, 400], False),
    why=GARBAGE_LAST,
)

# Chunked bodies.
add("chunked", CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")
add("chunked_upper_hex", CHUNKED + b"A\r\n0123456789\r\n0\r\n\r\n")
add("chunked_leading_zeros", CHUNKED + b"0005\r\nhello\r\n000\r\n\r\n")
add("chunked_extension", CHUNKED + b'5;a=b;c="d"\r\nhello\r\n0\r\n\r\n')
add("chunked_in_pieces", CHUNKED, b"5\r", b"\nhel", b"lo\r\n", b"3\r\nabc\r\n0", b"\r\n\r\n")
add("chunked_empty", CHUNKED + b"0\r\n\r\n")
add("chunked_then_get", CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + GET)
add(
    "chunked_trailer",
    CHUNKED + b"5\r\nhello\r\n0\r\nx-say: trailed\r\n\r\n",
    ours=([200], True),
    why="a trailer is no header (RFC 9110, 6.5.1): uvicorn adds it to the headers",
)
add("chunk_size_is_no_number", CHUNKED + b"xyz\r\nhello\r\n0\r\n\r\n")
add("chunk_size_negative", CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n")
add("chunk_size_plus", CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n")
add("chunk_size_0x", CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n")
add("chunk_size_overflow", CHUNKED + b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n")
add("chunk_size_space", CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n")
add("chunk_longer_than_said", CHUNKED + b"3\r\nhello\r\n0\r\n\r\n")
add("chunk_bare_lf", CHUNKED + b"5\nhello\n0\n\n")

# 100-continue.
EXPECT = request("POST", "/echo", "expect: 100-continue", "content-length: 5")
add("expect_waits", EXPECT, b"hello")
add("expect_upper_case", request("POST", "/echo", "Expect: 100-Continue", "content-length: 5"), b"hello")
add("expect_chunked", request("POST", "/echo", "expect: 100-continue", "transfer-encoding: chunked"), b"0\r\n\r\n")
add("expect_something_else", request("POST", "/echo", "expect: a-miracle", body=b"hello"))

# Shapes that two servers read in two ways.
add("length_and_chunked", request("POST", "/echo", "content-length: 5", "transfer-encoding: chunked") + b"0\r\n\r\n")
add("chunked_and_length", request("POST", "/echo", "transfer-encoding: chunked", "content-length: 5") + b"0\r\n\r\n")
add("two_lengths", request("POST", "/echo", "content-length: 5", "content-length: 6") + b"hello!")
add("two_equal_lengths", request("POST", "/echo", "content-length: 5", "content-length: 5") + b"hello")
add("length_list", request("POST", "/echo", "content-length: 5, 5") + b"hello")
add("length_plus", request("POST", "/echo", "content-length: +5") + b"hello")
add("length_negative", request("POST", "/echo", "content-length: -5") + b"hello")
add("length_hex", request("POST", "/echo", "content-length: 0x5") + b"hello")
add("length_overflow", request("POST", "/echo", "content-length: 99999999999999999999999") + b"hello")
add("length_empty", request("POST", "/echo", "content-length:") + b"hello")
add("length_spaces", request("POST", "/echo", "content-length: 5 5") + b"hello")
add("te_identity", request("POST", "/echo", "transfer-encoding: identity") + b"0\r\n\r\n")
add("te_chunked_twice", request("POST", "/echo", "transfer-encoding: chunked, chunked") + b"0\r\n\r\n")
add("te_twice", request("POST", "/echo", "transfer-encoding: chunked", "transfer-encoding: chunked") + b"0\r\n\r\n")
add("te_chunked_identity", request("POST", "/echo", "transfer-encoding: chunked, identity") + b"0\r\n\r\n")
add("te_unknown", request("POST", "/echo", "transfer-encoding: xchunked") + b"0\r\n\r\n")
add("te_gzip_chunked", request("POST", "/echo", "transfer-encoding: gzip, chunked") + b"0\r\n\r\n")
add("te_tab", request("POST", "/echo", "transfer-encoding:\tchunked") + b"0\r\n\r\n")
add("te_vertical_tab", request("POST", "/echo", "transfer-encoding: \x0bchunked") + b"0\r\n\r\n")
add("te_space_before_colon", request("POST", "/echo", "transfer-encoding : chunked") + b"0\r\n\r\n")
add(
    "te_in_http_1_0",
    raw("POST /echo HTTP/1.0", "transfer-encoding: chunked", body=b"0\r\n\r\n"),
    ours=REFUSED,
    why="a faulty framing (RFC 9112, 6.1)",
)
add("obs_fold", request("GET", "/echo", "x-say: a", " b"))
add("fold_before_headers", raw("GET /echo HTTP/1.1", " x-say: a", "host: test"))
add("space_before_colon", request("GET", "/echo", "x-say : a"))
add("no_colon", request("GET", "/echo", "x-say"))
add("empty_name", request("GET", "/echo", ": a"))
add("nul_in_value", request("GET", "/echo", "x-say: a\0b"))
add("nul_in_name", request("GET", "/echo", "x-\0say: a"))
add("cr_in_value", request("GET", "/echo", "x-say: a\rb"))
add("bare_lf", b"GET /echo HTTP/1.1\nhost: test\n\n")
add("bare_lf_in_head", b"GET /echo HTTP/1.1\r\nhost: test\nx-say: a\r\n\r\n")
add("bare_cr", b"GET /echo HTTP/1.1\rhost: test\r\r")
add("cr_cr_lf", b"GET /echo HTTP/1.1\r\r\nhost: test\r\n\r\n")
add("space_in_name", request("GET", "/echo", "x say: a"))
add("utf8_name", request("GET", "/echo", "x-s\xe4y: a"))
add(
    "two_hosts",
    request("GET", "/echo", "host: other"),
    ours=REFUSED,
    why="must be refused (RFC 9112, 3.2)",
)
add("no_host", raw("GET /echo HTTP/1.1"), ours=REFUSED, why="must be refused (RFC 9112, 3.2)")
add(
    "two_keys",
    request("GET", "/echo", "authorization: a", "authorization: b"),
    ours=REFUSED,
    why="a proxy and we could each take another one for the caller's key",
)
add(
    "repeated_header",
    request("GET", "/echo", "x-say: a", "x-say: b"),
    ours=([200], True),
    why="joined by a comma (RFC 9110, 5.3); the ASGI app takes the last",
)
add(
    "repeated_cookie",
    request("GET", "/echo", "cookie: a=1", "cookie: b=2"),
    ours=([200], True),
    why="joined by a semicolon (RFC 6265, 5.4); the ASGI app takes the last",
)

# Targets.
add("absolute_form", request(path="http://test/echo?a=1"))
add("absolute_form_without_path", request(path="http://test"), ours=([200], True), why="the path of it is /")
add("target_is_a_word", request(path="echo"))
add("target_with_fragment", request(path="/echo#part"), ours=([200], True), why="a target has none: part of the path")
add("target_with_space", request(path="/ec ho"))
add("target_with_high_byte", request(path="/ec\xe9ho"))
add("target_with_nul", request(path="/ec\0ho"))
add("no_target", raw("GET HTTP/1.1", "host: test"))
add("connect", raw("CONNECT test:80 HTTP/1.1", "host: test"))
add("connect_then_get", raw("CONNECT test:80 HTTP/1.1", "host: test") + GET)

# Other versions, other protocols.
add("upgrade_websocket", request("GET", "/echo", "connection: upgrade", "upgrade: websocket"))
add("upgrade_h2c", request("GET", "/echo", "connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AA"))
UPGRADE = ("connection: upgrade", "upgrade: h2c")
BODY_KEPT = "the body belongs to the request where the upgrade is declined; uvicorn drops it (Java's client sends this)"
add("upgrade_post", request("POST", "/echo", *UPGRADE, body=b"hello"), ours=([200], False), why=BODY_KEPT)
add(
    "upgrade_post_in_pieces",
    request("POST", "/echo", *UPGRADE, "content-length: 5"),
    b"hel",
    b"lo" + GET,
    ours=([200], False),
    why=BODY_KEPT,
)
add(
    "upgrade_post_chunked",
    request("POST", "/echo", *UPGRADE, "transfer-encoding: chunked") + b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    ours=([200], False),
    why=BODY_KEPT,
)
DROPPED = "uvicorn drops what comes in one read with the request that asks for an upgrade"
add("upgrade_then_get", request("GET", "/echo", *UPGRADE), GET, ours=([200, 200], True), why=DROPPED, steady=False)
add(
    "upgrade_pipelined",
    request("GET", "/echo", "connection: upgrade", "upgrade: h2c") + GET,
    ours=([200, 200], True),
    why="an upgrade that is declined leaves the next request to be answered; uvicorn drops it",
)
WRONG_VERSION = "we speak HTTP/1.0 and HTTP/1.1 alone (RFC 9110, 15.6.6)"
add("http_2_0", raw("GET /echo HTTP/2.0", "host: test"), ours=([505], False), why=WRONG_VERSION)
add("http_0_9", b"GET /echo\r\n\r\n", ours=([505], False), why=WRONG_VERSION)
add("http_1_2", raw("GET /echo HTTP/1.2", "host: test"))
add("http_lower_case", raw("GET /echo http/1.1", "host: test"))
add("h2_preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
add("tls_hello", bytes.fromhex("16030100f5010000f10303") + b"\xaa" * 200)
add("garbage", b"\xff\xfe\xfd\xfc" * 20)
add("text", b"hello there\r\n\r\n")
add("unknown_method", raw("FETCH /echo HTTP/1.1", "host: test"))
add("lower_case_method", raw("get /echo HTTP/1.1", "host: test"))
add("nothing_then_get", b"", GET)

# Clients that close their side.
LEFT = "who reads a stream and closes its side has left: an engine that is silent would work on for nobody"
HALF = "the client closed its own side alone and still reads (RFC 9112, 9.6); uvicorn closes, and may lose the answer"
add("half_close", GET, half_close=True, ours=([200], False), why=HALF, steady=False)
add("half_close_later", request("POST", "/later", body=b"hello"), half_close=True, ours=([200], False), why=HALF)
add("half_close_pipeline", request(path="/later") + GET, half_close=True, ours=([200, 200], False), why=HALF)
add("half_close_stream", request(path="/chunks"), half_close=True, ours=([], False), why=LEFT, cut=True)
add("half_close_at_once", b"", half_close=True)
add("half_close_in_head", b"GET /echo HT", half_close=True)
add("half_close_in_body", request("POST", "/echo", "content-length: 9") + b"abc", half_close=True)
