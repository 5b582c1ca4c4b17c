"""Spends over restarts: what the journal says is what the accounts hold, whenever a process was killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard.gateway.errors import Refusal
from modelyard.gateway.limits.local import LocalLimits
from modelyard.gateway.limits.spends import Spends
from modelyard.gateway.limits.subjects import user_scope
from modelyard.gateway.recording.journal import Journal
from modelyard.ports.interaction import Interaction
from modelyard.ports.limits import Limits
from tests.gateway.harness import read_entries
from tests.gateway.limits.harness import Clock, limits_of, run_async, spent, table

BUDGETS = Limits(daily_nanousd=10**15, monthly_nanousd=10**15)


def spends_of(local: LocalLimits, folder: Path, journal: Journal) -> Spends:
    return Spends(local, folder / "spends.json", folder / "journal", journal.position)


def held(local: LocalLimits, scope: bytes = b"t:acme") -> tuple[int, int, int, int]:
    account = local.subjects.accounts[scope]
    return account.day_used, account.day_spent, account.month_used, account.month_spent


def restarted(folder: Path, clock: Clock | None = None) -> LocalLimits:
    local = limits_of(table(tenant=BUDGETS, user=BUDGETS), clock)
    spends_of(local, folder, Journal(folder / "journal")).restore()
    return local


def test_killed_at_random_and_started_again_nothing_is_lost_or_counted_twice(tmp_path: Path) -> None:
    for round in range(4):
        command = [sys.executable, "-m", "tests.gateway.limits.spender", str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.15 + 0.03 * round)
            process.kill()
    written = sum(e.cost_nanousd for e in read_entries(tmp_path / "journal") if isinstance(e, Interaction))
    assert (tmp_path / "spends.json").exists()
    local = restarted(tmp_path)
    assert held(local) == (written,) * 4
    assert held(local, user_scope("acme", "ann")) == (written,) * 4


@run_async
async def test_a_checkpoint_and_what_came_after_it(tmp_path: Path) -> None:
    clock = Clock()
    local = limits_of(table(tenant=BUDGETS), clock)
    journal = Journal(tmp_path / "journal")
    spends = spends_of(local, tmp_path, journal)
    spends.restore()
    subjects = local.subjects.of("acme", "k1", "support")

    def request(cost: int) -> None:
        grant = local.take(subjects, 0, 50)
        journal.append(spent(cost, int(clock.wall_s * 1000)))
        grant.settle(0, cost)

    request(10)
    running = local.take(subjects, 0, 1_000)
    assert await spends.save()
    assert not await spends.save()
    request(3)
    assert held(local) == (1_013, 13, 1_013, 13)
    assert held(restarted(tmp_path, clock)) == (13, 13, 13, 13)
    running.settle(0, 0)


@run_async
async def test_shadows_do_not_count_and_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    clock = Clock()
    journal = Journal(tmp_path / "journal")
    at_ms = int(clock.wall_s * 1000)
    journal.append(spent(10, at_ms))
    journal.append(spent(500, at_ms, shadow_of="i"))
    journal.append(spent(5, at_ms - 86_400_000))
    journal.close()
    [path] = (tmp_path / "journal").iterdir()
    path.write_bytes(path.read_bytes() + b'{"kind":"interaction","cost_nanousd":99')
    # The day before is of December: of the month before, too.
    assert held(restarted(tmp_path, clock)) == (10, 10, 10, 10)


@run_async
async def test_no_checkpoint_while_entries_wait(tmp_path: Path) -> None:
    local = limits_of(table(tenant=BUDGETS), Clock())
    journal = Journal(tmp_path / "journal")
    spends = spends_of(local, tmp_path, journal)
    assert not await spends.save()
    spends.restore()
    (tmp_path / "journal").write_text("in the way")
    grant = local.take(local.subjects.of("acme", "k1", "support"), 0, 0)
    journal.append(spent(5, 1))
    grant.settle(0, 5)
    assert not await spends.save()
    (tmp_path / "journal").unlink()
    journal.retry()
    assert await spends.save()


@run_async
async def test_a_damaged_checkpoint_is_made_good_by_the_journal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    journal = Journal(tmp_path / "journal")
    journal.append(spent(10, int(clock.wall_s * 1000)))
    (tmp_path / "spends.json").write_bytes(b"{")
    assert held(restarted(tmp_path, clock)) == (10, 10, 10, 10)
    assert "cannot be read" in caplog.text


@run_async
async def test_what_another_process_wrote_after_our_start_counts_at_the_next(tmp_path: Path) -> None:
    """An old process that drains while the new one has begun."""
    clock = Clock()
    old = Journal(tmp_path / "journal")
    old.append(spent(1, int(clock.wall_s * 1000)))
    local = limits_of(table(tenant=BUDGETS), clock)
    journal = Journal(tmp_path / "journal")
    spends = spends_of(local, tmp_path, journal)
    spends.restore()
    journal.append(spent(10, int(clock.wall_s * 1000)))
    local.take(local.subjects.of("acme", "k1", "support"), 0, 0).settle(0, 10)
    assert await spends.save()
    old.append(spent(100, int(clock.wall_s * 1000)))
    assert held(restarted(tmp_path, clock)) == (111,) * 4


@run_async
async def test_a_budget_that_was_spent_refuses_after_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    journal = Journal(tmp_path / "journal")
    journal.append(spent(100, int(clock.wall_s * 1000)))
    local = limits_of(table(user=Limits(daily_nanousd=100)), clock)
    spends_of(local, tmp_path, Journal(tmp_path / "journal")).restore()
    local.take(local.subjects.of("acme", "k1", "support", "bob"), 0, 1)
    with pytest.raises(Refusal, match="user 'ann' of tenant 'acme'"):
        local.take(local.subjects.of("acme", "k1", "support", "ann"), 0, 1)


@run_async
async def test_a_new_day_forgets_the_day_and_keeps_the_month(tmp_path: Path) -> None:
    clock = Clock()
    local = limits_of(table(tenant=BUDGETS), clock)
    journal = Journal(tmp_path / "journal")
    spends = spends_of(local, tmp_path, journal)
    spends.restore()
    journal.append(spent(10, int(clock.wall_s * 1000)))
    local.take(local.subjects.of("acme", "k1", "support"), 0, 0).settle(0, 10)
    assert await spends.save()
    clock.pass_by(86_400)
    assert held(restarted(tmp_path, clock)) == (0, 0, 10, 10)
    assert await spends.save()
    assert held(restarted(tmp_path, clock)) == (0, 0, 10, 10)
