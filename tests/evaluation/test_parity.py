"""The parity check: it passes on agreement, names the first difference, and never passes on nothing."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import EngineFailed, Unavailable
from modelyard.evaluation.parity import Parity, check_parity
from modelyard.ports.dataset import Message
from modelyard.ports.engine import Answer, Capabilities
from modelyard.ports.release import Sampling

TOKENS = st.lists(st.integers(0, 9), max_size=12)


def conversation(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def digits(messages: Sequence[Message]) -> list[int]:
    text = messages[-1].content
    return [int(digit) for digit in text] if text.isdigit() else []


def numbered(tokens: Sequence[int]) -> tuple[Message, ...]:
    return conversation("".join(map(str, tokens)))


class FixedEngine:
    """An engine port that tokenizes digits and has fixed log-probabilities by model name."""

    url = "http://fixed"
    capabilities = Capabilities(name="fixed", adapters=True, max_lora_rank=8, lora_ranks=(), tokenize=True)

    def __init__(self, logprobs: dict[str, dict[str, float]], extra: Sequence[int] = ()) -> None:
        self.logprobs = logprobs
        self.extra = list(extra)

    async def tokenize(self, model: str, messages: Sequence[Message]) -> list[int]:
        if messages[-1].content == "refuse":
            raise EngineFailed("the template refuses")
        if messages[-1].content == "gone":
            raise Unavailable("nobody there")
        return digits(messages) + self.extra

    async def chat(
        self, model: str, messages: Sequence[Message], sampling: Sampling, *, top_logprobs: int = 0
    ) -> Answer:
        top = self.logprobs[model]
        return Answer(
            text="",
            finish_reason="length",
            prompt_tokens=1,
            completion_tokens=1,
            seconds=0,
            top_logprobs=(top,) if top else (),
        )

    async def ready(self) -> bool:
        return True

    async def models(self) -> list[str]:
        return list(self.logprobs)

    async def load_adapter(self, name: str, folder: Path) -> None: ...
    async def unload_adapter(self, name: str) -> None: ...
    async def close(self) -> None: ...


CHANGED = {"base": {"a": -0.5, "b": -1.0}, "tuned": {"a": -0.4, "b": -1.2}}


def check(engine: FixedEngine, *conversations: Sequence[Message], model: str = "tuned") -> Parity:
    return asyncio.run(check_parity(engine, model, "base", digits, conversations))


def test_equal_tokens_and_changed_logits_pass() -> None:
    parity = check(FixedEngine(CHANGED), conversation("123"), conversation("45"))
    assert parity.passed
    assert parity.num_conversations == 2
    assert parity.num_probes == 2
    assert parity.logit_difference == pytest.approx(0.2)


def test_nothing_to_compare_never_passes() -> None:
    parity = check(FixedEngine(CHANGED))
    assert not parity.passed
    assert parity.failures == ("no conversations were compared",)
    assert not check(FixedEngine(CHANGED), model="base").passed


def test_the_bare_base_needs_no_adapter() -> None:
    parity = check(FixedEngine(CHANGED), conversation("123"), model="base")
    assert parity.passed
    assert parity.num_probes == 0


def test_an_adapter_that_does_nothing_fails() -> None:
    same = {"base": {"a": -0.5, "b": -1.0}, "tuned": {"a": -0.5005, "b": -1.0}}
    parity = check(FixedEngine(same), conversation("1"))
    assert not parity.passed
    assert "it does nothing in this engine" in parity.failures[0]


@pytest.mark.parametrize("silent", ["base", "tuned"])
def test_missing_log_probabilities_fail(silent: str) -> None:
    parity = check(FixedEngine(CHANGED | {silent: {}}), conversation("1"))
    assert not parity.passed
    assert "told no log-probabilities" in parity.failures[0]


def test_not_a_number_is_no_difference() -> None:
    broken = {"base": {"a": -0.5}, "tuned": {"a": float("nan")}}
    assert not check(FixedEngine(broken), conversation("1")).passed


def test_other_likeliest_tokens_are_a_difference() -> None:
    engine = FixedEngine({"base": {"a": -0.5, "b": -1.0}, "tuned": {"c": -0.1, "d": -3.0}})
    parity = check(engine, conversation("1"))
    assert parity.passed
    assert parity.logit_difference == pytest.approx(2.5)  # "a" has -0.5 with the base and at most -3.0 with the adapter


@given(TOKENS, TOKENS.filter(bool))
def test_a_longer_sequence_differs_at_its_end(tokens: list[int], extra: list[int]) -> None:
    parity = check(FixedEngine(CHANGED, extra=extra), numbered(tokens))
    assert not parity.passed
    assert parity.mismatches[0].position == len(tokens)


@given(TOKENS.filter(bool), st.data())
def test_the_first_differing_position_is_named(tokens: list[int], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(tokens) - 1))
    trained = [*tokens[:at], tokens[at] + 10, *tokens[at + 1 :]]
    parity = asyncio.run(
        check_parity(FixedEngine(CHANGED), "tuned", "base", lambda _: trained, [conversation("0"), numbered(tokens)])
    )
    mismatch = parity.mismatches[-1]
    assert (mismatch.conversation, mismatch.position) == (1, at)
    assert str(tokens[at] + 10) in mismatch.evidence


def test_a_conversation_the_engine_refuses_is_a_mismatch() -> None:
    parity = check(FixedEngine(CHANGED), conversation("refuse"))
    assert not parity.passed
    assert parity.mismatches[0].position == -1
    assert "the template refuses" in parity.failures[0]


def test_an_engine_that_is_gone_is_an_error() -> None:
    with pytest.raises(Unavailable, match="nobody there"):
        check(FixedEngine(CHANGED), conversation("gone"))
