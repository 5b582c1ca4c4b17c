"""The upstream client against raw sockets: framing, pooling, the one retry, time limits, broken servers."""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from modelyard.core.errors import InvalidInput
from modelyard.gateway.errors import UpstreamFailed
from modelyard.gateway.flow import launch
from modelyard.gateway.upstream import Connection, Origin, Pool, parse_origin
from modelyard.ports.serving import Timeouts

HEAD = b"POST /x HTTP/1.1\r\nhost: a\r\n"
LIMITS = Timeouts(connect_s=5, first_token_s=5, between_tokens_s=5)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


def run(test: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(test(), 30))


@asynccontextmanager
async def server(handle: Handler) -> AsyncIterator[Origin]:
    """A raw server. `handle` gets each connection with its number, from 1."""
    count = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        try:
            await handle(reader, writer, count)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with listener:
        yield Origin("127.0.0.1", listener.sockets[0].getsockname()[1], False)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return await reader.readexactly(length)


def send(pool: Pool, origin: Origin, body: bytes = b"{}", limits: Timeouts = LIMITS) -> Awaitable[Connection]:
    return launch(pool.send(pool.line(origin), HEAD, body, limits))


async def fetch(pool: Pool, origin: Origin, body: bytes = b"{}", limits: Timeouts = LIMITS) -> tuple[int, bytes]:
    connection = await send(pool, origin, body, limits)
    data = b""
    try:
        while piece := await launch(connection.next_piece()):
            data += piece
    finally:
        connection.release()
    return connection.status, data


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "reused"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", True),
        (CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", True),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello", False),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", False),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", False),
    ],
    ids=["length", "chunked", "continue", "close", "http 1.0", "until close"],
)
@pytest.mark.parametrize("size", [1, 4096])
def test_every_framing(answer: bytes, reused: bool, size: int) -> None:
    connections = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        connections.append(number)
        while True:
            await read_request(reader)
            for start in range(0, len(answer), size):
                writer.write(answer[start : start + size])
                await writer.drain()
                await asyncio.sleep(0)
            if not reused:
                return

    async def test() -> None:
        async with server(handle) as origin:
            pool = Pool()
            assert [await fetch(pool, origin) for _ in range(3)] == [(200, b"hello")] * 3
            pool.close()

    run(test)
    assert len(set(connections)) == (1 if reused else 3)


def test_large_bodies_pass_in_both_directions() -> None:
    body = bytes(range(256)) * 20_000

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        received = await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(received) + received)
        await writer.drain()
        await reader.read()

    async def test() -> None:
        async with server(handle) as origin:
            assert await fetch(Pool(), origin, body) == (200, body)

    run(test)


def test_stale_pooled_connection_is_retried_once() -> None:
    seen = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await read_request(reader)
        seen.append(number)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        if number == 1:
            await read_request(reader)

    async def test() -> None:
        async with server(handle) as origin:
            pool = Pool()
            assert (await fetch(pool, origin))[0] == 200
            assert (await fetch(pool, origin))[0] == 200
            assert pool.num_retries == 1

    run(test)
    assert seen == [1, 2]


def test_fresh_connection_that_is_lost_is_not_retried() -> None:
    seen = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await read_request(reader)
        seen.append(number)

    async def test() -> None:
        async with server(handle) as origin:
            with pytest.raises(UpstreamFailed) as raised:
                await fetch(Pool(), origin)
            assert (raised.value.status, raised.value.code) == (502, "upstream_unavailable")

    run(test)
    assert seen == [1]


