"""How the next token is chosen from the logits: greedy, or by temperature and top-p from a seed of the row's own."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """What a request asks for. `top_logprobs` of None asks for no log-probabilities at all."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stops: tuple[str, ...] = ()
    max_tokens: int = 16
    top_logprobs: int | None = None


@dataclass(frozen=True, kw_only=True)
class Token:
    """A chosen token; with log-probabilities in nats (before temperature) where they were asked for."""

    id: int
    logprob: float = 0.0
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """A row's decoding and its stream of random numbers, which no other row touches."""

    decoding: Decoding
    generator: torch.Generator = field(default_factory=torch.Generator)

    @classmethod
    def start(cls, decoding: Decoding) -> "Sampler":
        """A sampler at the beginning of its stream."""
        sampler = cls(decoding=decoding)
        if decoding.seed is None:
            sampler.generator.seed()
        else:
            sampler.generator.manual_seed(decoding.seed)
        return sampler


@torch.inference_mode()
def choose(logits: Tensor, samplers: Sequence[Sampler]) -> list[Token]:
    """The next token of each row. Shapes: logits is (rows, vocabulary)."""
    greedy: list[int] = logits.argmax(dim=-1).tolist()
    tokens = []
    for row, sampler in enumerate(samplers):
        decoding = sampler.decoding
        id = greedy[row] if decoding.temperature == 0 else _draw(logits[row], sampler)
        if decoding.top_logprobs is None:
            tokens.append(Token(id=id))
        else:
            tokens.append(_with_logprobs(logits[row], id, decoding.top_logprobs))
    return tokens


def _draw(logits: Tensor, sampler: Sampler) -> int:
    """One draw from the smallest set of tokens that holds `top_p` of the probability."""
    decoding = sampler.decoding
    probabilities = torch.softmax(logits / decoding.temperature, dim=-1)
    if decoding.top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        ordered[before >= decoding.top_p] = 0
        probabilities = torch.zeros_like(probabilities).scatter(0, order, ordered)
    return int(torch.multinomial(probabilities, 1, generator=sampler.generator))


def _with_logprobs(logits: Tensor, id: int, count: int) -> Token:
    logprobs = torch.log_softmax(logits, dim=-1)
    values, ids = logprobs.topk(min(count, logprobs.shape[-1]))
    top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return Token(id=id, logprob=float(logprobs[id]), top=top)
