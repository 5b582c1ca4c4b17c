"""A trial on live traffic: it notices what dies under it, and leaves no key behind."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.adapters.processes import free_port
from modelyard.adapters.records.store import SqlRecords, open_records
from modelyard.core.errors import Unavailable
from modelyard.demo import trial
from modelyard.demo.traffic import Call, Tally
from modelyard.demo.trial import run_trial
from modelyard.ports.dataset import Example, Message
from modelyard.workflows.keys import create_key
from modelyard.workflows.tools import silent

TURNS = (Message(role="user", content="Where is it?"), Message(role="assistant", content="track_parcel"))
EXAMPLES = [Example(id="1", messages=TURNS, source="raw.jsonl", line=1)]


class Serving:
    """Stands for the running parts: a gateway that answers nobody, and one that is given up at the third look."""

    def __init__(self, *, dead: bool) -> None:
        self.gateway_url = f"http://127.0.0.1:{free_port()}"
        self.looks, self.dead = 0, dead

    def settle(self) -> None:
        """Served at once."""

    def watch(self) -> None:
        self.looks += 1
        if self.dead and self.looks > 2:
            raise Unavailable("the engine keeps ending")


@pytest.fixture
def records(tmp_path: Path) -> Iterator[SqlRecords]:
    opened = open_records(f"sqlite:///{tmp_path / 'records.db'}")
    yield opened
    opened.close()


def test_a_part_that_keeps_ending_ends_the_trial_and_the_key_is_taken_back(records: SqlRecords) -> None:
    create_key(records, "ada")
    create_key(records, "demo")
    with pytest.raises(Unavailable, match="keeps ending"):
        run_trial(records, Serving(dead=True), "support", EXAMPLES, lambda _: False, silent)  # type: ignore[arg-type]
    assert [key.tenant for key in records.routes.keys()] == ["ada"]  # noqa: SIM118 - no dict
    assert "traffic" not in [thread.name for thread in threading.enumerate()]


def test_answers_that_never_reach_the_records_are_told(records: SqlRecords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_INGEST_TIMEOUT_S", 0.3)
    monkeypatch.setattr(trial, "_AFTERWARDS_S", 0.0)

    def answered(tally: Tally) -> bool:
        tally.calls.append(Call(at_s=0, id="lost", release="r", role="champion", right=True, latency_ms=1))
        return True

    with pytest.raises(Unavailable, match="answer lost was not in the records"):
        run_trial(records, Serving(dead=False), "support", EXAMPLES, answered, silent)  # type: ignore[arg-type]
    assert not records.routes.keys()
