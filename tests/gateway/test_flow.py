"""Flows' own ground: tasks that do not end when they are told once."""

import asyncio

from modelyard.gateway.flow import end


def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    async def main() -> int:
        swallowed = 0

        async def stubborn() -> None:
            nonlocal swallowed
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    if swallowed:
                        raise
                    swallowed += 1

        tasks = [asyncio.create_task(stubborn()), asyncio.create_task(asyncio.sleep(0))]
        await asyncio.sleep(0)
        await asyncio.wait_for(end(*tasks), 10)
        assert all(task.done() for task in tasks)
        return swallowed

    assert asyncio.run(main()) == 1
