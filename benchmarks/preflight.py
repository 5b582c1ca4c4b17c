"""Seconds of the preflight by check, on made rows for the shipped base: reading and tokenizing them included.

    python benchmarks/preflight.py [--rows 50000] [--turns 1] [--words 60]

CPU seconds are steadier than wall time on busy cores; tokenizing uses all cores, the checks use one.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from modelyard.adapters.engines.capabilities import VLLM
from modelyard.ports.dataset import Example, Message
from modelyard.training.examples import write_examples
from modelyard.training.material import gather
from modelyard.training.preflight import CHECKS
from modelyard.training.recipe import Recipe
from modelyard.training.spec import TrainingSpec

BASE = Path(__file__).resolve().parents[1] / "src" / "modelyard" / "demo" / "base"
WORDS = [
    "order",
    "last week",
    "please",
    "cancel",
    "refund",
    "log in",
    "code",
    "phone",
    "change size",
    "thanks",
    "address",
]
Result = TypeVar("Result")


def main() -> None:
    """Make rows, check them, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--turns", type=int, default=1, help="Answers a conversation.")
    parser.add_argument("--words", type=int, default=60, help="Words a conversation, on average.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        spec = _spec(Path(scratch), options)
        _timed("imports and a first row", lambda: gather(_spec(Path(scratch), options, num_rows=1)))
        spec = _spec(Path(scratch), options)
        began, began_cpu = time.monotonic(), time.process_time()
        material = _timed("reading and tokenizing", lambda: gather(spec))
        inspection = material.inspection(spec)
        _timed("rows as columns", lambda: inspection.columns)
        for check in CHECKS:
            finding = _timed(check.__name__, lambda check=check: check(inspection))  # type: ignore[misc]
            assert not finding.stops, finding
        wall_s, cpu_s = time.monotonic() - began, time.process_time() - began_cpu
    num_tokens = sum(len(row.input_ids) for row in material.rows)
    print(f"{f'all of it: {options.rows:,} rows, {num_tokens:,} tokens':<50}{wall_s:>8.2f}{cpu_s:>8.2f}")


def _timed(name: str, work: Callable[[], Result]) -> Result:
    began, began_cpu = time.monotonic(), time.process_time()
    result = work()
    print(f"{name:<50}{time.monotonic() - began:>8.2f}{time.process_time() - began_cpu:>8.2f}", flush=True)
    return result


def _spec(folder: Path, options: argparse.Namespace, num_rows: int | None = None) -> TrainingSpec:
    generator = random.Random(0)
    count = options.rows if num_rows is None else num_rows
    write_examples(folder / "train", [_example(generator, number, options) for number in range(count)])
    write_examples(
        folder / "validation", [_example(generator, count + number, options) for number in range(count // 10)]
    )
    return TrainingSpec(
        recipe=Recipe(base=str(BASE), sequence_length=1024).model_dump(mode="json"),
        base_folder=str(BASE),
        train=str(folder / "train"),
        validation=str(folder / "validation"),
        output=str(folder / "output"),
        checkpoints=str(folder / "checkpoints"),
        engine=VLLM,
    )


def _example(generator: random.Random, number: int, options: argparse.Namespace) -> Example:
    longest = max(4, options.words // options.turns)
    messages = [
        Message(role=role, content=" ".join(generator.choices(WORDS, k=generator.randint(2, longest - 2))))
        for _ in range(options.turns)
        for role in ("user", "assistant")
    ]
    return Example(id=str(number), messages=tuple(messages), source="made", line=number)


if __name__ == "__main__":
    main()
