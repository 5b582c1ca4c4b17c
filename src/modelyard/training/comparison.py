"""Two runs held against each other: what they were made from, how their losses went, what weights came out.

Reads no records: lineages, metrics and folders of weights in, differences out.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from modelyard.ports.run import Lineage
from modelyard.training.spec import Curve

Verdict = Literal["identical", "within tolerance", "differs"]

# Versions of these change numbers; of others a difference is told, and is hardly the cause.
PACKAGES = (
    *("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "unsloth", "tokenizers"),
    *("safetensors", "datasets", "numpy", "modelyard"),
)
# What a machine's speed decides says nothing about whether a run was reproduced.
SPEED = frozenset({"train_seconds", "total_seconds", "tokens_per_second", "energy_joules"})
_UNDER_ONE_NAME = 8


class Tolerances(msgspec.Struct, frozen=True, kw_only=True):
    """What still counts as the same.

    `losses`: the largest difference of a loss or metric, relative to the first run's value where that is above 1.
    `weights`: the largest difference within a tensor, relative to the largest value of that tensor.
    """

    losses: float = 1e-3
    weights: float = 1e-3


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Something that two runs were not given alike. `decides` where it is enough to make other weights."""

    what: str
    first: str
    second: str
    decides: bool


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One number, curve or tensor of both runs. Of several values, the largest absolute and relative difference."""

    name: str
    verdict: Verdict
    max_abs: float = 0.0
    max_relative: float = 0.0
    note: str = ""


def compare_origins(
    first: Lineage, second: Lineage, recipes: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> list[Difference]:
    """What differs in data, recipe, base, machine, packages and code: the likelier a cause, the earlier."""
    found = [
        *_fields(first, second, ("dataset_digest", "base_digest", "template_digest", "tokenizer_digest", "seed")),
        *_mapping("recipe", _settings(recipes[0]), _settings(recipes[1]), lambda _: True),
        *_mapping("hardware", first.hardware, second.hardware, _decides_on_hardware),
        *_fields(first, second, ("threads", "python")),
        *_mapping("package", first.environment, second.environment, lambda name: name in PACKAGES),
        *_fields(first, second, ("commit", "dirty_digest"), decides=False),
    ]
    return sorted(found, key=lambda one: not one.decides)


def _fields(first: Lineage, second: Lineage, names: Sequence[str], *, decides: bool = True) -> Iterator[Difference]:
    for name in names:
        then, now = getattr(first, name), getattr(second, name)
        # Runs of earlier versions did not write everything down.
        unknown = not then and name in ("threads", "python")
        if then != now and not unknown:
            what = name.removesuffix("_digest").replace("_", " ")
            yield Difference(what=what, first=_told(then), second=_told(now), decides=decides and name != "python")


def _settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without its seed and base, which the lineage tells."""
    return {name: value for name, value in recipe.items() if name not in ("seed", "base")}


def _mapping(
    kind: str, first: Mapping[str, Any], second: Mapping[str, Any], decides: Callable[[str], bool]
) -> Iterator[Difference]:
    for name in sorted({*first, *second}):
        then, now = _told(first.get(name)), _told(second.get(name))
        if then != now:
            yield Difference(what=f"{kind} {name}", first=then, second=now, decides=decides(name))


def _decides_on_hardware(name: str) -> bool:
    return name not in ("memory_bytes", "system")


def _told(value: Any) -> str:
    if value is None or value == "":
        return "none"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else str(value)


def compare_metrics(first: Mapping[str, float], second: Mapping[str, float], tolerance: float) -> list[Compared]:
    """The metrics of both runs but for those of speed."""
    names = [name for name in (*first, *(name for name in second if name not in first)) if name not in SPEED]
    return [_numbers(name, [first.get(name)], [second.get(name)], tolerance) for name in names]


def compare_curves(first: Curve, second: Curve, tolerance: float) -> list[Compared]:
    """The losses of each step, and those on held-out rows along the way."""
    held_out, again = ([one.loss for one in curve.validations] for curve in (first, second))
    compared = [_numbers("loss of each step", first.losses, second.losses, tolerance)]
    return compared + ([_numbers("validation losses", held_out, again, tolerance)] if held_out or again else [])


