"""From answers to rows: strict reading, filters, choice, copies, provenance."""

from typing import Any

import pytest

from modelyard.datasets.synthesis.candidates import Candidate, new_rows
from modelyard.datasets.synthesis.choosing import choose
from modelyard.datasets.synthesis.config import CopiesConfig
from modelyard.datasets.synthesis.copies import drop_copies
from modelyard.datasets.synthesis.making import Made, Refusal, make_rows
from modelyard.datasets.synthesis.seeds import Seed
from tests.datasets.synthesis.made import answered, candidate, config, prompt

NAMES = ("text", "label")
GOOD = {"text": "Hi", "label": "a"}


def read(text: str) -> list[tuple[Any, str]]:
    return [(one.fields, fault.partition(":")[0]) for one, fault in new_rows([candidate(text)], NAMES)]


@pytest.mark.parametrize(
    "text",
    [
        '[{"text": "Hi", "label": "a"}, {"label": "a", "text": "Hi"}]',
        '```json\n[{"text": "Hi", "label": "a"}, {"text": "Hi ", "label": "a"}]\n```',
        '{"text": "Hi", "label": "a"}\n{"text": "Hi", "label": "a"}\n',
        '{"rows": [{"text": "Hi", "label": "a"}, {"text": "Hi", "label": "a"}]}',
    ],
)
def test_rows_are_read_from_the_forms_that_teachers_write(text: str) -> None:
    assert read(text) == [(GOOD, ""), (GOOD, "")]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Here you are: {}", "broken JSON"),
        ('{"text": "Hi", "label": "a"', "broken JSON"),
        ('{"text": "Hi", "text": "Ho", "label": "a"}', "duplicate key"),
        ('{"text": "Hi", "label": NaN}', "broken JSON"),
        ("[]", "no rows"),
        ("[1]", "not an object"),
        ('{"text": "Hi"}', "wrong fields"),
        ('{"text": "Hi", "label": "a", "why": "b"}', "wrong fields"),
        ('{"text": "Hi", "label": null}', "wrong value"),
        ('{"text": "", "label": "a"}', "wrong value"),
        ('{"text": ["Hi"], "label": "a"}', "wrong value"),
    ],
)
def test_what_is_not_a_row_is_not_guessed_at(text: str, fault: str) -> None:
    assert [seen for _, seen in read(text)] == [fault]


def test_one_bad_row_costs_no_other() -> None:
    assert read('[{"text": "Hi", "label": "a"}, {"txt": "Hi"}]') == [(GOOD, ""), ({}, "wrong fields")]


def votes(*texts: str, **settings: Any) -> list[str]:
    """Why each answer to one prompt goes; empty for the one that stays."""
    judged = choose([candidate(text, sample=number) for number, text in enumerate(texts)], config(**settings))
    return [fault.partition(":")[0] for _, fault in judged]


def test_the_majority_stays_once_with_its_votes() -> None:
    assert votes("No", "Yes.", " yes", "YES", keep="majority") == ["outvoted", "", "agrees", "agrees"]
    assert votes("No", "Yes", keep="majority") == ["no majority", "no majority"]
    answers = [candidate("Yes", sample=0), candidate("yes.", sample=1), candidate("no", sample=2)]
    assert choose(answers, config(keep="majority"))[0][0].votes == (2, 3)


def test_a_vote_can_be_a_part_of_an_answer() -> None:
    texts = ("It is 3, no: 4.\n#### 4", "Counting ...\n#### 4", "#### 5")
    assert votes(*texts, keep="majority", vote=r"####\s*(\S+)") == ["", "agrees", "outvoted"]
    assert votes(*texts, keep="majority") == ["no majority"] * 3


def test_the_first_good_answer_stays_with_all_its_rows() -> None:
    rows = [candidate("b", sample=1), candidate("c", sample=1), candidate("d", sample=2)]
    assert [fault for _, fault in choose(rows, config(keep="first"))] == ["", "", "not the first: sample 1 stays"]


def seed(text: str) -> Seed:
    return Seed(source="seeds.jsonl", line=7, digest="d", fields={"text": text, "label": "b", "id": "x1"})


def copies(candidates: list[Candidate], *seeds: Seed, **settings: Any) -> dict[int, str]:
    return drop_copies(candidates, seeds, CopiesConfig(**settings))


def new(text: str, number: int = 0) -> Candidate:
    return candidate(f"{text}\na", number=number, fields={"text": text, "label": "a"})


LONG = "my parcel has not come and the tracking page says nothing new since last Monday"


