"""One client request from its checked call to the end of its answer: who answers, what happens when that fails."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from modelyard.gateway.attempt import CLIENT_GONE, Attempt
from modelyard.gateway.call import Call
from modelyard.gateway.ledger import Ledger
from modelyard.gateway.shadow import Shadows
from modelyard.gateway.upstream import Pool

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Chat:
    """Answers calls by the champion or the challenger of their service. Writes the record before the answer ends."""

    def __init__(self, pool: Pool, ledger: Ledger, shadows: Shadows) -> None:
        self._pool = pool
        self._ledger = ledger
        self._shadows = shadows

    async def answer(self, call: Call, receive: Receive, send: Send) -> None:
        """Answer a call. A client that leaves cancels the engine's work, and is recorded with status 499."""
        client = Client(receive)
        in_flight, name = self._ledger.metrics.in_flight, call.route.service.name
        in_flight[name] += 1
        attempt = self._begin(call)
        try:
            await attempt.open()
            if attempt.role == "challenger" and attempt.status != 200:
                attempt = self._fall_back(attempt)
                await attempt.open()
            await self._deliver(attempt, client, send)
        except asyncio.CancelledError:
            if not client.answered:
                attempt.status, attempt.error = CLIENT_GONE, "client_gone" if client.gone else "gateway_stopped"
                self._ledger.enter(attempt)
            if not client.gone:
                raise
        finally:
            attempt.abandon()
            client.close()
            in_flight[name] -= 1
        if attempt.status == 200:
            self._shadows.launch(call, attempt)

    def _begin(self, call: Call) -> Attempt:
        role, target, propensity = call.route.assign(call.unit)
        return Attempt(self._pool, call, role, target, propensity)

    def _fall_back(self, failed: Attempt) -> Attempt:
        """The champion takes over from a challenger that failed before its first byte.

        The failure is recorded as the challenger's. The champion's answer is recorded outside of the rollout: this
        unit was never the champion's by assignment, so it may not count for it.
        """
        self._ledger.enter(failed)
        call = failed.call
        attempt = Attempt(self._pool, call, "champion", call.route.champion, failed.propensity)
        attempt.rollout_id = ""
        attempt.waited_s = failed.waited_s
        return attempt

    async def _deliver(self, attempt: Attempt, client: "Client", send: Send) -> None:
        attempt.settle_overhead()
        headers = _headers(attempt)
        if attempt.streaming:
            await self._deliver_stream(attempt, headers, client, send)
            return
        self._ledger.enter(attempt)
        client.answered = True
        headers.append((b"content-type", b"application/json"))
        headers.append((b"content-length", b"%d" % len(attempt.body)))
        await send({"type": "http.response.start", "status": attempt.status, "headers": headers})
        await send({"type": "http.response.body", "body": attempt.body})

    async def _deliver_stream(
        self, attempt: Attempt, headers: list[tuple[bytes, bytes]], client: "Client", send: Send
    ) -> None:
        headers.append((b"content-type", b"text/event-stream; charset=utf-8"))
        headers.append((b"cache-control", b"no-cache"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for piece in attempt.pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        self._ledger.enter(attempt)
        client.answered = True
        await send({"type": "http.response.body", "body": attempt.tail})


class Client:
    """Watches for the client's leaving, which cancels the task that answers it. `answered` ends its interest."""

    def __init__(self, receive: Receive) -> None:
        self.answered = False
        self.gone = False
        self._receive = receive
        self._answering = cast(asyncio.Task[Any], asyncio.current_task())
        self._watching = asyncio.create_task(self._watch())

    def close(self) -> None:
        """Watch no longer."""
        self._watching.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self.answered:
            self.gone = True
            self._answering.cancel()


def _headers(attempt: Attempt) -> list[tuple[bytes, bytes]]:
    return [
        *attempt.headers,
        (b"x-request-id", attempt.call.request_id.encode()),
        (b"x-modelyard-release", attempt.target.variant.ref.encode("latin-1", "replace")),
        (b"x-modelyard-role", attempt.role.encode()),
        (b"x-modelyard-overhead-us", b"%d" % attempt.overhead_us),
    ]
