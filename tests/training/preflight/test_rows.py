"""Traps in the rows themselves."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.training.preflight import Inspection
from modelyard.training.preflight.inspection import Columns
from modelyard.training.preflight.rows import earlier_prompts_are_prefixes, fits
from modelyard.training.sizes import Sizes
from modelyard.training.tokenization import IGNORED, Row
from tests.training.conftest import make_examples
from tests.training.preflight.planted import RECIPE, conversation, failing, with_template


def test_a_long_row_is_told_with_its_share(chat):
    rows = chat.encode(make_examples(4))
    longest = max(len(row.input_ids) for row in rows)
    recipe = RECIPE.model_copy(update={"sequence_length": longest - 1})
    finding = fits(Inspection(rows=rows, chat=chat, recipe=recipe))
    assert finding.seen == f"1 of 4 rows (25.00%) fail, the first is row-3; longest {longest} of {longest - 1} tokens"


def test_a_row_beyond_the_positions_of_the_base(chat):
    rows = chat.encode(make_examples(3))
    sizes = Sizes({"max_position_embeddings": 10, "vocab_size": 400}, {})
    assert failing(rows, chat, sizes=sizes) == ["no row is truncated"]


def test_a_prefix_takes_room_from_the_rows(chat):
    rows = chat.encode(make_examples(3))
    longest = max(len(row.input_ids) for row in rows)
    sizes = Sizes({"max_position_embeddings": longest + 7, "vocab_size": 400}, {})
    recipe = RECIPE.model_validate({"base": "tiny", "method": "prefix", "virtual_tokens": 8, "serve": False})
    assert failing(rows, chat, recipe, sizes=sizes) == ["no row is truncated"]


def test_an_answer_that_brings_its_own_end_of_turn(chat):
    rows = chat.encode([conversation("hello", "refund<|end|>"), conversation("hello", "refund")])
    assert failing(rows, chat) == ["a turn ends once"]


def test_an_end_of_turn_within_an_answer(chat):
    rows = chat.encode([conversation("hello", "refund<|end|> and login")])
    assert failing(rows, chat) == ["a turn ends once"]


def test_a_question_that_brings_an_end_of_turn(chat):
    assert failing(chat.encode([conversation("hello<|end|>", "refund")]), chat) == ["a turn ends once"]


def test_a_beginning_in_the_middle(chat):
    assert failing(chat.encode([conversation("hello <|bos|> there", "refund")]), chat) == ["text begins once"]


def test_turns_that_begin_anew_after_an_end_are_no_trap(base, tmp_path, chat):
    each_turn = chat.template.replace("{{ '<|' + message['role']", "{{ bos_token + '<|' + message['role']").replace(
        "{{ bos_token }}{% for", "{% for"
    )
    assert each_turn != chat.template
    other = with_template(base, tmp_path / "b", each_turn)
    examples = [conversation("hello", "refund", "and now", "login")]
    rows = other.encode(examples)
    assert rows[0].input_ids.count(chat.tokenizer.bos_token_id) == 2
    assert failing(rows, other, examples=examples) == []


def test_an_earlier_turn_that_is_rendered_otherwise(base, tmp_path, chat):
    # What lies behind is told in another way than it was when it was the last turn.
    forgetful = chat.template.replace(
        "{{ '<|assistant|>' }}{% generation %}",
        "{{ '<|assistant|>' if loop.last else ':' }}{% generation %}",
    )
    assert forgetful != chat.template
    other = with_template(base, tmp_path / "b", forgetful)
    examples = [conversation("hello", "refund", "and now", "login"), conversation("hello", "refund")]
    named = failing(other.encode(examples), other, examples=examples)
    assert named == ["every turn's prompt is a prefix"]


def test_every_earlier_turn_is_looked_at(chat):
    examples = [conversation("a", "refund", "b", "login", "c", "refund"), conversation("a", "refund")]
    inspection = Inspection(rows=chat.encode(examples), chat=chat, recipe=RECIPE, examples=examples)
    finding = earlier_prompts_are_prefixes(inspection)
    assert (finding.passed, finding.seen) == (True, "1 of 1 conversations with several answers looked at: all are")


def test_validation_rows_that_are_trained_on(chat):
    rows = chat.encode(make_examples(20))
    assert failing(rows[:10], chat, held_out=rows[5:7]) == ["validation rows are new"]
    new = msgspec.structs.replace(rows[0], input_ids=[*rows[0].input_ids, 7])
    assert failing(rows[:10], chat, held_out=[new]) == []


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=8), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_spans_are_what_a_loop_finds(rows):
    made = [
        Row(
            example_id="r",
            input_ids=[id for id, _ in row],
            labels=[id if learnt else IGNORED for id, learnt in row],
            prompt_ids=[],
            answers=(),
        )
        for row in rows
    ]
    columns = Columns(made)
    found = [(int(columns.row[a]), columns.labels[a:b].tolist()) for a, b in zip(*columns.spans, strict=True)]
    assert found == [(place, span) for place, row in enumerate(made) for span in by_hand(row.labels)]
    assert columns.num_learnt.tolist() == [sum(label != IGNORED for label in row.labels) for row in made]
    assert np.array_equal(columns.rows_of(columns.starts_row), np.arange(len(made)))


def by_hand(labels):
    span, spans = [], []
    for label in [*labels, IGNORED]:
        if label != IGNORED:
            span.append(label)
        elif span:
            spans.append(span)
            span = []
    return spans


@pytest.mark.parametrize("count", [0, 1])
def test_few_rows_are_no_trouble(chat, count):
    named = failing(chat.encode(make_examples(count)), chat, examples=make_examples(count))
    assert bool(named) == (count == 0)