def test_new_rows_repeat_neither_seeds_nor_one_another() -> None:
    rows = [
        new("How do I return a jacket?"),
        new("how do I  return a Jacket?", 1),
        new(LONG, 2),
        new(LONG.replace("Monday", "Tuesday"), 3),
        new(f"{LONG} b", 4),
    ]
    seeds = [seed(LONG)]
    assert copies(rows, of_seeds=False, threshold=None) == {1: "copy: the same as row 1"}
    near = copies(rows, of_seeds=False)
    assert sorted(near) == [1, 3, 4]
    assert near[3].startswith("near copy: similarity 0.8")
    assert near[3].endswith("to row 2")
    # The third differs from the seed by its label and the fourth by a word more: only that is enough.
    assert sorted(copies(rows, *seeds)) == [1, 2, 4]
    assert "the seed seeds.jsonl:7" in copies(rows, *seeds)[2]


def test_answers_repeat_only_what_belongs_to_their_prompt() -> None:
    answers = [
        candidate("Yes, gladly.", number=0, sample=0),
        candidate("yes, gladly.", number=0, sample=1),
        candidate("Yes, gladly.", number=1),
        candidate("Where is it?", number=2),
    ]
    assert copies(answers) == {1: "copy: the same as row 1", 3: "copy: the same as its prompt"}
    assert copies(answers, of_seeds=False) == {1: "copy: the same as row 1"}


def make(*texts: str, **settings: Any) -> Made:
    answers = [(prompt(number), answered(text, prompt=number)) for number, text in enumerate(texts)]
    return make_rows("shop", config(**settings), [], answers, [])


def dropped(made: Made) -> dict[str, dict[str, int]]:
    return {count.step: dict(count.causes) for count in made.counts if count.dropped}


def test_every_filter_names_its_victims() -> None:
    made = make(
        "", "ok", "As an AI language model, I cannot say.", "N/A", "This has a forbidden word in it.",
        "This is a good answer.", "Bonjour, votre colis est en retard depuis la semaine dernière.",
        filters={
            "min_chars": 3, "must_not_match": "forbidden", "must_match": r"[.A]$",
            "quality": {"refusals": True, "placeholders": True, "languages": ["en"]},
        },
    )  # fmt: skip
    assert [row["messages"][-1]["content"] for row in made.rows] == ["This is a good answer."]
    assert dropped(made) == {
        "answers": {"empty answer": 1},
        "length": {"short": 1},
        "patterns": {"unwanted match": 1},
        "quality": {"refusal": 1, "placeholder": 1, "language": 1},
    }


def test_an_answer_that_broke_off_never_becomes_a_row() -> None:
    answers = [(prompt(), answered("Half a", finish_reason=reason)) for reason in ("length", "content_filter")]
    made = make_rows("shop", config(), [], answers, [Refusal(prompt=prompt(), words="too long")])
    assert made.rows == []
    assert dropped(made) == {"answers": {"truncated": 1, "unfinished": 1, "refused by the server": 1}}


def test_a_pattern_can_look_at_one_field() -> None:
    made = make(
        '[{"text": "Hi", "label": "a"}, {"text": "Ho", "label": "c"}]', fields=NAMES, prompts="Write {text}",
        filters={"must_match": {"field": "label", "pattern": "^[ab]$"}},
    )  # fmt: skip
    assert [(row["text"], row["label"]) for row in made.rows] == [("Hi", "a")]
    assert made.rows[0]["meta"]["rows_of_answer"] == 2
    assert dropped(made) == {"patterns": {"no match": 1}}


def test_personal_data_in_an_answer_can_drop_it() -> None:
    answers = [(prompt(), answered("Mail [EMAIL]", personal=("email",)))]
    made = make_rows("shop", config(personal_data="drop"), [], answers, [])
    assert dropped(made) == {"personal_data": {"personal data": 1}}
    assert len(make_rows("shop", config(), [], answers, []).rows) == 1


def test_every_row_tells_where_it_comes_from() -> None:
    chosen = config()
    (row,) = make("An answer.").rows
    assert row["messages"] == [
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": "An answer."},
    ]
    assert row["meta"] == {
        "synthesis": "shop", "config": chosen.digest, "model": "m", "answered_by": "m-1", "template": 0,
        "seed": "seeds.jsonl:1", "seed_digest": "d0", "prompt": 0, "sample": 0, "request": "0-0", "request_seed": 1,
        "prompt_tokens": 10, "completion_tokens": 5, "cost_nanousd": 7, "at": "2025-01-01T00:00:00Z",
    }  # fmt: skip
