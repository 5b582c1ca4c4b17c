"""The ledger: counts that add up to the same whatever the blocks, and a quarantine without personal data."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.datasets.ledger import MAX_EXAMPLES, Ledger, StepCount, example, quarantine_line
from modelyard.datasets.outcome import Rejection

REASONS = ("broken JSON: at byte 3", "broken JSON: at byte 9", "no field: 'text'")


def rejection(line: int, reason: str = "broken JSON: at byte 3", raw: str = "{") -> Rejection:
    return Rejection(source="rows.jsonl", line=line, reason=reason, raw=raw)


def counted(step: str, rows_out: int, *rejected: Rejection) -> StepCount:
    count = StepCount(step=step)
    count.add(rows_out=rows_out, rejected=rejected)
    return count


def test_a_count_tells_rows_causes_findings_and_examples() -> None:
    count = StepCount(step="reading")
    count.add(rows_out=3, rejected=[rejection(2, REASONS[0]), rejection(4, REASONS[2])], changed=1, findings={"bom": 1})
    assert count.as_dict() == {
        "step": "reading",
        "rows_in": 5,
        "rows_out": 3,
        "dropped": 2,
        "changed": 1,
        "causes": {"broken JSON": 1, "no field": 1},
        "examples": [
            {"source": "rows.jsonl", "line": 2, "reason": REASONS[0], "raw": "{"},
            {"source": "rows.jsonl", "line": 4, "reason": REASONS[2], "raw": "{"},
        ],
        "findings": {"bom": 1},
    }


@given(st.lists(st.lists(st.sampled_from((None, *REASONS)), max_size=8), max_size=6))
def test_blocks_add_up_to_the_count_of_the_whole(blocks: list[list[str | None]]) -> None:
    lines = [(line, reason) for line, reason in enumerate([reason for block in blocks for reason in block], start=1)]
    whole = counted("reading", *_parted(lines))
    ledger = Ledger(["reading"])
    done = 0
    for block in blocks:
        ledger.merge([counted("reading", *_parted(lines[done : done + len(block)]))])
        done += len(block)
    ledger.check()
    assert ledger.as_dicts() == (whole.as_dict(),)
    assert ledger.rows_read == len(lines)
    assert len(whole.examples) == min(MAX_EXAMPLES, whole.dropped)


def _parted(lines: list[tuple[int, str | None]]) -> tuple[int | Rejection, ...]:
    gone = [rejection(line, reason) for line, reason in lines if reason is not None]
    return (len(lines) - len(gone), *gone)


def test_a_lost_row_is_noticed_between_steps_and_within_one() -> None:
    between = Ledger(["reading", "mapping"])
    between.merge([counted("reading", 3), counted("mapping", 2)])
    with pytest.raises(AssertionError, match="3 rows left 'reading', 2 met 'mapping'"):
        between.check()
    within = Ledger(["reading"])
    within.merge([StepCount(step="reading", rows_in=3, rows_out=1)])
    with pytest.raises(AssertionError, match="'reading' lost 2 rows and has 0 reasons"):
        within.check()


def test_personal_data_reaches_neither_the_quarantine_nor_the_examples() -> None:
    raw = json.dumps({"text": "x" * 150 + " mail anna.smith@example.com now"})
    lost = rejection(7, "no field: 'anna.smith@example.com'", raw)
    line = quarantine_line("mapping", lost)
    told = json.loads(line)
    assert line.endswith(b"}\n")
    assert {name: told[name] for name in ("source", "line", "step")} == {
        "source": "rows.jsonl",
        "line": 7,
        "step": "mapping",
    }
    # The cut goes through the address: it must be masked before.
    for text in (line.decode(), json.dumps(example(lost)), json.dumps(counted("mapping", 0, lost).as_dict())):
        assert "anna" not in text
    assert len(told["raw"]) > len(example(lost)["raw"]) == 160


def test_masked_rows_are_taken_as_they_are() -> None:
    lost = rejection(1, raw="anna.smith@example.com")
    assert json.loads(quarantine_line("conflicts", lost, is_masked=True))["raw"] == lost.raw
    assert example(lost, is_masked=True)["raw"] == lost.raw


def test_the_error_names_the_step_that_dropped_most_and_its_first_row() -> None:
    ledger = Ledger(["reading", "mapping"])
    gone = [rejection(line, REASONS[2]) for line in (5, 6, 8)]
    ledger.merge([counted("reading", 4, rejection(1)), counted("mapping", 0, rejection(2, "empty prompt"), *gone)])
    error = ledger.nothing_left("no row is left")
    assert "the step 'mapping' dropped 4 of 5, 3 for 'no field' (line 5 of rows.jsonl: no field: 'text')" in error.seen
    assert "`shape`" in error.fix
    assert ledger.nothing_left("", fix="do this").fix == "do this"


def test_the_error_without_dropped_rows_says_only_what_was_seen() -> None:
    ledger = Ledger(["reading"])
    ledger.merge([counted("reading", 4)])
    assert ledger.nothing_left("none fell into 'test'", fix="add rows").seen == "none fell into 'test'"
    assert ledger.count("never asked for").dropped == 0
