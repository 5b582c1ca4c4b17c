"""Each trap is planted once, and exactly the check made for it must speak up."""

import copy

import msgspec
import pytest

from modelyard.core.errors import RecipeInvalid
from modelyard.training.preflight import Inspection, inspect, require
from modelyard.training.preflight.rows import fits
from modelyard.training.tokenization import IGNORED
from tests.training.conftest import make_examples
from tests.training.preflight.planted import ENGINE, RECIPE, failing, with_template


@pytest.fixture
def rows(chat):
    return chat.encode(make_examples(6))


def test_sound_rows_pass(rows, chat):
    assert failing(rows, chat) == []


def test_nothing_to_look_at_is_no_pass(chat):
    assert "every row has labels" in failing([], chat)


def test_template_without_markers(base, tmp_path, chat):
    plain = chat.template.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    unmarked = with_template(base, tmp_path / "b", plain)
    named = failing(unmarked.encode(make_examples(2)), unmarked)
    assert named == ["template marks answers", "every row has labels", "labels are the answers"]


def test_end_of_turn_outside_the_markers(base, tmp_path, chat):
    late = chat.template.replace(
        "message['content'] + '<|end|>' }}{% endgeneration %}", "message['content'] }}{% endgeneration %}<|end|>"
    )
    assert late != chat.template
    never_stops = with_template(base, tmp_path / "b", late)
    named = failing(never_stops.encode(make_examples(2)), never_stops)
    assert named == ["every answer ends its turn", "labels are the answers"]


def test_role_header_inside_the_markers(base, tmp_path, chat):
    early = chat.template.replace("{{ '<|assistant|>' }}{% generation %}", "{% generation %}{{ '<|assistant|>' }}")
    assert early != chat.template
    parrots = with_template(base, tmp_path / "b", early)
    assert failing(parrots.encode(make_examples(2)), parrots) == ["labels are the answers"]


def test_labels_of_the_wrong_words(rows, chat):
    shifted = [msgspec.structs.replace(rows[0], answers=("something else",)), *rows[1:]]
    assert failing(shifted, chat) == ["labels are the answers"]


def test_one_row_without_labels(rows, chat):
    unlabelled = [msgspec.structs.replace(rows[0], labels=[IGNORED] * len(rows[0].labels)), *rows[1:]]
    assert failing(unlabelled, chat) == ["every row has labels", "labels are the answers"]


def test_long_row(rows, chat):
    longest = max(len(row.input_ids) for row in rows)
    assert failing(rows, chat, RECIPE.model_copy(update={"sequence_length": longest})) == []
    recipe = RECIPE.model_copy(update={"sequence_length": longest - 1})
    assert failing(rows, chat, recipe) == ["no row is truncated"]
    finding = fits(Inspection(rows=rows, chat=chat, recipe=recipe))
    assert f"to {longest}" in finding.fix


def test_row_beyond_what_the_base_reads(rows, chat):
    longest = max(len(row.input_ids) for row in rows)
    short_sighted = copy.copy(chat)
    short_sighted.tokenizer = copy.deepcopy(chat.tokenizer)
    short_sighted.tokenizer.model_max_length = longest - 1
    assert failing(rows, short_sighted) == ["no row is truncated"]
    assert "reads no further" in fits(Inspection(rows=rows, chat=short_sighted, recipe=RECIPE)).fix


def test_padding_that_is_the_end_of_turn(rows, chat):
    careless = copy.copy(chat)
    careless.tokenizer = copy.deepcopy(chat.tokenizer)
    careless.tokenizer.pad_token = careless.tokenizer.eos_token
    assert failing(rows, careless) == ["padding differs from end of turn"]


def test_two_beginnings(base, tmp_path, chat):
    twice = with_template(base, tmp_path / "b", "{{ bos_token }}" + chat.template)
    assert failing(twice.encode(make_examples(2)), twice) == ["text begins once"]


def test_prompt_that_is_no_prefix(base, tmp_path, chat):
    extra = chat.template.replace(
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}",
        "{% if add_generation_prompt %}{{ '<|assistant|>answer:' }}",
    )
    assert extra != chat.template
    other = with_template(base, tmp_path / "b", extra)
    assert failing(other.encode(make_examples(2)), other) == ["prompts are prefixes"]


@pytest.mark.parametrize(
    "engine",
    [
        msgspec.structs.replace(ENGINE, adapters=False),
        msgspec.structs.replace(ENGINE, max_lora_rank=4),
        msgspec.structs.replace(ENGINE, lora_ranks=(16, 32)),
    ],
)
def test_adapter_the_engine_cannot_load(rows, chat, engine):
    assert failing(rows, chat, engine=engine) == ["the engine can serve it"]


def test_the_error_lists_every_failure(rows, chat):
    recipe = RECIPE.model_copy(update={"sequence_length": 8, "rank": 9})
    with pytest.raises(RecipeInvalid) as raised:
        require(inspect(Inspection(rows=rows, chat=chat, recipe=recipe, engine=ENGINE)))
    assert "no row is truncated" in raised.value.seen
    assert "rank 9; some takes one of 8, 16" in raised.value.seen
    assert "set rank to one of 8, 16" in raised.value.fix
