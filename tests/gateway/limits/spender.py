"""A process that takes, journals and settles until it is killed: `python -m tests.gateway.limits.spender FOLDER`.

It prints a number for each request whose entry is written.
"""

import asyncio
import sys
from pathlib import Path

from modelyard.core.clock import now_ms
from modelyard.gateway.limits import spends
from modelyard.gateway.limits.spends import Spends
from modelyard.gateway.recording.journal import Journal
from modelyard.ports.limits import Limits
from tests.gateway.limits.harness import limits_of, spent, table

BUDGETS = Limits(daily_nanousd=10**15, monthly_nanousd=10**15)


async def main(folder: Path) -> None:
    spends.INTERVAL_S = 0.02
    local = limits_of(table(tenant=BUDGETS, user=BUDGETS))
    journal = Journal(folder / "journal", segment_bytes=20_000)
    saver = Spends(local, folder / "spends.json", folder / "journal", journal.position)
    saver.restore()
    saving = asyncio.create_task(saver.run())
    subjects = local.subjects.of("acme", "k1", "support", "ann")
    number = 0
    while not saving.done():
        number += 1
        grant = local.take(subjects, 10, 1000)
        await asyncio.sleep(0)
        journal.append(spent(number, now_ms()))
        grant.settle(7, number)
        if number % 50 == 0:
            print(number, flush=True)
            await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
