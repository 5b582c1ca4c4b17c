"""A load on an address of one's own: requests leave at a fixed rate, whatever became of those before (an open loop).

A latency counts from the moment that its request was due, so whoever stalls is charged for all that had to wait.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Any

import httpx
import msgspec

from modelyard.core.errors import InvalidInput, Unavailable

_WAIT_S = 120.0
_TELL_S = 0.2
_PLACES = ("/chat/completions", "/v1")
Told = Callable[[float, float, str], None]


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent where: `rate` requests a second for `seconds`, at most `concurrency` at once. `key` stays here."""

    url: str
    key: str = ""
    model: str = ""
    rate: float = 10.0
    concurrency: int = 64
    seconds: float = 10.0
    stream: bool = False
    prompt: str = "Say hello in five words."
    max_tokens: int = 64


class Sample(msgspec.Struct, kw_only=True):
    """What became of one request. Milliseconds count from when it was due; `error` is a code, empty where it went well.

    `late_ms` is how long it waited here for its turn; -1 is what is not known.
    """

    late_ms: float = 0.0
    first_ms: float = -1.0
    total_ms: float = -1.0
    tokens: int = -1
    overhead_us: int = -1
    error: str = ""

    @property
    def tokens_per_s(self) -> float:
        """The pace of a stream after its first piece; -1 where it cannot be told."""
        spent_ms = self.total_ms - self.first_ms
        return (self.tokens - 1) * 1000 / spent_ms if self.tokens > 1 and spent_ms > 0 else -1.0


class Spread(msgspec.Struct, frozen=True):
    """Percentiles of numbers in the unit of their name."""

    p50: float
    p90: float
    p99: float
    most: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A load's outcome. Latencies and tokens are of answers that went well; `errors` counts the others by code."""

    model: str
    stream: bool
    rate: float
    wall_s: float
    requests: int
    answered: int
    answered_per_s: float
    errors: dict[str, int]
    late_ms: Spread | None
    first_byte_ms: Spread | None
    total_ms: Spread | None
    tokens_per_s: Spread | None
    overhead_us: Spread | None
    histogram_ms: list[tuple[float, int]]
    tokens: int


class _Counted(msgspec.Struct):
    completion_tokens: int = -1


class _Said(msgspec.Struct):
    """What is looked at in an answer, or in a piece of one."""

    usage: _Counted | None = None
    error: msgspec.Raw | None = None


class _Problem(msgspec.Struct):
    code: str | int | None = None
    message: str = ""


class _Failed(msgspec.Struct):
    error: _Problem


class _Named(msgspec.Struct):
    id: str


class _Listed(msgspec.Struct):
    data: list[_Named]


_said_of = msgspec.json.Decoder(_Said).decode


def base_of(url: str) -> str:
    """The address up to and with `/v1`, from any form that people write. Raises: InvalidInput for what is none."""
    base = url.rstrip("/")
    for place in _PLACES:
        base = base.removesuffix(place).rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise InvalidInput(
            f"'{url}' is no address",
            expected="one such as http://127.0.0.1:8700",
            fix="begin it with http:// or https://",
        )
    return f"{base}/v1"


async def run_load(load: Load, told: Told) -> Report:
    """Ask once, so that mistakes are told before the load; then send it, and wait for every answer.

    Raises: Unavailable, InvalidInput where the first request fails.
    """
    limits = httpx.Limits(max_connections=load.concurrency, max_keepalive_connections=load.concurrency)
    headers = {"authorization": f"Bearer {load.key}"} if load.key else {}
    async with httpx.AsyncClient(
        base_url=base_of(load.url), headers=headers, limits=limits, timeout=_WAIT_S, trust_env=False
    ) as client:
        load = msgspec.structs.replace(load, model=load.model or await _first_model(client))
        await _try_once(client, load)
        return await _Sender(client, load, told).run()


class _Sender:
    def __init__(self, client: httpx.AsyncClient, load: Load, told: Told) -> None:
        self._client = client
        self._load = load
        self._told = told
        self._samples: list[Sample] = []
        self._room = asyncio.Semaphore(load.concurrency)

    async def run(self) -> Report:
        load = self._load
        number = max(1, round(load.rate * load.seconds))
        began_s = monotonic()
        telling = asyncio.create_task(self._tell(number))
        going_on = set()
        try:
            for index in range(number):
                due_s = began_s + index / load.rate
                await asyncio.sleep(max(0.0, due_s - monotonic()))
                task = asyncio.create_task(self._send(due_s))
                going_on.add(task)
                task.add_done_callback(going_on.discard)
            await asyncio.gather(*going_on)
        finally:
            telling.cancel()
        return report_of(load, self._samples, monotonic() - began_s)

    async def _send(self, due_s: float) -> None:
        async with self._room:
            sample = Sample(late_ms=(monotonic() - due_s) * 1000)
            try:
                await _ask(self._client, self._load, sample, due_s)
            except httpx.HTTPError as error:
                sample.error = type(error).__name__
            self._samples.append(sample)

    async def _tell(self, number: int) -> None:
        while True:
            await asyncio.sleep(_TELL_S)
            failed = sum(1 for sample in self._samples if sample.error)
            self._told(len(self._samples), number, f"{failed} failed" if failed else "")


