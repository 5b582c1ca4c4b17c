"""What people are asked, and what they say. Knows nothing about files or terminals."""

import re
from typing import Literal

import msgspec

from modelyard.core.errors import InvalidInput

_NAME = re.compile(r"\w[\w.@+-]{0,63}")


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One text to label. `context` is shown beside it; `source` and `line` tell where it came from."""

    id: str
    text: str
    context: str = ""
    source: str = ""
    line: int = 0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of every task: one of `labels`, or a free text where there are none.

    `per_task` is how many people answer each task; 0 means that everybody answers all. `origin` names what the tasks
    were made of, `num_masked` how many of them had personal data covered.
    """

    name: str
    labels: tuple[str, ...]
    per_task: int
    question: str
    origin: str
    num_masked: int
    created_ms: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a person's log. The last line of a task is the one that holds.

    A skipped task waits for another time; a withdrawn answer is as if it had not been given. `via` is `terminal` or the
    name of the file that it came in.
    """

    task: str
    label: str = ""
    note: str = ""
    at_ms: int
    via: str = "terminal"
    state: Literal["answered", "skipped", "withdrawn"] = "answered"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a named person decided where others disagreed, and why. The last one of a task holds."""

    task: str
    label: str = ""
    reason: str = ""
    by: str
    at_ms: int
    state: Literal["decided", "skipped", "withdrawn"] = "decided"


def check_name(name: str, what: str) -> str:
    """A name that is safe in a file's name. Raises: InvalidInput."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"'{name}' cannot be the name of {what}",
            expected="letters, digits and . _ @ + - (64 at most), with a letter or a digit first",
        )
    return name


def check_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels on offer; none means free text. Raises: InvalidInput where one is empty, or there twice."""
    clean = tuple(label.strip() for label in labels)
    for place, label in enumerate(clean):
        if not label or not label.isprintable():
            raise InvalidInput(f"label {place + 1} is {label!r}", expected="a word or two", fix="--labels good,bad")
        if label.casefold() in (one.casefold() for one in clean[:place]):
            raise InvalidInput(f"the label '{label}' is there twice", expected="each label once, whatever its case")
    if len(clean) == 1:
        raise InvalidInput(f"'{clean[0]}' is the only label", expected="two or more, or none for free text")
    return clean


def label_meant(text: str, labels: tuple[str, ...]) -> str | None:
    """The label that a text means, whatever its case and the space around it; free text is taken as it is.

    None where it is no label of the job.
    """
    text = text.strip()
    if not labels:
        return text or None
    return next((label for label in labels if label.casefold() == text.casefold()), None)
