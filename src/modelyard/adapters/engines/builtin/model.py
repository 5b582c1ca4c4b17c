"""The base model, loaded once, and its two forward passes: over whole prompts, and one token further for a batch.

Knows token ids and adapters; knows nothing of text, requests or sampling.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from modelyard.adapters.engines.builtin.cache import BatchCache, PromptCache
from modelyard.adapters.engines.builtin.lora import Adapter, AdapterBank, read_adapter
from modelyard.core.errors import InvalidInput


class Model:
    """A causal language model of transformers whose layers all attend to the whole context."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self._network: Any = load_network(folder, dtype)
        self.bank = AdapterBank(self._network)
        config = self._network.config
        self.context_length: int = config.max_position_embeddings
        self.vocabulary_size: int = config.vocab_size
        self.end_tokens = _end_tokens(self._network)

    def read_adapter(self, name: str, folder: Path) -> Adapter:
        """Read an adapter's weights, checked against this model. Raises: InvalidInput."""
        return read_adapter(name, folder, self._network, self.dtype)

    @torch.inference_mode()
    def prefill(
        self, prompts: Sequence[Sequence[int]], adapters: Sequence[Adapter | None]
    ) -> tuple[Tensor, PromptCache]:
        """Logits of the token after each prompt, shape (rows, vocabulary), and the prompts' keys and values."""
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        width = int(lengths.max())
        padded = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        padding = width - lengths[:, None]
        columns = torch.arange(width)
        positions = (columns - padding).clamp(min=0)
        real = columns >= padding
        # A padding token looks at itself alone: a row of the mask without any true would give not-a-numbers.
        looks = (real[:, None, :] & torch.ones(width, width, dtype=torch.bool).tril()) | torch.eye(width).bool()
        cache = PromptCache()
        self.bank.select(adapters)
        return self._forward(padded, positions, looks[:, None], cache), cache

    @torch.inference_mode()
    def step(self, tokens: Sequence[int], adapters: Sequence[Adapter | None], cache: BatchCache) -> Tensor:
        """Feed each row its newest token: logits of the next, shape (rows, vocabulary)."""
        cache.prepare_step()
        positions = torch.tensor(cache.lengths)[:, None]
        self.bank.select(adapters)
        logits = self._forward(torch.tensor(tokens)[:, None], positions, cache.mask(), cache)
        cache.finish_step()
        return logits

    def _forward(self, tokens: Tensor, positions: Tensor, looks: Tensor, cache: PromptCache | BatchCache) -> Tensor:
        answer = self._network(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=looks,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = answer.logits[:, -1].float()
        return logits


def load_network(folder: Path, dtype: torch.dtype) -> Any:
    """Load the weights. Raises: InvalidInput where the folder holds no model that this engine can run."""
    if not (folder / "config.json").is_file():
        raise InvalidInput(f"{folder} has no config.json", expected="the folder of a transformers model")
    try:
        network = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, attn_implementation="sdpa"
        )
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(f"cannot load the model in {folder}: {error}") from error
    config = network.config
    limited = [kind for kind in getattr(config, "layer_types", None) or [] if kind != "full_attention"]
    if limited or getattr(config, "sliding_window", None):
        raise InvalidInput(
            f"the model in {folder} has layers that see part of the context only",
            expected="full attention in every layer",
            fix="serve this model with vLLM",
        )
    return network.eval()


def _end_tokens(network: Any) -> frozenset[int]:
    """The tokens that end an answer, from the model's own configurations."""
    ends: set[int] = set()
    for config in (network.config, network.generation_config):
        token = getattr(config, "eos_token_id", None)
        ends.update(token if isinstance(token, list) else [] if token is None else [token])
    return frozenset(ends)
