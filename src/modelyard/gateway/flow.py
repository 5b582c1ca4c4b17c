"""Flow: one coroutine, stepped directly by the callbacks of what it waits for, with no trip through the loop's queue.

An asyncio task costs three times as much for a request that waits twice. A flow waits for a `Signal`, or for any
asyncio future (a task, where something wants one: see `in_task`). It knows nothing of requests.
"""

import asyncio
import logging
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

_PATIENCE_S = 0.5

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Signal:
    """Something that happens more than once. One flow at a time waits for it; what fires unheard is not kept."""

    __slots__ = ("_flow",)

    def __init__(self) -> None:
        self._flow: Flow | None = None

    def fire(self) -> None:
        """Let the waiting flow go on, right now."""
        flow = self._flow
        if flow is not None:
            self._flow = None
            flow.step()

    def bind(self, flow: "Flow | None") -> None:
        """Who waits."""
        self._flow = flow

    def __await__(self) -> Generator["Signal", None, None]:
        yield self


class Flow:
    """Runs a coroutine to its end. It handles its own errors: one that escapes is a mistake, and logged."""

    __slots__ = ("_cancelled", "_coroutine", "_running", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, None, None]) -> None:
        self._coroutine = coroutine
        self._waits_for: Signal | asyncio.Future[Any] | None = None
        self._running = False
        self._cancelled = False

    def step(self, error: BaseException | None = None) -> None:
        """Run up to the next wait. `error` is raised where the coroutine waits."""
        self._waits_for = None
        self._running = True
        try:
            waits_for = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
        except (StopIteration, asyncio.CancelledError):
            return
        except Exception:
            logger.exception("a request failed inside the gateway")
            return
        finally:
            self._running = False
        self._waits_for = waits_for
        if self._cancelled:
            self._cancelled = False
            self.cancel()
        elif type(waits_for) is Signal:
            waits_for.bind(self)
        else:
            waits_for._asyncio_future_blocking = False
            waits_for.add_done_callback(self._woken)

    def cancel(self) -> None:
        """Raise CancelledError where the coroutine waits; where it runs just now, at its next wait."""
        if self._running:
            self._cancelled = True
            return
        waits_for = self._waits_for
        if waits_for is None:
            return
        if isinstance(waits_for, Signal):
            waits_for.bind(None)
        else:
            waits_for.remove_done_callback(self._woken)
            waits_for.cancel()
        self.step(asyncio.CancelledError())

    def _woken(self, future: "asyncio.Future[Any]") -> None:
        # A callback that is on its way already cannot be taken back by `cancel`.
        if future is self._waits_for:
            self.step()


async def in_task(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that needs an asyncio task around it, for a time limit say."""
    return await asyncio.get_running_loop().create_task(work)


def launch(work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
    """Run a coroutine that waits for signals beside others. Cancelling the future cancels it."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        try:
            result = await work
        except asyncio.CancelledError:
            future.cancel()
        except Exception as error:
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(result)

    flow = Flow(run())
    flow.step()
    future.add_done_callback(lambda ended: flow.cancel() if ended.cancelled() else None)
    return future


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks until they have ended: a library can take a cancellation for that of its own time limit."""
    while waiting := [task for task in tasks if not task.done()]:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=_PATIENCE_S)
