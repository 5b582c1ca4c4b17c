"""The processes that train one model together: which of them this one is, and what all of them agree on.

They find each other by the environment that torchrun and Ray Train set. A process alone is the first of one. What is
agreed on here is a collective act: every process must come to it.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import distributed

from modelyard.core.files import folder_atomically


def count() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def count_here() -> int:
    """How many of them run on this host, and share its cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def rank() -> int:
    """The number of this one."""
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Whether this one writes and speaks for all."""
    return rank() == 0


def total(value: float) -> float:
    """The sum over all processes."""
    return _reduced(value, distributed.ReduceOp.SUM)


def any_of(flag: bool) -> bool:
    """Whether it holds for at least one process."""
    return bool(_reduced(float(flag), distributed.ReduceOp.MAX))


def gathered(own: Sequence[Any], length: int) -> list[Any]:
    """All results in their order, where each process made those of `mine`."""
    if count() == 1:
        return list(own)
    parts: list[Any] = [None] * count()
    distributed.all_gather_object(parts, list(own))
    return [parts[number % count()][number // count()] for number in range(length)]


def mine(items: Sequence[Any]) -> Sequence[Any]:
    """This process's share: every so many, one."""
    return items[rank() :: count()]


def from_first(value: Any) -> Any:
    """What the first process says."""
    if count() == 1:
        return value
    told = [value]
    distributed.broadcast_object_list(told)
    return told[0]


def wait_for_all() -> None:
    """Go on when all have come here."""
    if count() > 1:
        distributed.barrier()


def whole(weight: torch.Tensor) -> torch.Tensor:
    """A weight of which each process may hold a part, put together."""
    full: torch.Tensor = weight.full_tensor() if hasattr(weight, "full_tensor") else weight
    return full


@contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Where a process writes: what the first one wrote becomes `path` when the block ends well; the rest vanishes."""
    if is_first():
        with folder_atomically(path) as scratch:
            yield scratch
    else:
        with TemporaryDirectory() as folder:
            yield Path(folder)


def _reduced(value: float, operation: Any) -> float:
    if count() == 1:
        return value
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    tensor = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.all_reduce(tensor, operation)
    return float(tensor)
