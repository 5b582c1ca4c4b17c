"""Attention over packed rows on a CPU: each document attends to itself alone, and costs only its own length.

The usual way is one block-diagonal mask over the whole packed batch, whose cost grows with the square of the batch.
Here the documents are gathered into a few rectangles of similar length instead. Causal attention needs no mask for the
padding on the right: no real token looks that far. Knows nothing about models beyond transformers' attention interface.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

NAME = "modelyard_packed"
# Architectures whose attention is plain causal softmax, so that the rectangles compute the same thing.
MODEL_TYPES = frozenset({"llama", "qwen2", "qwen3"})
# Up to here the explicit product is faster than PyTorch's CPU flash kernel (its backward is 6 times slower at 45
# tokens); beyond, the scores would take too much memory.
LONGEST_EXPLICIT = 128


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """Documents of similar length: slots `start` to `start + count * length`, document after document."""

    start: int
    count: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where each token of a packed batch goes. `token_of` has one entry a slot, `slot_of` one a token.

    A slot that pads points at its document's first token.
    """

    rectangles: tuple[Rectangle, ...]
    token_of: torch.Tensor
    slot_of: torch.Tensor


def lay_out(boundaries: torch.Tensor) -> Layout:
    """The layout of documents that begin at `boundaries[:-1]` and end before `boundaries[1:]`.

    Shape of `boundaries`: (documents + 1,), as in FlashAttention's `cu_seq_lens`.
    """
    starts, lengths = boundaries[:-1].long(), boundaries.diff().long()
    classes = 2 ** torch.ceil(torch.log2(lengths.clamp(min=16).double())).long()
    rectangles: list[Rectangle] = []
    tokens: list[torch.Tensor] = []
    slot_of = torch.empty(int(boundaries[-1]), dtype=torch.long)
    filled = 0
    for size in sorted(set(classes.tolist())):
        members = torch.nonzero(classes == size).flatten()
        length = int(lengths[members].max())
        offsets = torch.arange(length)
        real = offsets < lengths[members, None]
        token = starts[members, None] + torch.where(real, offsets, 0)
        slots = filled + torch.arange(token.numel()).view(token.shape)
        slot_of[token[real]] = slots[real]
        tokens.append(token.flatten())
        rectangles.append(Rectangle(start=filled, count=len(members), length=length))
        filled += token.numel()
    return Layout(rectangles=tuple(rectangles), token_of=torch.cat(tokens), slot_of=slot_of)


class _Spread(torch.autograd.Function):
    """Tokens to slots. Its gradient reads one slot a token: padding slots never get one."""

    @staticmethod
    def forward(ctx: Any, tokens: torch.Tensor, token_of: torch.Tensor, slot_of: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(slot_of)
        return tokens.index_select(0, token_of)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (slot_of,) = ctx.saved_tensors
        return gradient.index_select(0, slot_of), None, None


class _Collect(torch.autograd.Function):
    """Slots back to tokens. Its gradient leaves padding slots at zero."""

    @staticmethod
    def forward(ctx: Any, slots: torch.Tensor, slot_of: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(slot_of)
        ctx.num_slots = len(slots)
        return slots.index_select(0, slot_of)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (slot_of,) = ctx.saved_tensors
        slots = gradient.new_zeros(ctx.num_slots, gradient.shape[1])
        return slots.index_copy_(0, slot_of, gradient), None


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    layout: Layout,
    scaling: float,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each document.

    Shapes: query (1, heads, tokens, size), key and value the same with fewer heads; answer (1, tokens, heads, size).
    """
    num_heads, num_tokens, size = query.shape[1:]
    groups = num_heads // key.shape[1]

    def spread(states: torch.Tensor) -> torch.Tensor:
        tokens = states[0].transpose(0, 1).reshape(num_tokens, -1)
        slots: torch.Tensor = _Spread.apply(tokens, layout.token_of, layout.slot_of)  # type: ignore[no-untyped-call]
        return slots.view(len(slots), -1, size)

    queries, keys, values = spread(query), spread(key), spread(value)
    answers = []
    for box in layout.rectangles:
        slots = slice(box.start, box.start + box.count * box.length)
        q, k, v = (
            states[slots].view(box.count, box.length, -1, size).transpose(1, 2) for states in (queries, keys, values)
        )
        answer = _causal(q, k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1), scaling)
        answers.append(answer.transpose(1, 2).reshape(box.count * box.length, -1))
    collected: torch.Tensor = _Collect.apply(torch.cat(answers), layout.slot_of)  # type: ignore[no-untyped-call]
    return collected.view(1, num_tokens, num_heads, size), None


def _causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scaling: float) -> torch.Tensor:
    length = q.shape[2]
    if length > LONGEST_EXPLICIT:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling)
    future = torch.full((length, length), -torch.inf, dtype=q.dtype).triu(1)
    scores = torch.baddbmm(future, q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2), alpha=scaling)
    return torch.bmm(scores.softmax(-1), v.flatten(0, 1)).view(q.shape)


def supports(config: Any) -> bool:
    """Whether a model's attention can be computed here."""
    windowed = getattr(config, "use_sliding_window", getattr(config, "sliding_window", None))
    return config.model_type in MODEL_TYPES and not windowed


def register() -> None:
    """Make `attn_implementation="modelyard_packed"` known to transformers. It gets no mask: it needs none."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)
