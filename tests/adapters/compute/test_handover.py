"""What a task holds arrives as it was, whichever way it goes."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from modelyard.adapters.compute.handover import Slot
from modelyard.adapters.compute.pool import ProcessWorkers

LARGE = 1 << 20


def facts_of(task: tuple[int, object]) -> tuple[int, int, int]:
    number, payload = task
    data = bytes(payload)  # type: ignore[call-overload]
    return number, len(data), sum(data[::4096])


@pytest.mark.parametrize("size", [0, 100, LARGE, 3 * LARGE + 1])
def test_a_slot_gives_what_it_was_given(size: int) -> None:
    slot = Slot()
    data = os.urandom(size)
    array = np.arange(size)
    packed = slot.pack({"data": pickle.PickleBuffer(data), "array": array, "name": "a"})
    found = packed.unpack()
    assert (bytes(found["data"]), found["name"]) == (data, "a")
    assert (found["array"] == array).all()
    assert bool(packed.places) == (size >= LARGE)
    assert len(packed.pickled) < LARGE
    slot.close()


def test_a_slot_takes_a_larger_task_after_a_smaller_one() -> None:
    slot = Slot()
    for size in (LARGE, 5 * LARGE, LARGE):
        data = os.urandom(size)
        assert bytes(slot.pack(pickle.PickleBuffer(data)).unpack()) == data
    slot.close()


def test_without_shared_memory_the_pipe_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    slot = Slot()
    data = os.urandom(LARGE)
    packed = slot.pack(pickle.PickleBuffer(data))
    assert not packed.places
    assert bytes(packed.unpack()) == data
    slot.close()


def test_closed_slots_keep_no_file_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        slot = Slot()
        slot.pack(pickle.PickleBuffer(bytes(LARGE)))
        slot.close()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_large_tasks_reach_the_workers_whole_and_in_order() -> None:
    payloads = [os.urandom(LARGE + number) for number in range(20)]
    tasks = ((number, pickle.PickleBuffer(payload)) for number, payload in enumerate(payloads))
    with ProcessWorkers(2) as workers:
        found = list(workers.map(facts_of, tasks))
    assert found == [facts_of(task) for task in enumerate(payloads)]
