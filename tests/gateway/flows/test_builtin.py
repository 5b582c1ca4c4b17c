"""The official packages, through a live gateway, to the built-in engine with the shipped base."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import openai
import pytest

import modelyard.demo
from modelyard.adapters.engines.builtin.command import builtin_command
from modelyard.adapters.processes import ServerProcess
from modelyard.ports.serving import Preference
from tests.gateway.flows.conftest import service
from tests.gateway.harness import KEY, Yard, free_port, variant

BASE = Path(modelyard.demo.__file__).parent / "base"
TURNS: Any = [{"role": "user", "content": "Where is my order?"}]


@pytest.fixture(scope="module")
def builtin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real engine in its own process."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("engine") / "engine.log"
    with ServerProcess("engine", builtin_command(BASE, "base", port=port), url=url, log=log) as engine:
        engine.wait_ready(timeout_s=120)
        yield url
        engine.check()


@pytest.mark.slow
def test_the_official_packages_and_a_real_engine(yard: Yard, builtin: str) -> None:
    champion = variant("base", builtin, engine="builtin")
    yard.publish(service(builtin, champion=champion, max_output_tokens=8))
    oai = openai.OpenAI(base_url=f"{yard.url}/v1", api_key=KEY, max_retries=0)
    claude = anthropic.Anthropic(api_key=KEY, base_url=yard.url, max_retries=0)
    whole = oai.chat.completions.create(model="support", messages=TURNS, temperature=0, logprobs=True)
    chunks = list(oai.chat.completions.create(model="support", messages=TURNS, temperature=0, stream=True))
    text = whole.choices[0].message.content
    assert text
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    assert len(whole.choices[0].logprobs.content) == whole.usage.completion_tokens <= 8
    message = claude.messages.create(model="support", messages=TURNS, max_tokens=50, extra_body={"temperature": 0})
    response = oai.responses.create(model="support", input=TURNS, temperature=0)
    assert message.content[0].text == response.output_text == text
    counted = claude.messages.count_tokens(model="support", messages=TURNS).input_tokens
    assert counted == message.usage.input_tokens == whole.usage.prompt_tokens > 0
    entries = yard.interactions(4)
    assert {entry.completion_tokens for entry in entries} == {whole.usage.completion_tokens}
    assert {entry.prompt_tokens for entry in entries} == {counted}


@pytest.mark.slow
def test_confidence_is_the_engines_own(yard: Yard, builtin: str) -> None:
    small = msgspec.structs.replace(
        variant("base", builtin, engine="builtin"), name="small", ref="small@1", release="sha256:small"
    )
    champion = variant("base", builtin, engine="builtin")
    releases = []
    for wanted in (1e-9, 1.0):
        preference = Preference(order=("small", "champion"), min_confidence=wanted)
        yard.publish(service(builtin, champion=champion, variants=(small,), preference=preference))
        answer = yard.post(json={"model": "support", "messages": TURNS, "temperature": 0, "max_tokens": 8})
        assert answer.json()["choices"][0]["logprobs"] is None
        releases.append(answer.headers["x-modelyard-release"])
    assert releases == ["small@1", "base@123"]
    assert sorted(entry.reason for entry in yard.interactions(3)) == [
        *("escalated confidence", "preferred small", "preferred small"),
    ]
