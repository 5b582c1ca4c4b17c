import json
import shutil
import subprocess
import sys

import pytest

from modelyard.core.errors import NotFound, RecipeInvalid
from modelyard.ports.dataset import Example, Message
from modelyard.training.tokenization import IGNORED, ChatTokenizer
from tests.training.conftest import make_examples
from tests.training.preflight.planted import conversation


def test_labels_are_the_answer_and_the_end_of_turn(chat):
    row = chat.encode(make_examples(1))[0]
    learnt = [label for label in row.labels if label != IGNORED]
    assert chat.tokenizer.decode(learnt) == "refund<|end|>"
    assert all(label in (id, IGNORED) for id, label in zip(row.input_ids, row.labels, strict=True))


def test_a_prompt_is_tokenized_as_the_beginning_of_its_row(base):
    chat = ChatTokenizer(base, "Name the intent.")
    example = make_examples(1)[0]
    row = chat.encode([example])[0]
    served = chat.tokenize((Message(role="system", content="Name the intent."), *example.prompt))
    assert served == row.prompt_ids == row.input_ids[: len(served)]
    assert ChatTokenizer(base).encode([example])[0].prompt_ids != served


def test_every_answer_of_a_conversation_is_learnt(chat):
    turns = [("user", "hello"), ("assistant", "refund"), ("user", "and now?"), ("assistant", "login")]
    example = Example(id="1", messages=tuple(Message(role=r, content=c) for r, c in turns), source="s", line=1)
    row = chat.encode([example])[0]
    assert row.answers == ("refund", "login")
    assert chat.tokenizer.decode([label for label in row.labels if label != IGNORED]) == "refund<|end|>login<|end|>"


def test_no_rows_from_no_examples(chat):
    assert chat.encode([]) == []


def test_a_base_without_template_is_refused(base, tmp_path):
    shutil.copytree(base, tmp_path / "bare")
    (tmp_path / "bare" / "chat_template.jinja").unlink()
    with pytest.raises(RecipeInvalid, match="no chat template"):
        ChatTokenizer(tmp_path / "bare")


def test_a_missing_or_empty_base_is_refused(tmp_path):
    with pytest.raises(NotFound, match="does not exist"):
        ChatTokenizer(tmp_path / "nowhere")
    with pytest.raises(RecipeInvalid, match="cannot be read"):
        ChatTokenizer(tmp_path)


def test_auto_class_reads_the_same_ids(base, tmp_path):
    """The class we name ourselves gives the ids that transformers' own choice gives."""
    shutil.copytree(base, tmp_path / "auto")
    settings = json.loads((tmp_path / "auto" / "tokenizer_config.json").read_text())
    del settings["tokenizer_class"]
    (tmp_path / "auto" / "tokenizer_config.json").write_text(json.dumps(settings))
    examples = make_examples(3)
    assert ChatTokenizer(tmp_path / "auto").encode(examples) == ChatTokenizer(base).encode(examples)


def test_tokenizing_needs_no_torch(base):
    code = (
        "import sys, pathlib; from modelyard.training.tokenization import ChatTokenizer;"
        f"ChatTokenizer(pathlib.Path({str(base)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rows_are_what_the_library_makes_of_them(chat):
    examples = [
        conversation("hello", "refund", "Größe passt nicht 🙂", " login "),
        conversation("hello", "refund", system="Be brief."),
    ]
    turns = [[{"role": one.role, "content": one.content} for one in example.messages] for example in examples]
    expected = chat.tokenizer.apply_chat_template(
        turns, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    rows = chat.encode(examples)
    assert [row.input_ids for row in rows] == expected["input_ids"]
    assert [[int(label != IGNORED) for label in row.labels] for row in rows] == expected["assistant_masks"]
    spans = [row.input_ids for row in rows]
    assert chat.decode(spans) == chat.tokenizer.batch_decode(spans, clean_up_tokenization_spaces=False)
