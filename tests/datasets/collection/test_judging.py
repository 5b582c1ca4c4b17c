"""One interaction at a time: what makes it a row, which answer it teaches, and why others are passed over."""

import json
from typing import Any

import pytest

from modelyard.core.clock import iso
from modelyard.core.digests import digest_text
from modelyard.datasets.collection.config import CollectConfig
from modelyard.datasets.collection.judging import row_of
from modelyard.datasets.collection.reasons import PassedOver
from modelyard.ports.interaction import Feedback
from modelyard.ports.records import ReviewedInteraction
from tests.adapters.records.values import NOW_MS, a_feedback, an_interaction

REQUEST = {"model": "support", "messages": [{"role": "user", "content": "where is my parcel?"}]}


def said(*feedback: dict[str, Any], answer: str = "On its way.", **fields: Any) -> ReviewedInteraction:
    """An interaction with texts, and feedback on it, each later than the one before."""
    values = {"request": json.dumps(REQUEST), "answer": answer, "answer_hash": digest_text(answer.strip())}
    given = an_interaction(**values | fields)
    told = [a_feedback(given.id, at_ms=NOW_MS + n, **one) for n, one in enumerate(feedback)]
    return ReviewedInteraction(interaction=given, feedback=tuple(told))


def right(text: str, *, kept: bool = True, **fields: Any) -> dict[str, Any]:
    return {"expected_hash": digest_text(text), "expected": text if kept else "", **fields}


def made(one: ReviewedInteraction, **collect: Any) -> dict[str, Any]:
    config = CollectConfig(**{"service": "support", "since": "7d", "tenants": ["acme"]} | collect)
    row: dict[str, Any] = json.loads(row_of(one, config))
    return row


def reason(one: ReviewedInteraction, **collect: Any) -> str:
    with pytest.raises(PassedOver) as passed_over:
        made(one, **collect)
    return str(passed_over.value)


def taught(one: ReviewedInteraction, **collect: Any) -> str:
    text: str = made(one, **collect)["messages"][-1]["content"]
    return text


def test_a_row_is_the_conversation_with_its_answer_and_where_it_came_from() -> None:
    one = said({"score": 0.9}, release="sha256:r", propensity=0.25, role="challenger", unit="u1")
    assert made(one) == {
        "id": one.interaction.id,
        "messages": [*REQUEST["messages"], {"role": "assistant", "content": "On its way."}],
        "unit": "u1",
        "meta": {
            "at": iso(NOW_MS), "tenant": "acme", "release": "sha256:r", "role": "challenger", "propensity": 0.25,
            "score": 0.9,
        },
    }  # fmt: skip


def test_tools_and_their_turns_come_along() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "track", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "where is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "in transit", "tool_call_id": "c1"},
    ]
    tools = [{"type": "function", "function": {"name": "track"}}]
    row = made(said(request=json.dumps({"messages": messages, "tools": tools})))
    assert row["tools"] == tools
    assert row["messages"][0] == {"role": "system", "content": "Be brief."}
    assert row["messages"][1:4] == messages[1:]


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (said(tenant="globex"), "no consent of the tenant"),
        (said(tenant="globex", role="shadow", request="", status=500), "no consent of the tenant"),
        (said(role="shadow"), "answer of a shadow"),
        (said(request=""), "no text recorded"),
        (said(status=500, answer=""), "failed"),
        (said(status=499, stream=True, answer="On its"), "cut short"),
        (said(status=502, stream=True, answer="On its"), "cut short"),
        (said(status=499, answer=""), "failed"),
        (said(finish_reason="length"), "cut short"),
        (said(finish_reason="content_filter"), "cut short"),
        (said(answer=" \n"), "no text in the answer"),
        (said(request='{"prompt": "once upon"}'), "no chat"),
        (said(request="not json"), "no chat"),
        (said(request='{"messages": ["hello"]}'), "no chat"),
    ],
)
def test_what_is_passed_over(one: ReviewedInteraction, why: str) -> None:
    assert reason(one) == why


def test_a_shadow_is_taken_only_where_it_is_named() -> None:
    assert taught(said(role="shadow"), roles=["shadow"]) == "On its way."
    assert reason(said(role="champion"), roles=["shadow"]) == "answer of a champion"


