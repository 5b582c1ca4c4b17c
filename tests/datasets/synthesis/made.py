"""Configurations, seeds and answers for the tests of synthesis."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard.datasets.synthesis.candidates import Candidate
from modelyard.datasets.synthesis.config import SynthesisConfig
from modelyard.datasets.synthesis.log import Answered
from modelyard.datasets.synthesis.prompts import Prompt
from modelyard.datasets.synthesis.seeds import Seed
from modelyard.ports.dataset import Message


def config(**settings: Any) -> SynthesisConfig:
    """A synthesis of answers to seeds.jsonl, but for some settings."""
    defaults = {"url": "http://127.0.0.1:1", "model": "m", "from": "seeds.jsonl"}
    return SynthesisConfig.model_validate({**defaults, **settings})


def write_seeds(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """The seed rows of a project."""
    (folder / "seeds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def answered(text: str, *, prompt: int = 0, sample: int = 0, finish_reason: str = "stop", **more: Any) -> Answered:
    """An answer in a log."""
    return Answered(
        key=f"{prompt}-{sample}", prompt=prompt, sample=sample, request_seed=1, text=text, finish_reason=finish_reason,
        model="m-1", prompt_tokens=10, completion_tokens=5, is_counted=True, cost_nanousd=7, at="2025-01-01T00:00:00Z",
        **more,
    )  # fmt: skip


def prompt(number: int = 0, text: str = "Where is it?") -> Prompt:
    """A prompt of a seed of its own."""
    turns = (Message(role="user", content=text),)
    seed = Seed(source="seeds.jsonl", line=number + 1, digest=f"d{number}", fields={"text": text})
    return Prompt(number=number, seed=seed, template=0, messages=turns, asked=turns)


def candidate(text: str, *, number: int = 0, sample: int = 0, fields: dict[str, Any] | None = None) -> Candidate:
    """An answer, or a new row where it has fields."""
    answer = answered(text, prompt=number, sample=sample)
    return Candidate(prompt=prompt(number), answer=answer, text=text, fields=fields)
