"""A tiny base model with three adapters, made once, and the engine's parts around them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.adapters.engines.builtin.batcher import Batcher
from modelyard.adapters.engines.builtin.command import builtin_command
from modelyard.adapters.engines.builtin.lora import Adapter
from modelyard.adapters.engines.builtin.model import Model
from modelyard.adapters.engines.builtin.text import Tokenizer
from modelyard.adapters.processes import ServerProcess, free_port
from tests.models import make_random_adapter, make_tiny_model

NUM_ADAPTERS = 3
BASE_NAME = "tiny"


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def adapter_folders(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Adapters of different ranks; the last one leaves the MLP alone and scales by the root of its rank."""
    folder = tmp_path_factory.mktemp("adapters")
    return [
        make_random_adapter(base, folder / "a0", 1, rank=4),
        make_random_adapter(base, folder / "a1", 2, rank=8, rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 4}),
        make_random_adapter(base, folder / "a2", 3, rank=16, target_modules=["q_proj", "o_proj"], use_rslora=True),
    ]


@pytest.fixture
def model(base: Path) -> Model:
    return Model(base)


@pytest.fixture
def adapters(model: Model, adapter_folders: list[Path]) -> list[Adapter]:
    return [model.read_adapter(folder.name, folder) for folder in adapter_folders]


@pytest.fixture(scope="session")
def tokenizer(base: Path) -> Tokenizer:
    return Tokenizer(base)


@pytest.fixture
def batcher(model: Model, tokenizer: Tokenizer) -> Iterator[Batcher]:
    batcher = Batcher(model, tokenizer, max_batch=6, max_waiting=64)
    yield batcher
    batcher.close()


@pytest.fixture(scope="session")
def engine_url(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real built-in engine in its own process."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("engine") / "engine.log"
    with ServerProcess("engine", builtin_command(base, BASE_NAME, port=port), url=url, log=log) as engine:
        engine.wait_ready(timeout_s=120)
        yield url
        engine.check()
