"""Identifiers are UUIDv7 and sort by time."""

import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from modelyard.core.ids import milliseconds_of, new_id


def test_an_id_is_a_uuid7_of_this_moment() -> None:
    before = time.time_ns() // 1_000_000
    parsed = uuid.UUID(text := new_id())
    after = time.time_ns() // 1_000_000
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    assert str(parsed) == text
    assert before <= milliseconds_of(text) <= after


def test_ids_of_later_milliseconds_sort_later() -> None:
    first = new_id()
    time.sleep(0.002)
    assert first < new_id()


def test_ids_do_not_repeat() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_threads_and_forks_never_make_the_same_id() -> None:
    new_id()
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, "\n".join(new_id() for _ in range(50)).encode())
        os._exit(0)
    ours = {new_id() for _ in range(50)}
    os.wait()
    theirs = set(os.read(reader, 1 << 16).decode().split())
    assert len(theirs) == 50
    assert not ours & theirs
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: [new_id() for _ in range(5000)], range(8)))
    assert len({id for ids in made for id in ids}) == 40_000
