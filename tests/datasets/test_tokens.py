"""Lengths in tokens: those of the tokenizer, whatever its file says about cutting and padding."""

import pickle
from pathlib import Path

import pytest
from tokenizers import Tokenizer

import modelyard.demo
from modelyard.core.digests import digest_file
from modelyard.core.errors import DataInvalid
from modelyard.datasets.quality.config import TokensConfig
from modelyard.datasets.texts import Texts
from modelyard.datasets.tokens import TokenCounter, bound_tokens
from tests.datasets.conversations import asked

BASE = Path(modelyard.demo.__file__).parent / "base"
SHIPPED = BASE / "tokenizer.json"
TEXTS = ["Where is my parcel?", "", "Größe 日本語 🙂 <|end|>", "word " * 600]


def plain(text: str) -> int:
    return len(Tokenizer.from_file(str(SHIPPED)).encode(text, add_special_tokens=False).ids)


def test_counts_are_those_of_the_tokenizer() -> None:
    counter = TokenCounter.load("base", BASE.parent)
    assert counter.digest == digest_file(SHIPPED)
    assert counter.count(Texts.of(TEXTS)).tolist() == [plain(text) for text in TEXTS]
    assert counter.count(Texts.of([])).tolist() == []


def test_more_texts_than_a_batch_keep_their_order() -> None:
    texts = ["parcel " * (number % 7) for number in range(1200)]
    counts = TokenCounter.load("tokenizer.json", BASE).count(Texts.of(texts))
    assert counts.tolist() == [plain("parcel " * number) for number in range(7)] * 171 + [
        plain("parcel " * number) for number in range(3)
    ]


def test_a_counter_goes_to_where_its_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(SHIPPED.read_bytes())
    sent = pickle.dumps(TokenCounter.load("tokenizer.json", tmp_path))
    path.unlink()
    assert pickle.loads(sent).count(Texts.of(TEXTS)).tolist() == [plain(text) for text in TEXTS]


def test_a_file_that_cuts_and_pads_counts_the_same(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(SHIPPED))
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=50)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    counts = TokenCounter.load(".", tmp_path).count(Texts.of(TEXTS))
    assert counts.tolist() == [plain(text) for text in TEXTS]


def test_rows_outside_the_bounds_go() -> None:
    counter = TokenCounter.load("base", BASE.parent)
    rows = asked(("hi", "yes"), ("Where is my parcel?", "On its way."), ("word " * 50, "word " * 50))
    sums = [plain(prompt) + plain(answer) for prompt, answer in zip(*[iter(rows.turns.to_list())] * 2, strict=True)]
    outcome, counts = bound_tokens(rows, counter, TokensConfig(tokenizer="base", min=sums[1], max=sums[1]))
    assert counts.tolist() == sums
    assert outcome.rejected == {
        0: f"few tokens: {sums[0]}, at least {sums[1]} wanted",
        2: f"many tokens: {sums[2]}, at most {sums[1]} wanted",
    }


@pytest.mark.parametrize("content", [None, b"", b"not json", b"{}", b"\xff\xfe", b'{"model": {"type": "new"}}'])
def test_what_is_no_tokenizer_is_told(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(DataInvalid, match="no tokenizer") as error:
        TokenCounter.load("tokenizer.json", tmp_path)
    assert error.value.expected
    assert "tokens.tokenizer" in error.value.fix


def test_a_folder_without_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="no tokenizer can be read"):
        TokenCounter.load(".", tmp_path)
