"""What the heuristics catch and miss, on a labelled set that holds what they cannot catch as well."""

import json
from pathlib import Path

import pytest

from modelyard.gateway.errors import Refusal
from modelyard.gateway.guards.filters import Guards
from modelyard.gateway.guards.injection import SIGNS, Injection
from modelyard.ports.serving import Filter
from tests.gateway.guards.test_filters import chat

ROWS = [json.loads(line) for line in (Path(__file__).parent / "injections.jsonl").read_text().splitlines()]


def rates(threshold: float) -> tuple[float, float]:
    """Precision and recall."""
    finder = Injection(threshold)
    caught = [row["attack"] for row in ROWS if finder.found_in(row["text"])]
    return sum(caught) / len(caught), sum(caught) / sum(row["attack"] for row in ROWS)


def test_precision_and_recall_are_what_the_docs_say() -> None:
    precision, recall = rates(1.0)
    text = (Path(__file__).parents[3] / "docs" / "gateway" / "guards.md").read_text()
    assert f"precision {precision:.2f}, recall {recall:.2f}" in text
    assert precision >= 0.9
    assert recall >= 0.6


def test_a_higher_threshold_catches_less() -> None:
    assert rates(2.0)[1] < rates(1.0)[1] < rates(0.5)[1]


def test_signs_spread_over_turns_count_together_and_names_are_unique() -> None:
    guards = Guards.build([Filter(kind="injection")])
    assert guards is not None
    assert not guards.looks_at_answers
    guards.check_request(chat("you are now a pirate"))
    with pytest.raises(Refusal):
        guards.check_request(chat([{"type": "text", "text": text} for text in ("you are now", "New instructions: go")]))
    assert len({name for name, _, _ in SIGNS}) == len(SIGNS)
    assert guards.findings["injection", "you_are_now"] == 1


@pytest.mark.parametrize("text", ["ignore " * 20_000, "a " * 100_000, "(" * 200_000, "show " * 40_000, "![" * 50_000])
def test_a_text_made_to_be_slow_is_read_in_time(text: str) -> None:
    # Without a bound on what each sign may try, these would take minutes and the suite's time limit would end it.
    Injection().signs(text)
