"""Text that grows by tokens: the pieces are the whole, and stop strings cut it wherever they fall."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.adapters.engines.builtin.text import TextStream, Tokenizer
from modelyard.core.errors import InvalidInput

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def pieces(tokenizer: Tokenizer, tokens: list[int], stops: tuple[str, ...] = ()) -> list[str]:
    stream = TextStream(tokenizer, stops)
    texts = []
    for token in tokens:
        texts.append(stream.push(token))
        if stream.stopped:
            return texts
    return [*texts, stream.finish()]


@PATIENT
@given(st.text(max_size=60))
def test_the_pieces_of_a_text_are_the_text(tokenizer: Tokenizer, text: str) -> None:
    texts = pieces(tokenizer, tokenizer.encode(text))
    assert "".join(texts) == text
    assert not any("\ufffd" in piece for piece in texts) or "\ufffd" in text


@PATIENT
@given(st.lists(st.integers(0, 383), max_size=40))
def test_the_pieces_of_any_tokens_are_their_text(tokenizer: Tokenizer, tokens: list[int]) -> None:
    assert "".join(pieces(tokenizer, tokens)) == tokenizer.decode(tokens)


@PATIENT
@given(st.text("abc ", max_size=40), st.lists(st.text("abc ", min_size=1, max_size=4), min_size=1, max_size=3))
def test_text_is_cut_before_the_stop_that_is_complete_first(tokenizer: Tokenizer, text: str, stops: list[str]) -> None:
    tokens = tokenizer.encode(text)
    assert "".join(pieces(tokenizer, tokens, tuple(stops))) == cut_by_prefixes(tokenizer, tokens, stops)


def cut_by_prefixes(tokenizer: Tokenizer, tokens: list[int], stops: list[str]) -> str:
    """What is left when generation ends with the first token that completes a stop."""
    for count in range(1, len(tokens) + 1):
        text = tokenizer.decode(tokens[:count])
        if found := [index for stop in stops if (index := text.find(stop)) >= 0]:
            return text[: min(found)]
    return tokenizer.decode(tokens)


def test_the_chat_template_is_the_model_s_own(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode_chat([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}])
    text = tokenizer.decode(tokens, skip_special_tokens=False)
    assert text == "<|bos|><|system|>Be kind.<|end|><|user|>Hi<|end|><|assistant|>"


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot load the tokenizer"):
        Tokenizer(tmp_path)
