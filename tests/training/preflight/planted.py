"""Inspections with one fault planted, and the names of the checks that speak up."""

import shutil
from pathlib import Path
from typing import Any

from modelyard.ports.dataset import Example, Message
from modelyard.ports.engine import Capabilities
from modelyard.training.preflight import Inspection, inspect
from modelyard.training.recipe import Recipe
from modelyard.training.tokenization import ChatTokenizer

RECIPE = Recipe(base="tiny", rank=8, sequence_length=64)
ENGINE = Capabilities(name="some", adapters=True, max_lora_rank=16, lora_ranks=(8, 16, 32), tokenize=True)


def failing(rows: Any, chat: ChatTokenizer, recipe: Recipe = RECIPE, engine: Any = ENGINE, **more: Any) -> list[str]:
    """The names of the checks that do not pass; each of them has a fix, and none that passes has one."""
    findings = inspect(Inspection(rows=rows, chat=chat, recipe=recipe, engine=engine, **more))
    assert all(bool(finding.fix) != finding.passed for finding in findings)
    return [finding.name for finding in findings if not finding.passed]


def with_template(base: Path, folder: Path, template: str) -> ChatTokenizer:
    """The tokenizer of a base with another chat template."""
    shutil.copytree(base, folder)
    (folder / "chat_template.jinja").write_text(template)
    return ChatTokenizer(folder)


def conversation(*texts: str, system: str = "", **fields: Any) -> Example:
    """User and assistant in turns."""
    turns = [Message(role=("user", "assistant")[n % 2], content=text) for n, text in enumerate(texts)]
    first = [Message(role="system", content=system)] if system else []
    return Example(id="row-1", messages=(*first, *turns), source="rows.jsonl", line=1, **fields)
