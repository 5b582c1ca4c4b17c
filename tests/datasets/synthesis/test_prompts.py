"""Seeds and what is asked of them: drawn by a number, templates in turn, no personal data on the way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import DataInvalid
from modelyard.datasets.synthesis.privacy import Privacy
from modelyard.datasets.synthesis.prompts import Prompt, Prompts, make_prompts, request_of
from modelyard.datasets.synthesis.seeds import read_seeds
from tests.datasets.synthesis.made import config, write_seeds

ROWS = [{"text": f"question {number}", "label": "ab"[number % 2]} for number in range(20)]


def prompts_of(folder: Path, seeds: Sequence[dict[str, Any]] = ROWS, **settings: Any) -> Prompts:
    write_seeds(folder, seeds)
    chosen = config(**settings)
    privacy = Privacy.load(chosen.personal_data, folder)
    return make_prompts(chosen, read_seeds(chosen, folder, privacy), privacy)


def texts(prompts: Prompts) -> list[str]:
    return [one.messages[-1].content for one in prompts.rows]


def test_the_order_follows_from_the_seed_and_more_rows_move_none(tmp_path: Path) -> None:
    few = texts(prompts_of(tmp_path, prompts="Say {text}", rows=5))
    assert texts(prompts_of(tmp_path, prompts="Say {text}", rows=5)) == few
    every = texts(prompts_of(tmp_path, prompts="Say {text}"))
    assert every[:5] == few
    assert sorted(every) == sorted(f"Say {row['text']}" for row in ROWS)
    more = texts(prompts_of(tmp_path, [{"text": "another"}, *ROWS], prompts="Say {text}"))
    assert [text for text in more if text != "Say another"] == every
    assert texts(prompts_of(tmp_path, prompts="Say {text}", rows=5, seed=1)) != few


def test_templates_take_turns_and_each_meets_every_seed(tmp_path: Path) -> None:
    made = prompts_of(tmp_path, ROWS[:4], prompts=["A {text}", "B {text}"], rows=100)
    assert [one.template for one in made.rows] == [0, 1, 0, 1, 1, 0, 1, 0]
    assert len(set(texts(made))) == 8


def test_new_rows_are_asked_for_as_often_as_wanted(tmp_path: Path) -> None:
    chosen = config(prompts="Write like {text}", fields=["text"], rows=50)
    made = prompts_of(tmp_path, ROWS[:2], prompts="Write like {text}", fields=["text"], rows=50)
    assert len(made.rows) == 50
    assert len(set(texts(made))) == 2
    assert len({request_of(chosen, one, 0).question.seed for one in made.rows}) == 50
    assert texts(made)[0].endswith(
        'Answer with JSON alone, and no words around it: one object with exactly the keys "text", all of them texts.'
    )


def test_each_sample_has_a_seed_of_its_own(tmp_path: Path) -> None:
    made = prompts_of(tmp_path, prompts="Say {text}")
    asked = [request_of(config(prompts="Say {text}"), one, sample) for one in made.rows for sample in range(3)]
    assert len({one.key for one in asked}) == len({one.question.seed for one in asked}) == 60
    assert all(0 <= one.question.seed < 1 << 31 for one in asked)


def test_conversations_are_asked_as_they_are_without_their_answer(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "the old answer"},
    ]
    (one,) = prompts_of(tmp_path, [{"messages": turns}], system="You teach.").rows
    assert [(turn.role, turn.content) for turn in one.messages] == [
        ("system", "You teach.\n\nBe brief."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Bye"),
    ]
    assert [turn.content for turn in one.asked] == ["Be brief.", "Hi", "Hello", "Bye"]


def test_a_row_may_ask_what_the_teacher_was_not_asked(tmp_path: Path) -> None:
    (one,) = prompts_of(tmp_path, [{"text": "Hi"}], prompts="Think, then answer: {text}", question="{text}").rows
    assert (one.messages[-1].content, one.asked[-1].content) == ("Think, then answer: Hi", "Hi")


def test_every_seed_that_is_not_asked_has_its_reason(tmp_path: Path) -> None:
    rows = [{"text": "Hi"}, {"text": "Hi"}, {"text": "Hi", "id": 1}, {"label": "a"}, {"text": None}]
    write_seeds(tmp_path, rows)
    with (tmp_path / "seeds.jsonl").open("a") as file:
        file.write("{broken\n")
    chosen = config(prompts="Say {text}")
    privacy = Privacy(config=chosen.personal_data)
    seeds = read_seeds(chosen, tmp_path, privacy)
    made = make_prompts(chosen, seeds, privacy)
    assert dict(seeds.count.causes) == {"broken JSON": 1, "repeated seed": 1}
    assert dict(made.count.causes) == {"repeated prompt": 1, "missing field 'text'": 1, "empty field 'text'": 1}
    assert (seeds.count.rows_in, seeds.count.rows_out, len(made.rows)) == (6, 4, 1)


@pytest.mark.parametrize(
    ("rows", "settings", "says"),
    [
        ([{"text": "Hi"}], {}, "no prompt: the row is plain text"),
        ([{"a": 1}], {}, "the rows have no known shape"),
        ([{"text": "Hi"}], {"prompts": "Say {txt}"}, "missing field 'txt'"),
    ],
)
def test_seeds_that_make_no_prompt_at_all_are_an_error(
    tmp_path: Path, rows: list[dict[str, Any]], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataInvalid, match=says):
        prompts_of(tmp_path, rows, **settings)


MAIL = {"text": "I am bob@example.com", "label": "a"}


def first(folder: Path, **settings: Any) -> Prompt:
    return prompts_of(folder, [MAIL], prompts="x{text}", question="{text}", **settings).rows[0]


def test_personal_data_does_not_leave(tmp_path: Path) -> None:
    one = first(tmp_path)
    assert (one.messages[-1].content, one.asked[-1].content) == ("xI am [EMAIL]", "I am [EMAIL]")
    assert first(tmp_path, personal_data="keep").messages[-1].content == "xI am bob@example.com"
    with pytest.raises(DataInvalid, match="personal data: an e-mail address"):
        first(tmp_path, personal_data="drop")


def test_the_words_of_a_template_can_give_personal_data_away(tmp_path: Path) -> None:
    (one,) = prompts_of(tmp_path, [{"number": "4155550123"}], prompts="Please call me at {number}").rows
    assert one.messages[-1].content == "Please call me at [PHONE]"


def test_names_do_not_leave_where_presidio_is_asked_for(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    pytest.importorskip("presidio_analyzer")
    pipeline = spacy.blank("en")
    pipeline.meta.update(name="rules", version="1.0.0")
    pipeline.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Ada Lovelace"}])
    pipeline.to_disk(tmp_path / "rules")
    seeds = [{"text": "I am Ada Lovelace, ada@example.com"}, {"txt": "Ada Lovelace"}]
    chosen = {"mode": "mask", "presidio": "rules"}
    made = prompts_of(tmp_path, seeds, prompts="Say {text}", personal_data=chosen)
    assert texts(made) == ["Say I am [PERSON], [EMAIL]"]
    assert "[PERSON]" in made.count.examples[0]["raw"]
    privacy = Privacy.load(config(personal_data=chosen).personal_data, tmp_path)
    assert privacy.without("Dear Ada Lovelace", is_json=False) == ("Dear [PERSON]", ("person",))
