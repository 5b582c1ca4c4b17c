"""Traps in the tokenizer's folder and in what stands before a conversation."""

import json
import shutil

from modelyard.training.preflight import Inspection
from modelyard.training.preflight.template import knows_its_tokens
from modelyard.training.sizes import Sizes, read_sizes
from modelyard.training.tokenization import ChatTokenizer
from tests.training.conftest import make_examples
from tests.training.preflight.planted import RECIPE, conversation, failing


def test_two_templates_in_one_folder(base, tmp_path):
    folder = shutil.copytree(base, tmp_path / "b")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    chat = ChatTokenizer(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": chat.template}))
    assert failing(chat.encode(make_examples(2)), chat) == []
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": "{{ messages }}"}))
    assert failing(chat.encode(make_examples(2)), chat) == ["one chat template"]


def test_two_system_prompts(base):
    chat = ChatTokenizer(base, "Answer with one word.")
    recipe = RECIPE.model_copy(update={"system_prompt": "Answer with one word."})
    plain, own = conversation("hello", "refund"), conversation("hello", "refund", system="Be brief.")
    assert failing(chat.encode([plain]), chat, recipe, examples=[plain]) == []
    assert failing(chat.encode([own]), chat, recipe, examples=[own]) == ["one system prompt"]
    assert failing(ChatTokenizer(base).encode([own]), chat, examples=[own]) == []


def test_a_token_beyond_the_embedding(base, chat):
    rows = chat.encode(make_examples(3))
    assert failing(rows, chat, sizes=read_sizes(base)) == []
    greatest = max(id for row in rows for id in row.input_ids)
    small = Sizes({"vocab_size": greatest}, {"model.embed_tokens.weight": (greatest, 64)})
    assert failing(rows, chat, sizes=small) == ["tokens fit the embedding"]
    unknown = knows_its_tokens(Inspection(rows=rows, chat=chat, recipe=RECIPE, sizes=Sizes({}, {})))
    assert (unknown.passed, unknown.stops) == (False, False)
