"""The log of answers: what is in it stays, what is half in it goes, what may have been billed is counted."""

from pathlib import Path

import pytest

from modelyard.core.errors import Conflict, Corrupt
from modelyard.datasets.synthesis.log import Account, Asked, Failed, Lost, Started, open_log, put_aside, read_log
from tests.datasets.synthesis.made import answered

STARTED = Started(synthesis="shop", asking={"model": "m", "seed": 0}, seeds="sha256:1", at="2025-01-01T00:00:00Z")


def asked(key: str, at_most: int = 10) -> Asked:
    return Asked(key=key, cost_at_most_nanousd=at_most)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "shop.answers.jsonl"
    with open_log(path, STARTED) as log:
        log.write(asked("0-0"))
        log.write(answered("Yes"))
        log.write(asked("0-1"))
        log.write(answered("No", sample=1))
    return path


def test_cut_anywhere_it_goes_on_from_the_last_whole_line(path: Path) -> None:
    whole = path.read_bytes()
    # Every place around the ends of lines, some within.
    breaks = [end for end in range(len(whole)) if b"\n" in whole[max(0, end - 2) : end + 1] or end % 50 == 0]
    for end in breaks:
        path.write_bytes(whole[:end])
        with open_log(path, STARTED) as log:
            known = len(log.account.answers)
            log.write(answered("More", sample=2))
        assert known == whole[:end].count(b'"answered"') - (not whole[:end].endswith(b"\n") and _in_answer(whole, end))
        account = read_log(path)
        assert (account.started, len(account.answers)) == (STARTED, known + 1)


def _in_answer(whole: bytes, end: int) -> bool:
    return b'"answered"' in whole[whole.rfind(b"\n", 0, end) + 1 : end]


def test_a_damaged_line_is_not_passed_over(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"sample":0', b'"sample":x'))
    with pytest.raises(Corrupt, match=f"line 3 of {path}"):
        read_log(path)


def test_other_requests_are_told_and_leave_the_log_alone(path: Path) -> None:
    before = path.read_bytes()
    other = Started(synthesis="shop", asking={"model": "n", "seed": 0}, seeds="sha256:2", at="now")
    with pytest.raises(Conflict, match=r'`model` \("m" to "n"\), the seed rows') as caught, open_log(path, other):
        pass
    assert "--restart" in caught.value.fix
    assert path.read_bytes() == before


def test_a_log_that_is_put_aside_keeps_its_answers(path: Path) -> None:
    before = path.read_bytes()
    aside = put_aside(path)
    assert aside is not None
    assert (aside.read_bytes(), path.exists()) == (before, False)
    assert put_aside(path) is None


def test_money_without_an_answer_counts_as_spent_at_most() -> None:
    account = Account()
    for event in (
        asked("killed"),
        asked("0-0"),
        Lost(key="0-0", cost_at_most_nanousd=10),
        answered("Yes"),
        asked("failed"),
        Failed(key="failed"),
    ):
        account.add(event)
    assert (account.cost_nanousd, account.unanswered_nanousd) == (7, 20)
    account.add(asked("killed"))
    assert account.unanswered_nanousd == 30