def test_pooled_connection_lost_after_a_byte_is_not_retried() -> None:
    seen = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await read_request(reader)
        seen.append(number)
        writer.write(b"HTTP/1.1 2")

    async def test() -> None:
        async with server(handle) as origin:
            pool = Pool()
            await fetch(pool, origin)
            with pytest.raises(UpstreamFailed):
                await fetch(pool, origin)

    run(test)
    assert seen == [1]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", "upstream_cut"),
        (CHUNKED + b"5\r\nhello\r\n", "upstream_cut"),
        (CHUNKED + b"zz\r\nhello\r\n", "upstream_malformed"),
        (b"SSH-2.0-OpenSSH\r\n", "upstream_malformed"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000, "upstream_malformed"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", "upstream_malformed"),
        (b"", "upstream_unavailable"),
    ],
    ids=["short", "no last chunk", "bad chunk", "no http", "endless head", "upgrade", "nothing"],
)
def test_broken_answers(answer: bytes, code: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    async def test() -> None:
        async with server(handle) as origin:
            with pytest.raises(UpstreamFailed) as raised:
                await fetch(Pool(), origin)
            assert raised.value.code == code

    run(test)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"], ids=["head", "chunk"])
def test_time_limits(sent: bytes) -> None:
    closed = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await read_request(reader)
        writer.write(sent)
        await reader.read()
        closed.set()

    async def test() -> None:
        async with server(handle) as origin:
            with pytest.raises(UpstreamFailed) as raised:
                await fetch(Pool(), origin, limits=Timeouts(first_token_s=0.3, between_tokens_s=0.2))
            assert (raised.value.status, raised.value.code) == (504, "upstream_timeout")

    run(test)


def test_the_chunk_limit_counts_from_the_last_chunk() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await read_request(reader)
        writer.write(CHUNKED)
        for _ in range(8):
            writer.write(b"1\r\nx\r\n")
            await asyncio.sleep(0.15)
        writer.write(b"0\r\n\r\n")
        await reader.read()

    async def test() -> None:
        async with server(handle) as origin:
            assert await fetch(Pool(), origin, limits=Timeouts(first_token_s=1.0, between_tokens_s=1.0)) == (
                200,
                b"x" * 8,
            )

    run(test)


def test_release_before_the_end_gives_the_connection_back_once_it_ends() -> None:
    numbers = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while True:
            await read_request(reader)
            numbers.append(number)
            writer.write(CHUNKED + b"1\r\nx\r\n")
            await asyncio.sleep(0.05)
            writer.write(b"0\r\n\r\n")

    async def test() -> None:
        async with server(handle) as origin:
            pool = Pool()
            for _ in range(2):
                connection = await send(pool, origin)
                assert await launch(connection.next_piece()) == b"x"
                connection.release()
                await asyncio.sleep(0.5)
            pool.close()

    run(test)
    assert numbers == [1, 1]


def test_connections_to_engines_that_left_the_table_are_closed() -> None:
    closed = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await reader.read()
        closed.set()

    async def test() -> None:
        async with server(handle) as origin:
            pool = Pool()
            await fetch(pool, origin)
            pool.keep({origin})
            await asyncio.sleep(0.05)
            assert not closed.is_set()
            pool.keep(set())
            await asyncio.wait_for(closed.wait(), 5)

    run(test)


def test_a_slow_reader_holds_the_engine_back() -> None:
    sent = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async def test() -> None:
        async with server(handle) as origin:
            connection = await send(Pool(), origin)
            await asyncio.sleep(0.5)
            held = sent
            total = 0
            while piece := await launch(connection.next_piece()):
                total += len(piece)
            assert held < total == 65536 * 1000

    run(test)


@pytest.mark.parametrize(
    ("url", "origin", "prefix"),
    [
        ("http://127.0.0.1:8000", Origin("127.0.0.1", 8000, False), ""),
        ("http://127.0.0.1:8000/v1/", Origin("127.0.0.1", 8000, False), ""),
        ("https://api.example.com/openai/v1", Origin("api.example.com", 443, True), "/openai"),
        ("http://[::1]:9", Origin("::1", 9, False), ""),
    ],
)
def test_engine_urls(url: str, origin: Origin, prefix: str) -> None:
    assert parse_origin(url) == (origin, prefix)


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://a", "http://", "http://a:99999", "http://a/\r\nx: y"])
def test_engine_urls_that_are_none(url: str) -> None:
    with pytest.raises(InvalidInput, match="no engine URL"):
        parse_origin(url)


def test_host_headers() -> None:
    origins = [Origin("a", 80, False), Origin("a", 443, True), Origin("a", 81, False), Origin("::1", 9, False)]
    assert [origin.host_header for origin in origins] == ["a", "a", "a:81", "[::1]:9"]


def test_a_server_that_resets_what_it_has_just_accepted_cannot_be_reached() -> None:
    def reset(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = listener.accept()
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                accepted.close()

    def dawdle() -> None:
        # The reset is there before whoever asked for the connection hears of it.
        time.sleep(0.003)
        asyncio.get_running_loop().call_soon(dawdle)

    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=reset, args=(listener,))
            thread.start()
            dawdle()
            pool, origin = Pool(), Origin("127.0.0.1", listener.getsockname()[1], False)
            for _ in range(20):
                with pytest.raises(UpstreamFailed):
                    await fetch(pool, origin)
            assert not pool.busy
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()

    run(test)