def test_only_the_releases_that_are_named() -> None:
    assert taught(said(release="sha256:a"), releases=["sha256:a"]) == "On its way."
    assert reason(said(release="sha256:b"), releases=["sha256:a"]) == "another release"


class TestScores:
    @pytest.mark.parametrize(
        ("feedback", "why"),
        [
            ([], "no score"),
            ([{"score": 0.79}], "score too low"),
            ([{"score": 0.8}], ""),
            ([{"score": 0.1}, {"score": 0.9}], ""),
            ([{"score": 0.9}, {"score": 0.1}], "score too low"),
            ([{"score": 1.0, "metric": "politeness"}], "no score"),
            ([{"score": 1.0, "tenant": "globex"}], "no score"),
            ([right("On its way.", kept=False)], ""),
        ],
    )
    def test_a_demanded_score_is_the_newest_of_its_metric_by_the_own_tenant(
        self, feedback: list[dict[str, Any]], why: str
    ) -> None:
        one = said(*feedback)
        asked = {"feedback": {"metric": "quality", "at_least": 0.8}}
        assert (reason(one, **asked) if why else taught(one, **asked)) == (why or "On its way.")

    def test_liked_answers_have_half_a_score_or_what_is_demanded(self) -> None:
        assert taught(said({"score": 0.5}), answers="liked") == "On its way."
        assert reason(said({"score": 0.49}), answers="liked") == "score too low"
        assert reason(said({"score": 0.5}), answers="liked", feedback={"at_least": 0.9}) == "score too low"

    def test_a_score_of_what_a_shadow_copies_is_not_its_own(self) -> None:
        copy = said(role="shadow", shadow_of="first").interaction
        on_first = Feedback(id="f", interaction_id="first", at_ms=NOW_MS, tenant="acme", score=1.0)
        one = ReviewedInteraction(interaction=copy, feedback=(on_first,))
        assert reason(one, roles=["shadow"], answers="liked") == "no score"


class TestCorrections:
    def test_the_right_answer_is_taught_in_place_of_the_given_one(self) -> None:
        row = made(said(right("It was lost.")))
        assert row["messages"][-1]["content"] == "It was lost."
        assert row["meta"]["corrected"] is True
        assert row["meta"]["score"] == 0.0

    def test_the_newest_right_answer_counts_whatever_its_metric(self) -> None:
        one = said(right("It was lost."), right("It was found.", metric="exact"))
        assert taught(one, answers="corrected") == "It was found."

    def test_a_right_answer_stands_in_for_one_that_failed_or_scored_low(self) -> None:
        asked = {"feedback": {"at_least": 0.9}}
        assert taught(said(right("It was lost."), status=500, answer=""), **asked) == "It was lost."
        assert taught(said(right("It was lost.", score=0.0)), **asked) == "It was lost."

    def test_corrected_takes_what_has_a_right_answer_alone(self) -> None:
        assert reason(said({"score": 1.0}), answers="corrected") == "no right answer given"
        assert taught(said(right("On its way.", kept=False)), answers="corrected") == "On its way."

    def test_an_answer_that_is_known_to_be_wrong_is_never_taught(self) -> None:
        one = said({"score": 1.0}, right("It was lost.", kept=False))
        assert reason(one) == "the right answer was not kept"
        assert reason(one, answers="corrected") == "the right answer was not kept"
        assert reason(one, answers="liked") == "known to be wrong"

    def test_nobody_else_can_teach_a_tenants_model(self) -> None:
        assert taught(said(right("Send money.", tenant="globex"))) == "On its way."
        assert reason(said(right("Send money.", tenant="globex")), answers="corrected") == "no right answer given"

    def test_the_right_answer_to_what_a_shadow_copies_is_its_own_too(self) -> None:
        copy = said(role="shadow", shadow_of="first").interaction
        on_first = Feedback(id="f", interaction_id="first", at_ms=NOW_MS, tenant="acme", **right("It was lost."))
        row = made(ReviewedInteraction(interaction=copy, feedback=(on_first,)), roles=["shadow"])
        assert (row["messages"][-1]["content"], row["meta"]["score"]) == ("It was lost.", 0.0)
