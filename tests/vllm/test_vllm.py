"""A real vLLM: it conforms, it sees the tokens the built-in engine sees, and its answers agree."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelyard.adapters.engines.capabilities import BUILTIN, VLLM
from modelyard.adapters.engines.client import HttpEngine
from modelyard.demo.messages import generate_messages
from modelyard.evaluation.parity import check_parity
from modelyard.ports.dataset import Message
from modelyard.ports.engine import Capabilities
from modelyard.ports.release import Sampling
from modelyard.training.tokenization import ChatTokenizer
from tests.adapters.engines.conformance import EngineConformance
from tests.vllm.conftest import BASE_NAME, Say

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

NUM_CONVERSATIONS = 50
LEAST_AGREEMENT = 0.9
ADAPTER = "support@vllm"


class TestVllm(EngineConformance):
    @pytest.fixture
    def base_name(self) -> str:
        return BASE_NAME

    @pytest.fixture
    def capabilities(self) -> Capabilities:
        return VLLM


def prompts() -> list[tuple[Message, ...]]:
    """Single questions, as the demonstration asks them."""
    return [(Message(role="user", content=text),) for text, _ in generate_messages(77, NUM_CONVERSATIONS)]


def conversations() -> list[tuple[Message, ...]]:
    """The same questions, some after a system prompt, some after earlier turns, with odd spaces and letters."""
    shaped: list[tuple[Message, ...]] = []
    for index, prompt in enumerate(prompts()):
        system = (Message(role="system", content="Name the intent.\n"),) if index % 2 else ()
        earlier = (
            (Message(role="user", content=" Grüße  🙂 日本"), Message(role="assistant", content="Hello!"))
            if index % 3 == 0
            else ()
        )
        shaped.append((*system, *earlier, *prompt))
    return shaped


def engines(vllm_url: str, builtin_url: str) -> tuple[HttpEngine, HttpEngine]:
    return HttpEngine(vllm_url, VLLM, timeout_s=120), HttpEngine(builtin_url, BUILTIN, timeout_s=120)


def test_both_engines_see_the_same_tokens(engine_url: str, builtin_url: str) -> None:
    async def tokens() -> tuple[list[list[int]], list[list[int]]]:
        vllm, builtin = engines(engine_url, builtin_url)
        seen = [[await engine.tokenize(BASE_NAME, turns) for turns in conversations()] for engine in (vllm, builtin)]
        await vllm.close()
        await builtin.close()
        return seen[0], seen[1]

    by_vllm, by_builtin = asyncio.run(tokens())
    assert len(by_vllm) == NUM_CONVERSATIONS
    assert by_vllm == by_builtin


@pytest.mark.parametrize("adapted", [True, False])
def test_greedy_answers_agree(
    engine_url: str, builtin_url: str, conforming_adapter: Path, say: Say, adapted: bool
) -> None:
    model = ADAPTER if adapted else BASE_NAME
    sampling = Sampling(temperature=0, max_tokens=12)

    async def ask(engine: HttpEngine) -> list[str]:
        await engine.load_adapter(ADAPTER, conforming_adapter)
        answers = await asyncio.gather(*(engine.chat(model, prompt, sampling) for prompt in prompts()))
        await engine.close()
        return [answer.text for answer in answers]

    async def both() -> Sequence[list[str]]:
        return [await ask(engine) for engine in engines(engine_url, builtin_url)]

    by_vllm, by_builtin = asyncio.run(both())
    pairs = list(zip(by_vllm, by_builtin, strict=True))
    agreement = sum(one == other for one, other in pairs) / len(pairs)
    say(f"{model}: {agreement:.0%} of {len(pairs)} greedy answers agree")
    if adapted:
        differing = [pair for pair in pairs if pair[0] != pair[1]]
        assert agreement >= LEAST_AGREEMENT, differing


def test_parity_holds(engine_url: str, conforming_adapter: Path, base: Path, say: Say) -> None:
    async def check() -> tuple[bool, float, tuple[str, ...]]:
        engine = HttpEngine(engine_url, VLLM, timeout_s=120)
        await engine.load_adapter(ADAPTER, conforming_adapter)
        parity = await check_parity(engine, ADAPTER, BASE_NAME, ChatTokenizer(base).tokenize, conversations())
        await engine.close()
        return parity.passed, parity.logit_difference, parity.failures

    passed, difference, failures = asyncio.run(check())
    say(f"the adapter changes log-probabilities by up to {difference:.2f} nats")
    assert passed, failures
