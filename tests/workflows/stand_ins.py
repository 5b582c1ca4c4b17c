"""Stand-ins for what costs time: an engine with answers by model name, training that only writes its files."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from modelyard.ports.compute import Progress
from modelyard.ports.dataset import Message
from modelyard.ports.engine import Answer, Capabilities
from modelyard.ports.release import Sampling
from modelyard.training.recipe import Recipe
from modelyard.training.spec import RESULT, TrainingResult, artifact_of
from modelyard.workflows.watching import TrainingTerms

CAPABILITIES = Capabilities(name="scripted", adapters=True, max_lora_rank=64, lora_ranks=(), tokenize=True)
TERMS = TrainingTerms(engine=CAPABILITIES, nanousd_per_hour=0)


class ScriptedEngine:
    """Answers as `answer(model, question)` says; `loaded` are the adapters it was given, `asked` the models."""

    url = "http://scripted"
    capabilities = CAPABILITIES

    def __init__(self, answer: Callable[[str, str], str]) -> None:
        self.answer = answer
        self.loaded: list[str] = []
        self.asked: list[str] = []

    async def chat(
        self, model: str, messages: Sequence[Message], sampling: Sampling, *, top_logprobs: int = 0
    ) -> Answer:
        self.asked.append(model)
        text = self.answer(model, messages[-1].content)
        logprobs = ({"a": -1.0 - len(model)},)
        return Answer(
            text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=1, seconds=0.0, top_logprobs=logprobs
        )

    async def load_adapter(self, name: str, folder: Path) -> None:
        self.loaded.append(name)

    async def tokenize(self, model: str, messages: Sequence[Message]) -> list[int]:
        return tokenize(messages)

    async def ready(self) -> bool:
        return True

    async def models(self) -> list[str]:
        return self.loaded

    async def unload_adapter(self, name: str) -> None: ...
    async def close(self) -> None: ...


def tokenize(messages: Sequence[Message]) -> list[int]:
    """The training side's tokens, which the scripted engine agrees with."""
    return [len(message.content) for message in messages]


class Workshop:
    """Training that writes an adapter, or a model, at once. `instead` is called first, and may raise."""

    def __init__(self, instead: Callable[[], None] = lambda: None) -> None:
        self.instead = instead
        self.num_runs = 0

    def run(self, command: Sequence[str], *, env: Mapping[str, str], progress: Progress) -> None:
        self.num_runs += 1
        self.instead()
        spec: dict[str, Any] = json.loads(Path(command[-1]).read_bytes())
        trained = Path(spec["output"]) / artifact_of(Recipe.model_validate(spec["recipe"]))
        trained.mkdir(parents=True)
        (trained / "weights").write_text(json.dumps([spec["recipe"], Path(spec["train"]).read_text()]))
        result = TrainingResult(precision="float32", metrics={"train_seconds": 1.0}, findings=())
        (Path(spec["output"]) / RESULT).write_bytes(msgspec.json.encode(result))


def make_base(folder: Path, weights: str = "weights") -> Path:
    """A folder with all that a base must have, but for sense."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "README.md"):
        (folder / name).write_text(name)
    (folder / "model.safetensors").write_text(weights)
    return folder


def make_rows(path: Path, *, label: str = "refund", field: str = "intent", num_rows: int = 120) -> Path:
    """A raw file that the test project's dataset can be made from."""
    words = ["crane", "winch", "rope", "anchor", "hull", "mast", "deck", "keel", "sail", "buoy"]
    texts = [f"{words[n % 10]} {words[n // 10 % 10]} {words[(n * 7) % 10]} number {n}" for n in range(num_rows)]
    path.write_text("".join(json.dumps({"text": text, field: label}) + "\n" for text in texts))
    return path
