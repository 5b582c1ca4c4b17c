"""A real vLLM and the built-in engine on the shipped base, and an adapter that both load.

`scripts/vllm_env.sh` installs vLLM. `MODELYARD_TEST_ADAPTER` names an adapter's folder to test with; without it a small
one is trained here, in well under a minute.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

import modelyard
from modelyard.adapters.engines.builtin.command import builtin_command
from modelyard.adapters.engines.vllm import VLLM_ENVIRONMENT, vllm_command
from modelyard.adapters.processes import ServerProcess, free_port
from modelyard.demo.messages import generate_messages
from modelyard.ports.dataset import Message
from modelyard.training.tokenization import ChatTokenizer
from tests.models import ALL_LINEAR

ROOT = Path(__file__).resolve().parents[2]
VLLM_PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
BASE = Path(modelyard.__file__).parent / "demo" / "base"
BASE_NAME = "dinghy-6m"
Say = Callable[[str], None]


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Say:
    """Writes a figure past pytest's capture: these tests are also a measurement."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def write(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n  {text}")

    return write


@pytest.fixture(scope="session")
def base() -> Path:
    if not (BASE / "model.safetensors").is_file():
        pytest.skip("the shipped base model is not in src/modelyard/demo/base")
    if not VLLM_PYTHON.is_file():
        pytest.skip("vLLM is not installed; scripts/vllm_env.sh makes its environment")
    return BASE


@pytest.fixture(scope="session")
def engine_url(base: Path, tmp_path_factory: pytest.TempPathFactory, say: Say) -> Iterator[str]:
    """vLLM. The name is the conformance suite's."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("vllm") / "vllm.log"
    command = vllm_command(VLLM_PYTHON, base, BASE_NAME, port=port)
    with ServerProcess("engine", command, url=url, log=log, env=VLLM_ENVIRONMENT, grace_s=30) as engine:
        say(f"vLLM was ready after {engine.wait_ready(timeout_s=280):.0f} s")
        yield url
        engine.check()


@pytest.fixture(scope="session")
def builtin_url(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("builtin") / "builtin.log"
    with ServerProcess("engine", builtin_command(base, BASE_NAME, port=port), url=url, log=log) as engine:
        engine.wait_ready(timeout_s=120)
        yield url


@pytest.fixture(scope="session")
def conforming_adapter(base: Path, tmp_path_factory: pytest.TempPathFactory, say: Say) -> Path:
    if folder := os.environ.get("MODELYARD_TEST_ADAPTER"):
        return Path(folder)
    made = tmp_path_factory.mktemp("adapter")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on busy cores, threads that wait for one another take ten times as long
    loss = train_adapter(base, made)
    torch.set_num_threads(threads)
    say(f"trained an adapter to a loss of {loss:.3f} nats a token")
    return made


def train_adapter(base: Path, folder: Path, *, num_steps: int = 60, num_rows: int = 16) -> float:
    """A LoRA adapter that has begun to learn the demonstration's labels; its last loss."""
    torch.manual_seed(0)
    tokenizer = ChatTokenizer(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(r=32, lora_alpha=64, target_modules=ALL_LINEAR, task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config).train()
    optimizer = torch.optim.AdamW([weight for weight in adapted.parameters() if weight.requires_grad], lr=2e-3)
    rows = generate_messages(11, num_steps * num_rows)
    loss = torch.tensor(0.0)
    for step in range(num_steps):
        ids, labels = batch(tokenizer, rows[step * num_rows : (step + 1) * num_rows])
        loss = adapted(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    adapted.save_pretrained(folder)
    return float(loss.detach())


def batch(tokenizer: ChatTokenizer, rows: list[tuple[str, str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels, padded on the right, where nothing that counts can see the padding."""
    pairs = []
    for text, label in rows:
        prompt = tokenizer.tokenize([Message(role="user", content=text)])
        answer = [*tokenizer.tokenizer.encode(label, add_special_tokens=False), tokenizer.end_of_turn]
        pairs.append((prompt + answer, [-100] * len(prompt) + answer))
    width = max(len(ids) for ids, _ in pairs)
    ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in pairs])
    return ids, torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in pairs])
