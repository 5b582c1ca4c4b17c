"""Shapes: found out from the fields, read strictly, and what does not fit is told."""

from typing import Any

import pytest

from modelyard.core.errors import DataInvalid
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.outcome import Outcome
from modelyard.datasets.rows import PARTS, ROLES
from modelyard.datasets.shapes.detection import detect_shape
from modelyard.datasets.shapes.shaping import shape_rows
from modelyard.datasets.sources.block import Records

USER, ASKS = {"role": "user", "content": "ask"}, ("user", "prompt", "ask")
SAYS, ANSWERS = {"role": "assistant", "content": "say"}, ("assistant", "answer", "say")
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
BROKEN_CALL = {"function": {"name": "f", "arguments": "{"}}
FOUND = {"role": "tool", "content": "found", "tool_call_id": "c1"}


def shaped(*rows: dict[str, Any], **settings: Any) -> tuple[str, Outcome]:
    config = DatasetConfig(**{"path": "rows.jsonl", **settings})
    shape = detect_shape(rows, config)
    records = Records(source="s", fields=list(rows), lines=list(range(1, len(rows) + 1)), raws=[], rejected=[])
    return shape.name, shape_rows(records, shape, config)


def turns(outcome: Outcome, row: int = 0) -> list[tuple[str, str, str]]:
    rows = outcome.rows
    places = range(int(rows.bounds[row]), int(rows.bounds[row + 1]))
    return [(ROLES[rows.roles[place]], PARTS[rows.parts[place]], rows.turns[place]) for place in places]


@pytest.mark.parametrize(
    ("row", "shape", "told"),
    [
        ({"text": "ask", "label": "say"}, "template", [ASKS, ANSWERS]),
        ({"instruction": "ask", "output": "say"}, "alpaca", [ASKS, ANSWERS]),
        ({"instruction": "ask", "input": "", "output": "say"}, "alpaca", [ASKS, ANSWERS]),
        (
            {"instruction": "ask", "input": "this", "output": "say", "system": "be", "history": [["a", "b"]]},
            "alpaca",
            [("system", "prompt", "be"), ("user", "prompt", "a"), ("assistant", "prompt", "b"),
             ("user", "prompt", "ask\n\nthis"), ANSWERS],
        ),
        (
            {"conversations": [{"from": "human", "value": "ask"}, {"from": "gpt", "value": "say"}], "system": "be"},
            "sharegpt",
            [("system", "prompt", "be"), ASKS, ANSWERS],
        ),
        ({"messages": [USER, SAYS]}, "chat", [ASKS, ANSWERS]),
        ({"messages": [USER, SAYS, USER, SAYS]}, "chat", [ASKS, ("assistant", "prompt", "say"), ASKS, ANSWERS]),
        (
            {"messages": [USER, CALLS, FOUND, SAYS], "tools": [{"name": "find"}]},
            "chat",
            [ASKS, ("assistant", "prompt", ""), ("tool", "prompt", "found"), ANSWERS],
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "ask"}]}, SAYS]},
            "chat",
            [ASKS, ANSWERS],
        ),
        ({"prompt": "ask", "completion": "say"}, "prompt_completion", [ASKS, ANSWERS]),
        ({"prompt": [USER], "completion": [SAYS]}, "prompt_completion", [ASKS, ANSWERS]),
        (
            {"prompt": "ask", "chosen": "say", "rejected": "no"},
            "preference",
            [ASKS, ANSWERS, ("assistant", "rejected", "no")],
        ),
        (
            {"chosen": [USER, SAYS], "rejected": [USER, {"role": "assistant", "content": "no"}]},
            "preference",
            [ASKS, ANSWERS, ("assistant", "rejected", "no")],
        ),
        ({"prompt": "ask", "completion": "say", "label": True}, "kto", [ASKS, ANSWERS]),
        ({"text": "say"}, "text", [ANSWERS]),
    ],
)  # fmt: skip
def test_shapes_are_found_out_and_read(row: dict[str, Any], shape: str, told: list[tuple[str, str, str]]) -> None:
    name, outcome = shaped(row)
    assert (name, outcome.rejected) == (shape, {})
    assert turns(outcome) == told


