"""The parity check: what was trained on is what is served.

The training side and the serving engine must turn the same conversations into the same token ids, and the adapter must
really change what the model says. It runs before a release takes traffic; anything it could not see is a failure.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from modelyard.core.errors import EngineFailed
from modelyard.ports.dataset import Message
from modelyard.ports.engine import Engine
from modelyard.ports.release import Sampling

Conversation = Sequence[Message]
Tokenize = Callable[[Conversation], list[int]]

_LEAST_DIFFERENCE = 1e-3
_TOP_LOGPROBS = 20
_NUM_PROBES = 8
_SHOWN_TOKENS = 6
_FIRST_TOKEN = Sampling(temperature=0.0, max_tokens=1)


class Mismatch(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation (by index) whose tokens differ from `position` on; -1 where the engine refused it."""

    conversation: int
    position: int
    evidence: str


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """What the parity check saw.

    `logit_difference` is the greatest change of a log-probability (nats) by the adapter, over `num_probes` prompts; for
    the bare base there is nothing to compare and `num_probes` is 0. `failures` says in words why it did not pass.
    """

    num_conversations: int
    mismatches: tuple[Mismatch, ...]
    num_probes: int
    logit_difference: float
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything was seen and everything agreed."""
        return not self.failures


async def check_parity(
    engine: Engine, model: str, base_model: str, tokenize: Tokenize, conversations: Sequence[Conversation]
) -> Parity:
    """Compare the engine's tokens for each conversation with the training side's, and its logits with the base's.

    A conversation is what the model is asked: it ends before the answer, and `tokenize` adds the generation prompt as
    the engine does. `model` equal to `base_model` is the bare base: then only tokens are compared.
    Raises: Unavailable where the engine does not answer at all.
    """
    mismatches = await _compare_tokens(engine, model, tokenize, conversations)
    failures = [mismatch.evidence for mismatch in mismatches]
    if not conversations:
        failures.append("no conversations were compared")
    probes = conversations[:_NUM_PROBES] if model != base_model else ()
    difference = 0.0
    if probes:
        difference, probe_failures = await _compare_logits(engine, model, base_model, probes)
        failures += probe_failures
    return Parity(
        num_conversations=len(conversations),
        mismatches=tuple(mismatches),
        num_probes=len(probes),
        logit_difference=difference,
        failures=tuple(failures),
    )


async def _compare_tokens(
    engine: Engine, model: str, tokenize: Tokenize, conversations: Sequence[Conversation]
) -> list[Mismatch]:
    mismatches = []
    for index, conversation in enumerate(conversations):
        trained = tokenize(conversation)
        try:
            served = await engine.tokenize(model, conversation)
        except EngineFailed as error:
            evidence = f"conversation {index}: {error.seen}"
            mismatches.append(Mismatch(conversation=index, position=-1, evidence=evidence))
            continue
        if served != trained:
            mismatches.append(_mismatch(index, trained, served))
    return mismatches


def _mismatch(index: int, trained: Sequence[int], served: Sequence[int]) -> Mismatch:
    same = (at for at, (ours, theirs) in enumerate(zip(trained, served, strict=False)) if ours != theirs)
    position = next(same, min(len(trained), len(served)))
    window = slice(max(0, position - 2), position + _SHOWN_TOKENS)
    evidence = (
        f"conversation {index}: {len(trained)} tokens in training and {len(served)} in the engine differ from "
        f"position {position} on: {list(trained[window])} against {list(served[window])}"
    )
    return Mismatch(conversation=index, position=position, evidence=evidence)


async def _compare_logits(
    engine: Engine, model: str, base_model: str, probes: Sequence[Conversation]
) -> tuple[float, list[str]]:
    """The greatest difference over the probes, and what went wrong."""
    greatest = 0.0
    failures = []
    for index, probe in enumerate(probes):
        try:
            with_adapter = await engine.chat(model, probe, _FIRST_TOKEN, top_logprobs=_TOP_LOGPROBS)
            without = await engine.chat(base_model, probe, _FIRST_TOKEN, top_logprobs=_TOP_LOGPROBS)
        except EngineFailed as error:
            failures.append(f"conversation {index} was not answered: {error.seen}")
            continue
        if not with_adapter.top_logprobs or not without.top_logprobs:
            failures.append(f"conversation {index}: the engine told no log-probabilities")
            continue
        greatest = max(greatest, _difference(with_adapter.top_logprobs[0], without.top_logprobs[0]))
    if not greatest > _LEAST_DIFFERENCE:
        failures.append(
            f"the adapter '{model}' changes no log-probability by more than {_LEAST_DIFFERENCE:g} "
            f"(greatest difference over {len(probes)} prompts: {greatest:.2g}): it does nothing in this engine"
        )
    return greatest, failures


def _difference(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """The greatest difference that two lists of likeliest tokens prove.

    A token in one list alone was at most as likely as the other list's last.
    """
    shared = [abs(first[token] - second[token]) for token in first.keys() & second.keys()]
    one_sided = [
        mine[token] - min(other.values())
        for mine, other in ((first, second), (second, first))
        if other
        for token in mine.keys() - other.keys()
    ]
    return max(0.0, *shared, *one_sided)
