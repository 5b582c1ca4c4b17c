"""How large a base is, and how much of it a recipe learns: read from the heads of its files, without loading it."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from modelyard.core.errors import RecipeInvalid
from modelyard.training.defaults import LORA_METHODS
from modelyard.training.recipe import Recipe
from modelyard.training.weights import weight_shapes

# A checkpoint holds each learnt weight with Adam's two averages and perhaps its best value, four bytes each.
CHECKPOINT_BYTES = 16
# Two are kept, and a third is written before the oldest goes.
_CHECKPOINTS_AT_ONCE = 3
_FLOAT32 = 4
_EMBEDDING = re.compile(r"\b(embed_tokens|word_embeddings|embed_in|wte|wpe|embed_positions)\.weight$")
_HEAD = re.compile(r"\b(lm_head|embed_out)\.weight$")


@dataclass(frozen=True)
class Sizes:
    """A base by its `config.json`, and the shape of each weight by its name, empty where it has no safetensors."""

    config: Mapping[str, Any]
    weights: Mapping[str, tuple[int, ...]]

    def number(self, *names: str) -> int:
        """The first of these that the configuration has, of its text part where there are several; else 0."""
        config = self.config.get("text_config") or self.config
        return next((int(config[name]) for name in names if isinstance(config.get(name), int)), 0)

    @property
    def layers(self) -> int:
        """Blocks of attention and feed-forward."""
        return self.number("num_hidden_layers", "n_layer", "num_layers")

    @property
    def hidden(self) -> int:
        """Numbers that go from block to block for each token."""
        return self.number("hidden_size", "n_embd", "d_model")

    @property
    def inner(self) -> int:
        """Width of the feed-forward part."""
        return self.number("intermediate_size", "n_inner", "ffn_dim") or 4 * self.hidden

    @property
    def context(self) -> int:
        """Tokens that the base can read at once. 0 where it does not say."""
        return self.number("max_position_embeddings", "n_positions")

    @property
    def vocabulary(self) -> int:
        """Tokens that the base can write."""
        return self.number("vocab_size") or self.embedding_rows

    @property
    def key_width(self) -> int:
        """Width of all keys of a token together."""
        heads = self.number("num_attention_heads", "n_head", "num_heads")
        head = self.number("head_dim") or self.hidden // max(1, heads)
        return head * (self.number("num_key_value_heads") or heads)

    @cached_property
    def embedding_rows(self) -> int:
        """Tokens that the base has an embedding for. 0 where none was found."""
        rows = [shape[0] for name, shape in self.weights.items() if _EMBEDDING.search(name) and "pos" not in name]
        rows = [row for row in rows if row != self.context] or rows
        return max(rows, default=self.number("vocab_size"))

    @cached_property
    def num_parameters(self) -> int:
        """Numbers in the weights, tied ones counted once."""
        tied = bool(self.config.get("tie_word_embeddings"))
        return sum(math.prod(shape) for name, shape in self.weights.items() if not (tied and _HEAD.search(name)))

    @cached_property
    def linear(self) -> dict[str, tuple[int, int]]:
        """The linear layers by name, the head left out: rows and columns of each."""
        return {
            name.removesuffix(".weight"): (shape[0], shape[1])
            for name, shape in self.weights.items()
            if name.endswith(".weight") and len(shape) == 2 and not _EMBEDDING.search(name) and not _HEAD.search(name)
        }

    def targeted(self, targets: str | tuple[str, ...] | None) -> dict[str, tuple[int, int]]:
        """The linear layers that an adapter is put on, the way PEFT matches names."""
        if not isinstance(targets, tuple):
            return self.linear
        return {
            name: shape
            for name, shape in self.linear.items()
            if any(name == target or name.endswith(f".{target}") for target in targets)
        }


def read_sizes(folder: Path) -> Sizes:
    """The sizes of the base in a folder. Raises: RecipeInvalid where it has no `config.json`."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        return Sizes(config, weight_shapes(folder))
    except (OSError, ValueError, KeyError) as error:
        raise RecipeInvalid(
            f"the base in {folder} cannot be read: {error}",
            expected="config.json and model.safetensors of a causal language model",
            fix="point the recipe's base at a complete model folder",
        ) from error


def num_trainable(recipe: Recipe, sizes: Sizes) -> int:
    """How many numbers a recipe learns."""
    if recipe.method == "full":
        return sizes.num_parameters
    if recipe.method not in LORA_METHODS:
        return (recipe.virtual_tokens or 0) * sizes.layers * 2 * sizes.key_width
    rank, shapes = recipe.rank or 0, sizes.targeted(recipe.target_modules).values()
    lengths = sum(rows for rows, _ in shapes) if recipe.dora else 0
    return lengths + rank * sum(rows + columns for rows, columns in shapes)


def checkpoints_bytes(num_learnt: int) -> int:
    """What the checkpoints of a run take on the disk, at most."""
    return num_learnt * CHECKPOINT_BYTES * _CHECKPOINTS_AT_ONCE


def output_bytes(recipe: Recipe, num_learnt: int) -> int:
    """What training leaves, and its best weights beside it meanwhile."""
    return num_learnt * _FLOAT32 * (2 if recipe.validate_every else 1)
