"""Budgets outlive a gateway that is killed, whenever its table comes and however many workers it had."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from modelyard.ports.limits import Limits
from modelyard.ports.routes import Service
from tests.gateway.accounts.harness import WHOLE, Accounts, acme, costs
from tests.gateway.harness import AUTH, CHAT, eventually, variant

BUDGET = Limits(daily_nanousd=12 * WHOLE, monthly_nanousd=100 * WHOLE)


def offer(yard: Accounts, url: str, *, wait: bool = True) -> None:
    yard.offer(
        Service(name="support", champion=variant("champ", url)),
        tenants=(acme(limits=BUDGET, user_limits=BUDGET),),
        wait=wait,
    )


def spend(yard: Accounts, number: int) -> list[int]:
    asked = {**CHAT, "max_tokens": 3, "user": "ann"}
    return [httpx.post(f"{yard.url}/v1/chat/completions", json=asked, headers=AUTH).status_code for _ in range(number)]


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.0, 1.5])
@pytest.mark.parametrize("late", [False, True])
def test_a_killed_gateway_s_spends_count_at_the_next(
    tmp_path: Path, engine_url: str, after_s: float, late: bool
) -> None:
    """Killed before and after its first checkpoint; the next one has its table at the start, or later."""
    yard = Accounts(tmp_path)
    offer(yard, engine_url)
    with yard.spawn() as process:
        assert spend(yard, 5) == [200] * 5
        time.sleep(after_s)
        assert spend(yard, 1) == [200]
        kill(process)
    table = yard.table.read_bytes()
    if late:
        yard.table.unlink()
    with yard.open() as live:
        if late:
            assert httpx.get(f"{live.url}/ready").status_code == 503
            time.sleep(1.2)
            yard.table.write_bytes(table)
            eventually(lambda: live.ready_version() == 1)
        assert live.account()["day_used"] == live.account()["month_used"] == 6 * WHOLE
        users = live.look(lambda permits: [one.decode() for one in permits.subjects.accounts if one[:2] == b"u:"])
        assert [live.account(user)["day_used"] for user in users] == [6 * WHOLE]
        found = spend(live, 8)
        assert 429 in found
        assert found.count(200) in (4, 5, 6)
    assert costs(yard.interactions()) <= 12 * WHOLE


def test_a_gateway_that_never_had_a_table_forgets_nothing(tmp_path: Path, engine_url: str) -> None:
    yard = Accounts(tmp_path)
    offer(yard, engine_url)
    with yard.open() as live:
        spend(live, 3)
    table = yard.table.read_bytes()
    yard.table.unlink()
    with yard.open():
        time.sleep(1.2)
    for segment in yard.journal.glob("*.jsonl"):
        segment.unlink()
    yard.table.write_bytes(table)
    with yard.open() as live:
        assert live.account()["day_used"] == 3 * WHOLE


@pytest.mark.slow
def test_workers_without_redis_restart_with_what_all_of_them_spent_once(tmp_path: Path, engine_url: str) -> None:
    """Each worker counts by itself; each start counts all that was journaled, once."""
    yard = Accounts(tmp_path)
    offer(yard, engine_url)
    for _ in range(2):
        with yard.spawn("--workers", "2") as process:
            spend(yard, 8)
            time.sleep(1.2)
            spend(yard, 2)
            workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            kill(process)
            for worker in workers:
                # One that has seen its parent die is gone already.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(worker), signal.SIGKILL)
    total = costs(yard.interactions())
    assert total > 12 * WHOLE - 1
    with yard.open() as live:
        assert live.account()["day_used"] == total


def test_workers_are_summed_and_write_segments_of_their_own(tmp_path: Path, engine_url: str) -> None:
    yard = Accounts(tmp_path)
    yard.offer(Service(name="support", champion=variant("champ", engine_url)))
    with yard.spawn("--workers", "2"):
        eventually(lambda: yard.ready_version() == 1)
        statuses = spend(yard, 40)
        lost = [httpx.post(f"{yard.url}/v1/chat/completions", json={"model": "x"}, headers=AUTH) for _ in range(10)]
        assert (statuses, {answer.status_code for answer in lost}) == ([200] * 40, {400})
        segments = eventually(lambda: len(found := list(yard.journal.glob("*.jsonl"))) == 2 and found)
        assert len({path.name.rpartition("-")[0] for path in segments}) == 2
        for name, expected in (
            ("requests_total", 40),
            ("refused_total", 10),
            ("prompt_tokens_total", 440),
            ("completion_tokens_total", 120),
            ("cost_nanousd_total", 40 * WHOLE),
            ("overhead_microseconds_count", 40),
            ("journal_entries_total", 40),
        ):
            eventually(lambda: yard.metric(name) == expected, seconds=5)  # noqa: B023
