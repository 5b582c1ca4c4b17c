"""A tiny base, rows to train it on, and specs over them."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.ports.dataset import Example, Message
from modelyard.training.examples import write_examples
from modelyard.training.recipe import Recipe
from modelyard.training.spec import TrainingSpec
from modelyard.training.tokenization import ChatTokenizer
from tests.models import make_tiny_model

LABELS = ("refund", "track_parcel", "login")
SpecMaker = Callable[..., TrainingSpec]


def make_examples(count: int) -> list[Example]:
    texts = ("Please give the money back", "Where is my order", "I cannot log in, the code never arrives")
    return [
        Example(
            id=f"row-{i}",
            messages=(
                Message(role="user", content=f"{texts[i % 3]}{'!' * (i % 5)}"),
                Message(role="assistant", content=LABELS[i % 3]),
            ),
            source="rows.jsonl",
            line=i + 1,
        )
        for i in range(count)
    ]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def chat(base: Path) -> ChatTokenizer:
    return ChatTokenizer(base)


@pytest.fixture
def make_spec(base: Path, tmp_path: Path) -> SpecMaker:
    return functools.partial(spec_in, tmp_path, base)


def spec_in(folder: Path, base: Path, num_rows: int = 60, output: str = "out", **fields: object) -> TrainingSpec:
    """A spec over rows that are written beside its output."""
    write_examples(folder / "train.jsonl", make_examples(num_rows))
    write_examples(folder / "validation.jsonl", make_examples(9))
    settings = {"base": "tiny", "sequence_length": 128, "max_steps": 6, "rank": 4, "threads": 1} | fields
    return TrainingSpec(
        recipe=Recipe.model_validate(settings).model_dump(mode="json"),
        base_folder=str(base),
        train=str(folder / "train.jsonl"),
        validation=str(folder / "validation.jsonl"),
        output=str(folder / output),
    )
