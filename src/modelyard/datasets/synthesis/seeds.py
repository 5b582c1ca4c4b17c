"""Seed rows: any file that a dataset may be made of, in an order that a number decides."""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.digests import digest_bytes, digest_json
from modelyard.core.errors import DataInvalid
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.ledger import StepCount
from modelyard.datasets.outcome import Rejection
from modelyard.datasets.rows import PROMPT, ROLES
from modelyard.datasets.shapes.detection import detect_shape
from modelyard.datasets.shapes.shape import Shape
from modelyard.datasets.shapes.shaping import shape_rows
from modelyard.datasets.sources.block import Records
from modelyard.datasets.sources.finding import find_sources
from modelyard.datasets.sources.parsing import parse_block
from modelyard.datasets.sources.reader import SourceReader
from modelyard.datasets.synthesis.config import SynthesisConfig
from modelyard.datasets.synthesis.privacy import Privacy
from modelyard.ports.dataset import Message

_DETECTION_ROWS = 100


class Seed(msgspec.Struct, frozen=True, kw_only=True):
    """A seed row: where it stands, the digest of its raw line, its fields, and its prompt if no template makes it."""

    source: str
    line: int
    digest: str
    fields: Mapping[str, Any]
    messages: tuple[Message, ...] = ()

    @property
    def place(self) -> str:
        """Where it stands, for people; empty for the seed that stands for none."""
        return f"{self.source}:{self.line}" if self.source else ""


class Seeds(msgspec.Struct, frozen=True, kw_only=True):
    """All seeds in the order in which they are asked. `digest` covers the raw files."""

    rows: list[Seed]
    count: StepCount
    digest: str = ""


def read_seeds(config: SynthesisConfig, root: Path, privacy: Privacy) -> Seeds:
    """The seeds of a synthesis; one without fields where it has no `from`. Repeated lines count once.

    Raises: DataInvalid where a source cannot be used or none of its rows can.
    """
    count = StepCount(step="seeds")
    if config.from_ is None:
        return Seeds(rows=[Seed(source="", line=0, digest="", fields={})], count=count)
    dataset = config.from_.as_dataset()
    digests: list[str] = []
    found: dict[str, Seed] = {}
    shape: Shape | None = None
    for records in _records(dataset, root, digests):
        rejected = list(records.rejected)
        if records.fields and not config.prompts:
            shape = shape or detect_shape(records.fields[:_DETECTION_ROWS], dataset)
        for seed, raw, fault in _seeds_of(records, dataset, shape):
            first = found.get(seed.digest)
            fault = fault or (f"repeated seed: the same as {first.place}" if first else "")
            if fault:
                rejected.append(Rejection(source=seed.source, line=seed.line, reason=fault, raw=raw))
            else:
                found[seed.digest] = seed
        count.add(
            rows_out=len(records.fields) + len(records.rejected) - len(rejected),
            rejected=list(map(privacy.covered, rejected)),
        )
    if not found:
        raise _none_left(count)
    rows = sorted(found.values(), key=lambda seed: _drawn(seed, config.seed))
    return Seeds(rows=rows, count=count, digest=digest_json(digests))


def _records(dataset: DatasetConfig, root: Path, digests: list[str]) -> Iterator[Records]:
    """The rows of all sources, a block at a time; the digest of each source is added once it was read."""
    for source in find_sources(dataset, root):
        reader = SourceReader(source)
        yield from map(parse_block, reader)
        digests.append(reader.source().digest)


def _seeds_of(records: Records, dataset: DatasetConfig, shape: Shape | None) -> Iterator[tuple[Seed, str, str]]:
    """The rows of a block as seeds, each with its raw text and what makes it useless; conversations by their shape."""
    prompts, faults = _prompts_of(records, dataset, shape) if shape else ({}, {})
    for place, (fields, line, raw) in enumerate(zip(records.fields, records.lines, records.raws, strict=True)):
        seed = Seed(
            source=records.source,
            line=line,
            digest=digest_bytes(raw),
            fields=fields,
            messages=prompts.get(place, ()),
        )
        yield seed, raw.decode("utf-8", "replace"), faults.get(place, "")


def _prompts_of(
    records: Records, dataset: DatasetConfig, shape: Shape
) -> tuple[dict[int, tuple[Message, ...]], dict[int, str]]:
    """The prompts of rows that are conversations, by place, and what is wrong with the others."""
    outcome = shape_rows(records, shape, dataset)
    rows, faults = outcome.rows, dict(outcome.rejected)
    prompts: dict[int, tuple[Message, ...]] = {}
    for place, (begin, end) in enumerate(pairwise(rows.bounds.tolist())):
        turns = [turn for turn in range(begin, end) if rows.parts[turn] == PROMPT]
        if place in rows.tools or any(turn in rows.extras for turn in turns):
            faults[place] = "tools: a teacher is not asked to call them"
        elif not turns:
            faults.setdefault(place, "no prompt: the row is plain text, so `prompts` must say what to ask")
        prompts[place] = tuple(Message(role=ROLES[rows.roles[turn]], content=rows.turns[turn]) for turn in turns)
    return prompts, faults


def _drawn(seed: Seed, number: int) -> str:
    """Where a seed stands in the order: by its own line alone, so that more rows move none."""
    return hashlib.sha256(f"{number} {seed.digest}".encode()).hexdigest()


def _none_left(count: StepCount) -> DataInvalid:
    first = count.examples[0] if count.examples else {}
    seen = f"line {first['line']} of {first['source']}: {first['reason']}" if first else "there are none"
    return DataInvalid(f"no seed row can be used ({seen})", fix="mend the rows that `from` names, or add `prompts`")
