"""What every engine must do, checked over HTTP through the engine port. Run on the built-in engine and on vLLM."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from modelyard.adapters.engines.client import HttpEngine
from modelyard.core.errors import EngineFailed
from modelyard.ports.dataset import Message
from modelyard.ports.engine import Capabilities
from modelyard.ports.release import Sampling

Result = TypeVar("Result")
ASK = (Message(role="user", content="Where is my order?"),)
TURNS = (
    Message(role="system", content="Be kind."),
    Message(role="user", content="Hi, wo ist es? 🙂"),
    Message(role="assistant", content="On its way."),
    Message(role="user", content="  Thanks\n"),
)
GREEDY = Sampling(temperature=0, max_tokens=8)


class EngineConformance:
    """Subclasses give the fixtures `engine_url`, `base_name`, `capabilities` and `conforming_adapter`."""

    @pytest.fixture
    def call(
        self, engine_url: str, capabilities: Capabilities
    ) -> Callable[[Callable[[HttpEngine], Awaitable[Result]]], Result]:
        """Runs a coroutine function on a client of the engine."""

        async def with_client(body: Callable[[HttpEngine], Awaitable[Result]]) -> Result:
            engine = HttpEngine(engine_url, capabilities)
            try:
                return await body(engine)
            finally:
                await engine.close()

        return lambda body: asyncio.run(with_client(body))

    def test_it_is_ready_and_serves_the_base(self, call, base_name: str) -> None:
        async def body(engine: HttpEngine) -> tuple[bool, list[str]]:
            return await engine.ready(), await engine.models()

        ready, models = call(body)
        assert ready
        assert base_name in models

    def test_an_adapter_comes_and_goes(self, call, base_name: str, conforming_adapter: Path) -> None:
        async def body(engine: HttpEngine) -> None:
            await engine.load_adapter("goer@1", conforming_adapter)
            await engine.load_adapter("goer@1", conforming_adapter)
            assert "goer@1" in await engine.models()
            await engine.chat("goer@1", ASK, GREEDY)
            await engine.unload_adapter("goer@1")
            await engine.unload_adapter("goer@1")
            assert "goer@1" not in await engine.models()
            with pytest.raises(EngineFailed, match="404"):
                await engine.chat("goer@1", ASK, GREEDY)

        call(body)

    def test_an_adapter_changes_the_log_probabilities(self, call, base_name: str, conforming_adapter: Path) -> None:
        async def body(engine: HttpEngine) -> tuple[dict[str, float], dict[str, float]]:
            await engine.load_adapter("changer@1", conforming_adapter)
            one = Sampling(temperature=0, max_tokens=1)
            plain = await engine.chat(base_name, ASK, one, top_logprobs=5)
            adapted = await engine.chat("changer@1", ASK, one, top_logprobs=5)
            return plain.top_logprobs[0], adapted.top_logprobs[0]

        plain, adapted = call(body)
        assert plain != pytest.approx(adapted, abs=1e-3)

    def test_a_missing_adapter_folder_is_an_error(self, call, tmp_path: Path) -> None:
        async def body(engine: HttpEngine) -> None:
            with pytest.raises(EngineFailed, match="load_lora_adapter answered with status 40"):
                await engine.load_adapter("missing@1", tmp_path / "nowhere")
            assert "missing@1" not in await engine.models()

        call(body)

    def test_greedy_answers_repeat_and_count_their_tokens(self, call, base_name: str) -> None:
        async def body(engine: HttpEngine) -> None:
            first, second = [await engine.chat(base_name, TURNS, GREEDY) for _ in range(2)]
            assert first.text == second.text
            assert first.finish_reason in ("stop", "length")
            assert 1 <= first.completion_tokens <= 8
            assert first.prompt_tokens == len(await engine.tokenize(base_name, TURNS))
            assert first.top_logprobs == ()

        call(body)

    def test_log_probabilities_cover_every_token(self, call, base_name: str) -> None:
        async def body(engine: HttpEngine) -> None:
            answer = await engine.chat(base_name, ASK, GREEDY, top_logprobs=3)
            assert len(answer.top_logprobs) == answer.completion_tokens
            assert all(logprob <= 0 for top in answer.top_logprobs for logprob in top.values())

        call(body)

    def test_an_unknown_model_is_an_error(self, call) -> None:
        async def body(engine: HttpEngine) -> None:
            with pytest.raises(EngineFailed, match="404"):
                await engine.chat("nobody", ASK, GREEDY)

        call(body)

    def test_a_prompt_beyond_the_context_is_an_error(self, call, base_name: str) -> None:
        async def body(engine: HttpEngine) -> None:
            long = (Message(role="user", content="order " * 5000),)
            with pytest.raises(EngineFailed, match="400"):
                await engine.chat(base_name, long, GREEDY)

        call(body)

    def test_many_requests_at_once_are_all_answered(self, call, base_name: str, conforming_adapter: Path) -> None:
        async def body(engine: HttpEngine) -> None:
            await engine.load_adapter("crowd@1", conforming_adapter)
            models = [base_name, "crowd@1"] * 12
            answers = await asyncio.gather(*(engine.chat(model, ASK, GREEDY) for model in models))
            assert all(answer.completion_tokens for answer in answers)

        call(body)

    @pytest.mark.parametrize("body", [b"{", b"[]", b'{"model": 3}', b""])
    def test_a_body_that_is_no_request_gets_openai_s_error(self, engine_url: str, body: bytes) -> None:
        response = httpx.post(
            f"{engine_url}/v1/chat/completions", content=body, headers={"content-type": "application/json"}
        )
        assert response.status_code == 400
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}

    def test_metrics_are_in_prometheus_format(self, engine_url: str) -> None:
        page = httpx.get(f"{engine_url}/metrics").text
        for name in ("num_requests_running", "num_requests_waiting", "prompt_tokens_total", "generation_tokens_total"):
            assert f":{name}{{" in page
        for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds"):
            assert f":{name}_bucket{{" in page
