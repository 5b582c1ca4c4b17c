"""Imported by the process that workers fork from: the code and the compiled kernels of the row steps, loaded once.

A block of one row is taken through the steps, so that no list of kernels has to be kept. It also makes the process one
for this work alone: without packages that Arrow and numba import only because they are there, and with one allocator.
"""

import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.pipeline.blocks import BlockTask, work_block
from modelyard.datasets.pipeline.plan import Plan
from modelyard.datasets.shapes.detection import detect_shape
from modelyard.datasets.sources.block import Block, SourceFile
from modelyard.datasets.sources.parsing import parse_block

_ROW = (
    b'{"prompt": "Where does the caf\xc3\xa9 lie? Write to a@example.com", "completion": "In the yard, on the left."}\n'
)


def _load() -> None:
    config = DatasetConfig(path="row.jsonl")
    source = SourceFile(name="row.jsonl", url="", format="jsonl")
    block = Block(source=source, first_line=1, payload=_ROW)
    with TemporaryDirectory() as folder:
        plan = Plan(config=config, shape=detect_shape(parse_block(block).fields, config), folder=Path(folder))
        plan.save()
        work_block(BlockTask(plan=plan.path, number=0, block=block))


for package in ("pandas", "scipy.linalg"):
    sys.modules.setdefault(package, None)  # type: ignore[arg-type]
# What a block gives back, the next one takes: Arrow's own allocator would return it to the system.
pa.set_memory_pool(pa.system_memory_pool())
# What goes wrong here goes wrong again in a worker, which can tell.
with suppress(Exception):
    _load()