def _numbers(name: str, first: Sequence[float | None], second: Sequence[float | None], tolerance: float) -> Compared:
    if len(first) != len(second):
        return Compared(name=name, verdict="differs", note=f"{len(first)} values, then {len(second)}")
    pairs = [(then, now) for then, now in zip(first, second, strict=True) if then is not None and now is not None]
    if len(pairs) < len(first):
        return Compared(name=name, verdict="differs", note="one run has none")
    max_abs = _largest(abs(then - now) for then, now in pairs)
    relative = _largest(abs(then - now) / max(1.0, abs(then)) for then, now in pairs)
    apart = next((number for number, (then, now) in enumerate(pairs, 1) if then != now), 0)
    note = f"apart from number {apart} on" if apart and len(pairs) > 1 else ""
    verdict = _judge(max_abs, relative, tolerance)
    return Compared(name=name, verdict=verdict, max_abs=max_abs, max_relative=relative, note=note)


def _largest(values: Iterator[float]) -> float:
    """The largest of them; infinite where one is no number, as nothing is near that."""
    return max((math.inf if math.isnan(value) else value for value in values), default=0.0)


def _judge(max_abs: float, max_relative: float, tolerance: float) -> Verdict:
    if max_abs == 0:
        return "identical"
    return "within tolerance" if max_relative <= tolerance else "differs"


def compare_weights(first: Path, second: Path, tolerance: float) -> list[Compared]:
    """Each tensor in the safetensors files of two folders, one at a time in memory: bit by bit, else by its values."""
    with ExitStack() as stack:
        ours, theirs = (_tensors(folder, stack) for folder in (first, second))
        return [_tensor(name, ours.get(name), theirs.get(name), tolerance) for name in sorted({*ours, *theirs})]


def same_weights(folder: Path) -> list[Compared]:
    """What `compare_weights` says of files that are the same to the byte, without reading them."""
    with ExitStack() as stack:
        return [Compared(name=name, verdict="identical") for name in sorted(_tensors(folder, stack))]


def _tensors(folder: Path, stack: ExitStack) -> dict[str, Callable[[], Any]]:
    """How to read each tensor of a folder, by its name."""
    from safetensors import safe_open

    found: dict[str, Callable[[], Any]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        file = stack.enter_context(safe_open(path, "pt"))
        found |= {name: partial(file.get_tensor, name) for name in file.keys()}  # noqa: SIM118  it is no dictionary
    return found


def _tensor(name: str, first: Callable[[], Any] | None, second: Callable[[], Any] | None, tolerance: float) -> Compared:
    if first is None or second is None:
        return Compared(name=name, verdict="differs", note="one run has none")
    ours, theirs = first(), second()
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        note = f"{ours.dtype} {tuple(ours.shape)}, then {theirs.dtype} {tuple(theirs.shape)}"
        return Compared(name=name, verdict="differs", note=note.replace("torch.", ""))
    if ours.equal(theirs):
        return Compared(name=name, verdict="identical")
    max_abs = _largest(iter([float((ours.double() - theirs.double()).abs().max())]))
    largest = float(ours.double().abs().max())
    relative = max_abs / largest if largest else math.inf
    verdict = _judge(max_abs, relative, tolerance)
    return Compared(name=name, verdict=verdict, max_abs=max_abs, max_relative=relative)


def worst(compared: Sequence[Compared]) -> Verdict:
    """The verdict over all of them."""
    verdicts: tuple[Verdict, ...] = ("differs", "within tolerance", "identical")
    return next((verdict for verdict in verdicts if any(one.verdict == verdict for one in compared)), "identical")


def likely_cause(differences: Sequence[Difference]) -> str:
    """What most likely made two runs differ, in a sentence."""
    deciding = [one for one in differences if one.decides]
    if deciding:
        told = [f"{one.what} ({one.first}, then {one.second})" for one in deciding[:_UNDER_ONE_NAME]]
        more = f", and {len(deciding) - len(told)} more" if len(deciding) > len(told) else ""
        return "most likely " + "; ".join(told) + more
    if differences:
        others = ", ".join(one.what for one in differences[:_UNDER_ONE_NAME])
        return f"nothing that decides about numbers differs; what does: {others}"
    return "nothing that is written down differs: training is not deterministic on this device"
