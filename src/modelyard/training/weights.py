"""The weights of a base as the heads of its files describe them. Loads no framework."""

import json
import math
from pathlib import Path
from typing import Any


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every weight in a base's folder, by its name. A file that is none has none: loading will tell."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        head = _head(path)
        shapes |= {name: tuple(weight["shape"]) for name, weight in head.items() if name != "__metadata__"}
    return shapes


def num_parameters(folder: Path) -> int:
    """How many numbers the weights of a base are, tied ones counted once. 0 where it has no safetensors."""
    return sum(math.prod(shape) for shape in weight_shapes(folder).values())


def _head(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            return {}
        try:
            head: dict[str, Any] = json.loads(file.read(length))
        except ValueError:
            return {}
    return head
