"""Tokenization: conversations as token ids and labels, the way the training side sees them.

Knows nothing about models, batches or packing.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import NotFound, RecipeInvalid
from modelyard.ports.dataset import Example, Message

IGNORED = -100
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
        self.tokenizer = _load(folder)
        self.system_prompt = system_prompt
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

    def encode(self, examples: Sequence[Example]) -> list[Row]:
        """Rows with labels on the assistant's words alone, the system prompt put first."""
        if not examples:
            return []
        conversations = [self._turns(example.messages) for example in examples]
        full = self.tokenizer.apply_chat_template(
            conversations, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        prompts = self._prompt_ids([turns[:-1] for turns in conversations])
        return [
            Row(
                example_id=example.id,
                input_ids=ids,
                labels=[id if supervised else IGNORED for id, supervised in zip(ids, mask, strict=True)],
                prompt_ids=prompt,
                answers=tuple(message.content for message in example.messages if message.role == "assistant"),
            )
            for example, ids, mask, prompt in zip(
                examples, full["input_ids"], full["assistant_masks"], prompts, strict=True
            )
        ]

    def _turns(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self.system_prompt}] if self.system_prompt else []
        return system + [{"role": message.role, "content": message.content} for message in messages]

    def _prompt_ids(self, conversations: list[list[dict[str, str]]]) -> list[list[int]]:
        encoded = self.tokenizer.apply_chat_template(
            conversations, tokenize=True, return_dict=True, add_generation_prompt=True
        )
        return [list(ids) for ids in encoded["input_ids"]]


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