def test_what_a_chat_carries() -> None:
    _, outcome = shaped({"messages": [USER, CALLS, FOUND, SAYS], "tools": [{"name": "find"}]})
    assert outcome.rows.tools == {0: '[{"name":"find"}]'}
    assert sorted(outcome.rows.extras) == [1, 2]
    assert '"tool_call_id":"c1"' in outcome.rows.extras[2]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": "ask"}, "missing field 'output': the row has 'instruction'"),
        ({"instruction": "ask", "output": None}, "empty field 'output': it is null"),
        ({"instruction": "ask", "output": ["say"]}, "nested field 'output'"),
        ({"instruction": "ask", "output": "say", "history": "x"}, "wrong field 'history'"),
        ({"messages": []}, "no messages"),
        ({"messages": "ask"}, "no messages: the field 'messages' holds 'ask'"),
        ({"messages": ["ask"]}, "wrong message: number 1"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "unknown role: message 1 has 'boss'"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "unknown role: message 1"),
        ({"messages": [USER, {"role": "assistant", "content": 3}]}, "wrong content: message 2 holds '3'"),
        ({"messages": [USER, {"role": "assistant", "content": [{"type": "image"}]}]}, "wrong content: message 2"),
        ({"messages": [USER]}, "no answer: the last message is the user's"),
        ({"messages": [USER, USER, SAYS]}, "turn order: messages 1 and 2 are both the user's"),
        ({"messages": [USER, {"role": "system", "content": "x"}, SAYS]}, "turn order: message 2 is the system's"),
        ({"messages": [USER, FOUND, SAYS]}, "turn order: message 2 is a tool's"),
        ({"messages": [{"role": "system", "content": "x"}, SAYS]}, "no question"),
        ({"messages": [USER, {**CALLS, "tool_calls": [BROKEN_CALL]}]}, "wrong tool call"),
        ({"conversations": [{"from": "alien", "value": "x"}]}, "unknown role: message 1 is from 'alien'"),
        ({"prompt": "ask", "chosen": "same", "rejected": "same"}, "no preference"),
        ({"chosen": [USER, SAYS], "rejected": [{"role": "user", "content": "b"}, SAYS]}, "no common prompt"),
        ({"prompt": "ask", "completion": "say", "label": "maybe"}, "wrong field 'label'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(row: dict[str, Any], reason: str) -> None:
    shape = next(name for name in ("instruction", "messages", "conversations", "chosen", "completion") if name in row)
    named = {
        "instruction": "alpaca",
        "messages": "chat",
        "conversations": "sharegpt",
        "chosen": "preference",
        "completion": "kto",
    }
    _, outcome = shaped(row, shape=named[shape])
    assert len(outcome.rows) == 1
    assert turns(outcome) == []
    assert outcome.rejected[0].startswith(reason)


def test_columns_stay_beside_their_rows() -> None:
    good = {"prompt": "ask", "completion": "say", "label": True, "k": 1, "g": "a", "m": {"by": "x"}}
    rows = [good, {**good, "label": "no"}, {**good, "k": 2, "label": False}, {"prompt": "ask"}, {**good, "k": None}]
    _, outcome = shaped(*rows, id="k", group="g", meta="m")
    assert sorted(outcome.rejected) == [1, 3, 4]
    assert outcome.rows.ids == ["1", None, "2", None, None]
    assert outcome.rows.groups == ["a", None, "a", None, None]
    assert outcome.rows.desirable == [True, False, False, False, False]
    assert outcome.rows.meta == ['{"by":"x"}', None, '{"by":"x"}', None, None]


def test_fields_can_have_other_names() -> None:
    _, outcome = shaped({"question": "ask", "reply": "say"}, fields={"prompt": "question", "completion": "reply"})
    assert turns(outcome) == [ASKS, ANSWERS]


def test_a_system_turn_is_added_where_there_is_none() -> None:
    _, outcome = shaped(
        {"messages": [USER, SAYS]}, {"messages": [{"role": "system", "content": "own"}, USER, SAYS]}, system="be brief"
    )
    assert [turns(outcome, row)[0][2] for row in (0, 1)] == ["be brief", "own"]


def test_unknown_fields_are_not_guessed_at() -> None:
    with pytest.raises(DataInvalid, match="no known shape; their fields are 'body', 'topic'") as refusal:
        shaped({"body": "x", "topic": "y"})
    assert "`prompt:" in refusal.value.fix
