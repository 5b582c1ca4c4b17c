"""Live callers: the official `openai` package asks questions whose answers are known, and sends them as feedback."""

import asyncio
import itertools
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from modelyard.core.clock import monotonic_s
from modelyard.ports.dataset import Example

_STREAMED_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a caller saw of one answer: when it came, who gave it, and whether it was right."""

    at_s: float
    id: str
    release: str
    role: str
    right: bool
    latency_ms: float


@dataclass
class Tally:
    """Everything the callers saw. Appended by one thread and read by another, which a list allows."""

    calls: list[Call] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def of_release(self, ref: str) -> list[Call]:
        """The answers that one release gave, in the order they came."""
        return [call for call in list(self.calls) if call.release == ref]


class Traffic:
    """Callers in a thread of their own, from `start()` to `stop()`; a context manager.

    `num_callers` ask one question after the other, each question under a fresh end user, a quarter of them streamed.
    """

    def __init__(self, url: str, api_key: str, service: str, examples: Sequence[Example], *, num_callers: int) -> None:
        self.tally = Tally()
        self._url, self._api_key, self._service = url, api_key, service
        self._examples = list(examples)
        self._num_callers = num_callers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic", daemon=True)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        from openai import AsyncOpenAI

        questions = itertools.count()
        # No retries: a failure that the client package papers over would be one we did not count.
        async with AsyncOpenAI(base_url=f"{self._url}/v1", api_key=self._api_key, max_retries=0, timeout=30) as client:
            await asyncio.gather(*(self._caller(client, questions) for _ in range(self._num_callers)))

    async def _caller(self, client: Any, questions: "itertools.count[int]") -> None:
        from openai import OpenAIError

        while not self._stop.is_set():
            number = next(questions)
            example = self._examples[number % len(self._examples)]
            try:
                await self._ask(client, example, f"user-{number}")
            except OpenAIError as error:
                self.tally.failures.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(0.1)

    async def _ask(self, client: Any, example: Example, user: str) -> None:
        began = monotonic_s()
        streamed = random.random() < _STREAMED_SHARE  # noqa: S311 - a mix of callers, not a secret
        reply = await client.chat.completions.with_raw_response.create(
            model=self._service,
            messages=[{"role": turn.role, "content": turn.content} for turn in example.prompt],
            user=user,
            stream=streamed,
        )
        answer_id, text = await (_read_stream(reply) if streamed else _read_whole(reply))
        now = monotonic_s()
        self.tally.calls.append(
            Call(
                at_s=now,
                id=answer_id,
                release=reply.headers["x-modelyard-release"],
                role=reply.headers["x-modelyard-role"],
                right=text.strip() == example.answer.strip(),
                latency_ms=(now - began) * 1000,
            )
        )
        await client.post("/feedback", body={"id": answer_id, "expected": example.answer}, cast_to=object)


async def _read_whole(reply: Any) -> tuple[str, str]:
    completion = reply.parse()
    return completion.id, completion.choices[0].message.content or ""


async def _read_stream(reply: Any) -> tuple[str, str]:
    answer_id, pieces = "", []
    async for chunk in reply.parse():
        answer_id = chunk.id
        pieces += [choice.delta.content or "" for choice in chunk.choices]
    return answer_id, "".join(pieces)
