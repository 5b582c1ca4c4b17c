"""The journal: whole lines, rotation, a full disk, a process that is killed."""

import os
import signal
import stat
import threading
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from modelyard.gateway.recording import journal as journal_module
from modelyard.gateway.recording.journal import Journal
from modelyard.ports.interaction import Feedback, Interaction
from modelyard.ports.routes import Service
from tests.gateway.harness import AUTH, CHAT, Yard, eventually, read_entries, variant
from tests.gateway.upstream import Engine


def entry(number: int, comment: str = "") -> Feedback:
    return Feedback(id=str(number), interaction_id="i", at_ms=number, tenant="t", score=0.5, comment=comment)


def test_lines_come_back_in_order_over_segments(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=500)
    for number in range(20):
        journal.append(entry(number))
    journal.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) > 3
    assert names[0].endswith("-000001.jsonl")
    assert len({name[:36] for name in names}) == 1
    assert read_entries(tmp_path) == [entry(number) for number in range(20)]


def test_no_file_appears_before_the_first_line(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


class Disk:
    """A disk that can be full: it takes `room` more bytes into files."""

    def __init__(self) -> None:
        self.room = 10**9
        self._write = os.write

    def write(self, descriptor: int, data: bytes) -> int:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return self._write(descriptor, data)
        if self.room == 0:
            raise OSError(28, "No space left on device")
        written = self._write(descriptor, data[: self.room])
        self.room -= written
        return written


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "write", disk.write)
    return disk


@pytest.mark.parametrize("room", [0, 1, 50])
def test_a_full_disk_loses_nothing_and_tears_no_line(tmp_path: Path, disk: Disk, room: int) -> None:
    journal = Journal(tmp_path)
    journal.append(entry(0))
    disk.room = room
    for number in range(1, 4):
        journal.append(entry(number))
    assert journal.backlog == 3
    assert journal.num_errors >= 3
    disk.room = 10**9
    journal.append(entry(4))
    assert journal.backlog == 0
    journal.close()
    (path,) = tmp_path.iterdir()
    assert path.read_bytes().count(b"\n") == 5
    assert read_entries(tmp_path) == [entry(number) for number in range(5)]


def test_the_backlog_is_bounded_and_gives_up_the_oldest(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "BACKLOG_BYTES", 1000)
    journal = Journal(tmp_path)
    disk.room = 0
    for number in range(30):
        journal.append(entry(number))
    assert journal.num_lost + journal.backlog == 30
    disk.room = 10**9
    journal.close()
    kept = read_entries(tmp_path)
    assert kept == [entry(number) for number in range(30 - len(kept), 30)]


def test_answers_go_on_while_the_journal_cannot_be_written(tmp_path: Path, engine_url: str, disk: Disk) -> None:
    with Yard(tmp_path).open() as yard:
        yard.publish(Service(name="support", champion=variant("champ", engine_url)))
        disk.room = 0
        assert {yard.post(json={**CHAT, "stream": stream}).status_code for stream in (False, True)} == {200}
        assert yard.metric("journal_errors_total") >= 2
        assert yard.metric("journal_backlog") == 2
        disk.room = 10**9
        eventually(lambda: yard.metric("journal_backlog") == 0)
    assert len(yard.interactions()) == 2


def test_a_kill_in_mid_traffic_leaves_every_answer_on_record(tmp_path: Path, engine: Engine, engine_url: str) -> None:
    yard = Yard(tmp_path)
    yard.publish(Service(name="support", champion=variant("champ", engine_url), body_policy="full"))
    finished: list[str] = []

    def call(stream: bool) -> None:
        body = {**CHAT, "stream": stream}
        with httpx.Client(base_url=yard.url, headers=AUTH) as client:
            while True:
                try:
                    answer = client.post("/v1/chat/completions", json=body)
                except httpx.TransportError:
                    return
                text = answer.text.removeprefix("data: ").partition("\n\n")[0] if stream else answer.text
                finished.append(msgspec.json.decode(text, type=dict[str, Any])["id"])

    with yard.spawn() as process:
        threads = [threading.Thread(target=call, args=(number % 2 == 0,)) for number in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(finished) > 100)
        process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
    (path,) = yard.journal.iterdir()
    lines = path.read_bytes().splitlines()
    entries = [msgspec.json.decode(line, type=Interaction) for line in lines]
    assert set(finished) <= {interaction.id for interaction in entries}
    assert len({interaction.id for interaction in entries}) == len(entries)
    assert {interaction.answer for interaction in entries if interaction.status == 200} == {"I am champ"}


def test_a_restart_begins_a_new_segment(tmp_path: Path, engine_url: str) -> None:
    yard = Yard(tmp_path)
    yard.publish(Service(name="support", champion=variant("champ", engine_url)))
    for _ in range(2):
        with yard.open():
            eventually(lambda: yard.ready_version() == 1)
            assert yard.post().status_code == 200
    assert len(list(yard.journal.iterdir())) == 2
    assert len(yard.interactions()) == 2
