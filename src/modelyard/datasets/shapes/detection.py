"""The shape of rows, by what the configuration says or by their fields."""

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.core.errors import DataInvalid
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.shapes.shape import Shape

# The fields that tell a shape; the first shape whose fields are all there is taken.
_TELLING: dict[str, tuple[str, ...]] = {
    "preference": ("chosen", "rejected"),
    "kto": ("prompt", "completion", "label"),
    "chat": ("messages",),
    "sharegpt": ("conversations",),
    "alpaca": ("instruction", "output"),
    "prompt_completion": ("prompt", "completion"),
}


def detect_shape(samples: Sequence[Mapping[str, Any]], config: DatasetConfig) -> Shape:
    """The shape of rows, decided once for all of a dataset. Raises: DataInvalid where their fields tell none."""
    names = config.fields
    if config.prompt is not None and config.answer is not None:
        return Shape(name="template", detected_by="configuration", prompt=config.prompt, answer=config.answer)
    if config.shape == "template":
        return _default_template("configuration")
    if config.shape != "auto":
        return Shape(name=config.shape, detected_by="configuration", names=names)
    for name, telling in _TELLING.items():
        if all(_is_common(names.get(field, field), samples) for field in telling):
            return Shape(name=name, detected_by=f"fields {', '.join(telling)}", names=names)
    if _is_common("text", samples) and _is_common("label", samples):
        return _default_template("fields text, label")
    if {name for sample in samples for name in sample} == {names.get("text", "text")}:
        return Shape(name="text", detected_by="the one field text", names=names)
    raise DataInvalid(
        f"the rows have no known shape; their fields are {_fields(samples)}",
        expected="messages; conversations; instruction, output; prompt, completion; chosen, rejected; or text",
        fix='say how a row becomes a question and an answer, for example `prompt: "{question}"` and'
        ' `answer: "{reply}"`, or name the `shape` and its `fields`',
    )


def _default_template(detected_by: str) -> Shape:
    return Shape(name="template", detected_by=detected_by, prompt="{text}", answer="{label}")


def _is_common(name: str, samples: Sequence[Mapping[str, Any]]) -> bool:
    """Whether most rows have a field; some may be broken."""
    return sum(name in sample for sample in samples) * 2 > len(samples)


def _fields(samples: Sequence[Mapping[str, Any]]) -> str:
    seen = dict.fromkeys(name for sample in samples for name in sample)
    return ", ".join(f"'{name[:40]}'" for name in list(seen)[:12]) or "none"
