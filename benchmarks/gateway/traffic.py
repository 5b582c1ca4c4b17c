"""Clients for the kill test and the soak: they send requests, read whole answers or streams, and keep exact counts."""

import asyncio
import contextlib
from dataclasses import dataclass

import msgspec

import routes
import wire
from modelyard.core.money import tokens_cost

_PRICES = {b"champion@1": routes.CHAMPION, b"challenger@2": routes.CHALLENGER}
_SLOWEST_S = 60.0


class Cut(Exception):
    """The connection ended before the answer did."""


class Unreachable(Exception):
    """No connection could be made: nothing was sent."""


class Usage(msgspec.Struct, frozen=True):
    """What an answer says that it used."""

    prompt_tokens: int
    completion_tokens: int


class Said(msgspec.Struct, frozen=True):
    """The part of an answer, or of a chunk of it, that is counted."""

    id: str
    usage: Usage | None = None


_said = msgspec.json.Decoder(Said)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A whole answer: its status, its head as it came, and its body without the framing of chunks."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: bytes) -> bytes:
        """One header, empty where it is not there."""
        return self.head.partition(b"\r\n" + name + b": ")[2].partition(b"\r\n")[0]

    def count(self) -> tuple[str, int, int, int]:
        """Its id, prompt tokens, completion tokens, and cost in nano-dollars by the price of who answered."""
        said = [_said.decode(part) for part in self._parts()]
        usage = next(part.usage for part in reversed(said) if part.usage)
        price = _PRICES[self.header(b"x-modelyard-release")]
        cost_nanousd = tokens_cost(usage.prompt_tokens, price.input_nanousd)
        cost_nanousd += tokens_cost(usage.completion_tokens, price.output_nanousd)
        return said[0].id, usage.prompt_tokens, usage.completion_tokens, cost_nanousd

    def _parts(self) -> list[bytes]:
        if not self.header(b"content-type").startswith(b"text/event-stream"):
            return [self.body]
        events = [event.partition(b"data: ")[2] for event in self.body.split(b"\n\n") if event]
        if events[-1] != b"[DONE]":
            raise Cut("a stream ended without [DONE]")
        # The first tells the id, and one of the last two the usage: the others cost time and say nothing new.
        return [events[0], *events[-3:-1]]


class Client:
    """One connection at a time, made when it is needed. Not to be shared."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> Answer:
        """Send a request and read its whole answer. Raises: Cut, Unreachable."""
        writer = await self._connect()
        try:
            async with asyncio.timeout(_SLOWEST_S):
                writer.write(request)
                answer = await self._read()
        except (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError) as error:
            self.close()
            raise Cut(type(error).__name__) from error
        if answer.header(b"connection") == b"close" or writer.is_closing():
            self.close()
        return answer

    async def leave_after(self, request: bytes, num_bytes: int) -> None:
        """Send a request, read so much of its answer, and go."""
        with contextlib.suppress(OSError, EOFError, Unreachable):
            (await self._connect()).write(request)
            assert self._reader is not None
            await self._reader.read(num_bytes)
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def _connect(self) -> asyncio.StreamWriter:
        if self._writer is None:
            try:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
            except OSError as error:
                raise Unreachable(str(error)) from error
        return self._writer

    async def _read(self) -> Answer:
        assert self._reader is not None
        head = (await self._reader.readuntil(b"\r\n\r\n"))[:-2]
        status = int(head.split(b" ", 2)[1])
        length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        body = await self._reader.readexactly(int(length)) if length else await self._read_chunks()
        return Answer(status=status, head=head, body=body)

    async def _read_chunks(self) -> bytes:
        """A chunked body. Nothing in these answers looks like its end but its end."""
        assert self._reader is not None
        data = await self._reader.readuntil(b"\r\n0\r\n\r\n")
        parts, at = [], 0
        while size := int(data[at : (line := data.index(b"\r\n", at))], 16):
            parts.append(data[line + 2 : line + 2 + size])
            at = line + 4 + size
        return b"".join(parts)


def request_of(tenant: int, user: int, *, stream: bool) -> bytes:
    """A chat request of a tenant's user, whose answer tells its usage."""
    body = wire.request_body(stream=stream, user=f"user-{user}", usage=stream)
    return wire.request(body, {"authorization": f"Bearer {routes.secret(tenant)}"})
