"""Tokenization: conversations as token ids and labels, the way the training side sees them.

Knows nothing about models, batches or packing.
"""

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import NotFound, RecipeInvalid
from modelyard.ports.dataset import Example, Message

IGNORED = -100
# Conversations that are tokenized together: what the library keeps of each token goes with the batch.
_AT_ONCE = 1000
_GENERAL_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One example as token ids. `labels` repeats the ids of the answers and holds -100 elsewhere.

    `prompt_ids` is what a server would be fed for the same prompt, generation prompt included.
    """

    example_id: str
    input_ids: list[int]
    labels: list[int]
    prompt_ids: list[int]
    answers: tuple[str, ...]


class ChatTokenizer:
    """The tokenizer and chat template of a base, read from its folder."""

    def __init__(self, folder: Path, system_prompt: str = "") -> None:
        """Raises: NotFound without the folder; RecipeInvalid without a tokenizer or a chat template in it."""
        self.folder = folder
        self.tokenizer = _load(folder)
        self.system_prompt = system_prompt
        if not getattr(self.tokenizer, "is_fast", False):
            raise RecipeInvalid(
                f"the tokenizer in {folder} is written in Python, and cannot say which text a token stands for",
                expected="one of the tokenizers library, with a tokenizer.json",
                fix="load it once with transformers' AutoTokenizer and save it again, which writes tokenizer.json",
            )
        if not self.tokenizer.chat_template:
            raise RecipeInvalid(
                f"the tokenizer in {folder} has no chat template",
                expected="a chat_template.jinja with {% generation %} markers around the answers",
                fix="add the template that the server will use to the base's folder",
            )

    @property
    def template(self) -> str:
        """The text of the chat template."""
        return str(self.tokenizer.chat_template)

    @property
    def end_of_turn(self) -> int:
        """The token that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    def tokenize(self, messages: Sequence[Message]) -> list[int]:
        """The token ids of a prompt as given, generation prompt included."""
        turns = [msgspec.to_builtins(message) for message in messages]
        return self._prompt_ids([turns])[0]

    def prompts(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """The token ids of several prompts as a server is fed them, the system prompt put first."""
        return self._prompt_ids([self._turns(messages) for messages in conversations]) if conversations else []

    def decode(self, spans: Sequence[list[int]]) -> list[str]:
        """The text of each run of tokens, special ones included."""
        if not spans:
            return []
        return list(self.tokenizer.backend_tokenizer.decode_batch(spans, skip_special_tokens=False))

    def template_files(self) -> dict[str, str]:
        """The texts of all chat templates in the base's folder, by the file that holds them."""
        found = {}
        if (file := self.folder / "chat_template.jinja").is_file():
            found[file.name] = file.read_text()
        for name in ("chat_template.json", "tokenizer_config.json"):
            if (file := self.folder / name).is_file():
                text = json.loads(file.read_bytes()).get("chat_template")
                if isinstance(text, str):
                    found[name] = text
        return found

    def encode(self, examples: Sequence[Example]) -> list[Row]:
        """Rows with labels on the assistant's words alone, the system prompt put first."""
        if not examples:
            return []
        rows: list[Row] = []
        with _uncollected():
            for begin in range(0, len(examples), _AT_ONCE):
                rows += self._rows(examples[begin : begin + _AT_ONCE])
        return rows

    def _rows(self, examples: Sequence[Example]) -> list[Row]:
        conversations = [self._turns(example.messages) for example in examples]
        tokens = self._labelled(conversations)
        prompts = self._prompt_ids([turns[:-1] for turns in conversations])
        return [
            Row(
                example_id=example.id,
                input_ids=ids,
                labels=labels,
                prompt_ids=prompt,
                answers=tuple(message.content for message in example.messages if message.role == "assistant"),
            )
            for example, (ids, labels), prompt in zip(examples, tokens, prompts, strict=True)
        ]

    def _labelled(self, conversations: list[list[dict[str, str]]]) -> Iterator[tuple[list[int], list[int]]]:
        """Ids and labels of each conversation: what the template marks as generated is learnt.

        What `apply_chat_template` does, without the columns that nobody needs here.
        """
        from transformers.utils.chat_template_utils import render_jinja_template

        texts, marks = render_jinja_template(
            conversations=conversations,
            chat_template=self.template,
            return_assistant_tokens_mask=True,
            **self.tokenizer.special_tokens_map,
        )
        for found, spans in zip(self._encoded(texts), marks, strict=True):
            ids = found.ids
            labels = [IGNORED] * len(ids)
            for start, end in spans:
                first, last = found.char_to_token(start), found.char_to_token(end - 1)
                if first is not None:
                    stop = len(ids) if last is None else last + 1
                    labels[first:stop] = ids[first:stop]
            yield ids, labels

    def _encoded(self, texts: Sequence[str]) -> list[Any]:
        """Encodings of the tokenizers library, which knows where in the text each token stands."""
        return list(self._backend().encode_batch(texts, add_special_tokens=False))

    def _backend(self) -> Any:
        backend = self.tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        return backend

    def _turns(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self.system_prompt}] if self.system_prompt else []
        return system + [{"role": message.role, "content": message.content} for message in messages]

    def _prompt_ids(self, conversations: list[list[dict[str, str]]]) -> list[list[int]]:
        texts = self.tokenizer.apply_chat_template(conversations, tokenize=False, add_generation_prompt=True)
        return [found.ids for found in self._backend().encode_batch_fast(texts, add_special_tokens=False)]


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let no garbage be looked for: looking through ever more rows takes a fifth of the time, and finds nothing."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _load(folder: Path) -> Any:
    if not folder.is_dir():
        raise NotFound(f"the base '{folder}' does not exist", expected="a folder with a model and its tokenizer")
    try:
        return _tokenizer_class(folder).from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise RecipeInvalid(
            f"the tokenizer in {folder} cannot be read: {error}",
            expected="tokenizer.json and tokenizer_config.json",
            fix="point the recipe's base at a complete model folder",
        ) from error


def _tokenizer_class(folder: Path) -> Any:
    """The class that AutoTokenizer would choose; for the general one it is named here, as AutoTokenizer loads torch."""
    settings = json.loads((folder / "tokenizer_config.json").read_bytes())
    if settings.get("tokenizer_class") in _GENERAL_CLASSES and (folder / "tokenizer.json").is_file():
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast
    from transformers import AutoTokenizer

    return AutoTokenizer
