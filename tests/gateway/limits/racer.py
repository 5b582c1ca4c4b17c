"""One gateway of several that race for one budget: `python -m tests.gateway.limits.racer URL FOLDER CLIENTS RESERVE`.

Each client takes, works a moment, journals and settles until the budget refuses it. A request costs from 1 to 1,000.
"""

import asyncio
import random
import sys
from pathlib import Path

from modelyard.core.clock import now_ms
from modelyard.gateway.errors import Refusal
from modelyard.gateway.limits.recovery import Recovery
from modelyard.gateway.limits.shared import SharedLimits, SharedSettings
from modelyard.gateway.recording.journal import Journal
from modelyard.ports.limits import Limits
from tests.gateway.limits.harness import limits_of, spent, table

BUDGET = 500_000
ROUTES = table(tenant=Limits(daily_nanousd=BUDGET))


async def client(limits: SharedLimits, journal: Journal, reserve: int) -> None:
    subjects = limits.local.subjects.of("acme", "k1", "support")
    while True:
        try:
            grant = await limits.take(subjects, 0, reserve)
        except Refusal as refusal:
            if refusal.code == "insufficient_quota":
                return
            await asyncio.sleep(0.01)
            continue
        await asyncio.sleep(random.random() * 0.005)
        cost = random.randint(1, 1000)
        journal.append(spent(cost, now_ms()))
        grant.settle(0, cost)


async def main(url: str, folder: Path, clients: int, reserve: int) -> None:
    local = limits_of(ROUTES)
    journal = Journal(folder)
    recovery = Recovery(folder, journal.start, journal.position, local.calendar)
    limits = SharedLimits(SharedSettings(url=url, timeout_s=5.0, on_redis_down="closed"), local, recovery)
    await limits.start()
    await asyncio.gather(*[client(limits, journal, reserve) for _ in range(clients)])
    await limits.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
