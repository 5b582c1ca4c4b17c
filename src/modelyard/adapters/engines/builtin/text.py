"""Text to tokens and back: the tokenizer's own chat template, and answers that grow a token at a time.

Knows nothing of the model or of requests.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from modelyard.core.errors import InvalidInput

_INCOMPLETE = "\ufffd"


class Tokenizer:
    """The tokenizer and the chat template of a model folder."""

    def __init__(self, folder: Path) -> None:
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise InvalidInput(f"cannot load the tokenizer in {folder}: {error}") from error
        self.end_token: int | None = self._tokenizer.eos_token_id

    def encode_chat(self, messages: Sequence[dict[str, str]], *, add_generation_prompt: bool = True) -> list[int]:
        """The tokens of a conversation by the chat template. Raises: InvalidInput where the template refuses."""
        if not self._tokenizer.chat_template:
            raise InvalidInput("the model has no chat template", fix="send a prompt to /v1/completions")
        try:
            tokens: list[int] = self._tokenizer.apply_chat_template(
                list(messages), add_generation_prompt=add_generation_prompt, tokenize=True, return_dict=False
            )
        except Exception as error:  # a template may raise whatever it likes
            raise InvalidInput(f"the chat template refuses these messages: {error}") from error
        return tokens

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The tokens of a text."""
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return tokens

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of some tokens."""
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=skip_special_tokens)
        return text


class TextStream:
    """The text of an answer while its tokens come in.

    It holds back the bytes of an unfinished character, and text that may turn out to be the start of a stop string.
    All pieces together are the decoded tokens, cut before the stop string that is complete first.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stops = stops
        self._tokens: list[int] = []
        self._context = 0
        self._read = 0
        self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that is certain now that this token has come."""
        self._tokens.append(token)
        text = self._unread()
        if text.endswith(_INCOMPLETE):
            return ""
        self._context, self._read = self._read, len(self._tokens)
        return self._pass_stops(text)

    def finish(self) -> str:
        """What was still held back, when no token will come any more."""
        if self.stopped:
            return ""
        text = self._pass_stops(self._unread())
        held, self._held = self._held, ""
        return text + ("" if self.stopped else held)

    def _unread(self) -> str:
        """The text of the newest tokens, decoded after some older ones: a token's text can depend on its neighbour."""
        before = self._tokenizer.decode(self._tokens[self._context : self._read])
        both = self._tokenizer.decode(self._tokens[self._context :])
        return both[len(before) :]

    def _pass_stops(self, text: str) -> str:
        text = self._held + text
        found = [index for stop in self._stops if (index := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text begin a stop string."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
