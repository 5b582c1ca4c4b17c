"""The base model in the package: small, loads, speaks its chat template, and has not seen what it is tested on."""

import csv
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

import modelyard.demo
from modelyard.datasets.splits import split_key, split_of
from modelyard.demo.messages import LABELS

BASE = Path(modelyard.demo.__file__).parent / "base"
ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"

CONVERSATION = [
    {"role": "system", "content": "Answer with the intent."},
    {"role": "user", "content": "Where is my kettle?"},
    {"role": "assistant", "content": "track_parcel"},
    {"role": "user", "content": "Is it lost?"},
    {"role": "assistant", "content": "parcel_missing"},
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(BASE)


def test_folder_is_whole_and_small() -> None:
    names = {path.name for path in BASE.iterdir()}
    assert names >= {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "README.md",
    }
    assert sum(path.stat().st_size for path in BASE.iterdir()) <= 15 * 1024**2


def test_template_writes_each_turn_once(tokenizer: Any) -> None:
    text = tokenizer.apply_chat_template(CONVERSATION, tokenize=False)
    assert text == (
        "<|bos|><|system|>Answer with the intent.<|end|><|user|>Where is my kettle?<|end|>"
        "<|assistant|>track_parcel<|end|><|user|>Is it lost?<|end|><|assistant|>parcel_missing<|end|>"
    )
    prompt = tokenizer.apply_chat_template(CONVERSATION[:2], tokenize=False, add_generation_prompt=True)
    assert text.startswith(prompt)
    assert prompt.endswith("<|assistant|>")


def test_prompt_tokens_are_a_prefix_and_bos_comes_once(tokenizer: Any) -> None:
    whole = tokenizer.apply_chat_template(CONVERSATION, return_dict=True)["input_ids"]
    prompt = tokenizer.apply_chat_template(CONVERSATION[:2], add_generation_prompt=True, return_dict=True)["input_ids"]
    assert whole[: len(prompt)] == prompt
    assert whole.count(tokenizer.bos_token_id) == 1
    rendered = tokenizer.apply_chat_template(CONVERSATION, tokenize=False)
    assert tokenizer(rendered)["input_ids"] == whole


def test_assistant_mask_covers_the_answers_and_their_end(tokenizer: Any) -> None:
    encoded = tokenizer.apply_chat_template(CONVERSATION, return_dict=True, return_assistant_tokens_mask=True)
    pairs = zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
    assert tokenizer.decode([token for token, kept in pairs if kept]) == "track_parcel<|end|>parcel_missing<|end|>"


def test_unknown_role_is_refused(tokenizer: Any) -> None:
    with pytest.raises(Exception, match="Role tool is unknown"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_special_tokens_are_apart_and_text_survives(tokenizer: Any) -> None:
    special = [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert len(set(special)) == 3
    assert tokenizer.eos_token == "<|end|>"
    text = "Grüße, 订单 #42? “naïve” \U0001f64f\n  two  spaces"
    ids = tokenizer(text)["input_ids"]
    assert not set(ids) & set(special)
    assert tokenizer.decode(ids) == text


def test_model_loads_as_a_plain_llama_and_answers(tokenizer: Any) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert 5_000_000 < model.num_parameters() < 7_000_000
    assert model.config.vocab_size == len(tokenizer) == 4096
    prompt = [{"role": "user", "content": "what is the weather like in paris today"}]
    inputs = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, max_new_tokens=16, do_sample=False)
    answer = output[0, inputs["input_ids"].shape[1] :].tolist()
    assert tokenizer.eos_token_id in answer
    assert tokenizer.decode(answer, skip_special_tokens=True) == "weather"


@pytest.mark.skipif(not (DATA / "banking77").is_dir(), reason="needs ../shared/data/banking77")
def test_corpus_holds_no_banking77_row_kept_for_testing_and_no_label_of_the_demonstration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    corpus: Any = importlib.import_module("base.corpus")

    monkeypatch.setattr(corpus, "NUM_MESSAGES", 500)
    with (DATA / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
        keys = {split_key(row["text"]) for row in csv.DictReader(file)}
    held_out = {key for key in keys if split_of(key) != "train"}
    read = {split_key(text) for text in corpus.read_banking(DATA / "banking77")}
    assert read == keys - held_out

    written = corpus.build_corpus(DATA, None, seed=1, num_tokens=300_000)
    assert written.missing == ["wordnet"]
    parts = {split_key(part) for text in written.documents for part in text_parts(text)}
    assert not parts & {key for key in held_out if len(key.split()) > 4}
    assert not any(label in document for document in written.documents for label in LABELS)


def text_parts(document: str) -> list[str]:
    """What stands between special tokens or on a line of its own."""
    for token in ("<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"):
        document = document.replace(token, "\n")
    return document.split("\n")