async def _ask(client: httpx.AsyncClient, load: Load, sample: Sample, due_s: float) -> None:
    async with client.stream("POST", "/chat/completions", json=_body_of(load)) as answer:
        sample.overhead_us = int(answer.headers.get("x-modelyard-overhead-us", -1))
        pieces: list[bytes] = []
        async for piece in answer.aiter_raw():
            if not pieces:
                sample.first_ms = (monotonic() - due_s) * 1000
            pieces.append(piece)
    sample.total_ms = (monotonic() - due_s) * 1000
    text = b"".join(pieces)
    if answer.status_code != httpx.codes.OK:
        sample.error = _code_of(answer.status_code, text)
    elif load.stream:
        _read_stream(text, sample)
    else:
        _read_whole(text, sample)


def _body_of(load: Load) -> dict[str, object]:
    body: dict[str, object] = {"model": load.model, "max_tokens": load.max_tokens}
    body["messages"] = [{"role": "user", "content": load.prompt}]
    return {**body, "stream": True, "stream_options": {"include_usage": True}} if load.stream else body


def _read_whole(text: bytes, sample: Sample) -> None:
    try:
        said = _said_of(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        sample.error = "no_json"
        return
    if said.usage is not None:
        sample.tokens = said.usage.completion_tokens


def _read_stream(text: bytes, sample: Sample) -> None:
    """The usage of a stream, or the error that it ends with."""
    ended = False
    for line in text.splitlines():
        data = line.removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
        if data == b"[DONE]":
            ended = True
        elif b'"usage"' in data or b'"error"' in data:
            _read_whole(data, sample)
            if b'"error"' in data and _said_of(data).error is not None:
                sample.error = _code_of(httpx.codes.OK, data)
    if not ended and not sample.error:
        sample.error = "no_done"


def _code_of(status: int, text: bytes) -> str:
    """An error's own code with its status, such as `429 rate_limit_exceeded`."""
    try:
        code = msgspec.json.decode(text, type=_Failed).error.code
    except (msgspec.MsgspecError, UnicodeDecodeError):
        code = None
    return f"{status} {code}" if code is not None else str(status)


async def _first_model(client: httpx.AsyncClient) -> str:
    answer = await _reach(client.get("/models"))
    if answer.status_code != httpx.codes.OK:
        raise _refused(answer)
    try:
        models = msgspec.json.decode(answer.content, type=_Listed).data
    except (msgspec.MsgspecError, UnicodeDecodeError):
        models = []
    if not models:
        raise InvalidInput("the address lists no model", fix="name one with --model")
    return models[0].id


async def _try_once(client: httpx.AsyncClient, load: Load) -> None:
    answer = await _reach(client.post("/chat/completions", json=_body_of(load)))
    if answer.status_code != httpx.codes.OK:
        raise _refused(answer)


async def _reach(answer: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
    try:
        return await answer
    except httpx.HTTPError as error:
        raise Unavailable(
            f"the address does not answer: {type(error).__name__}: {error}",
            expected="a gateway, or any server that speaks chat completions",
            fix="check that it runs and that the address and port are right",
        ) from error


def _refused(answer: httpx.Response) -> InvalidInput | Unavailable:
    try:
        said = msgspec.json.decode(answer.content, type=_Failed).error.message
    except (msgspec.MsgspecError, UnicodeDecodeError):
        said = ""
    seen = f"the first request was answered with {_code_of(answer.status_code, answer.content)}: {said}".rstrip(": ")
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Unavailable(seen, fix="look into the log of what answers there")
    fix = "put the API key into an environment variable and name that with --key; name a model with --model"
    return InvalidInput(seen, fix=fix)


def report_of(load: Load, samples: Sequence[Sample], wall_s: float) -> Report:
    """The numbers of a load that has ended."""
    good = [sample for sample in samples if not sample.error]
    errors: dict[str, int] = {}
    for sample in samples:
        if sample.error:
            errors[sample.error] = errors.get(sample.error, 0) + 1
    return Report(
        model=load.model,
        stream=load.stream,
        rate=load.rate,
        wall_s=wall_s,
        requests=len(samples),
        answered=len(good),
        answered_per_s=len(good) / wall_s,
        errors=dict(sorted(errors.items(), key=lambda pair: -pair[1])),
        late_ms=spread_of([sample.late_ms for sample in samples]),
        first_byte_ms=spread_of([sample.first_ms for sample in good]),
        total_ms=spread_of([sample.total_ms for sample in good]),
        tokens_per_s=spread_of([sample.tokens_per_s for sample in good]) if load.stream else None,
        overhead_us=spread_of([sample.overhead_us for sample in good]),
        histogram_ms=histogram_of([sample.total_ms for sample in good]),
        tokens=sum(sample.tokens for sample in good if sample.tokens > 0),
    )


def spread_of(values: Sequence[float]) -> Spread | None:
    """The percentiles of those that are known (by nearest rank), None where none is."""
    known = sorted(value for value in values if value >= 0)
    if not known:
        return None
    return Spread(*(known[min(len(known) - 1, -(-len(known) * share // 100) - 1)] for share in (50, 90, 99, 100)))


def histogram_of(values: Sequence[float]) -> list[tuple[float, int]]:
    """How many values lie up to each bound and above the one before; bounds grow by half from the least value."""
    if not values:
        return []
    bound, counts = max(min(values), 0.1) * 1.5, []
    rest = sorted(values)
    while rest:
        inside = bisect_right(rest, bound)
        counts.append((bound, inside))
        rest, bound = rest[inside:], bound * 1.5
    return counts
