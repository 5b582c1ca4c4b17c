"""What people are asked, and what they say. Knows nothing about files or terminals."""

import hashlib
import re
from typing import Literal

import msgspec

from modelyard.core.errors import InvalidInput

TERMINAL = "terminal"
_NAME = re.compile(r"\w[\w.@+-]{0,63}")


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One text to label. `context` is shown beside it; `source` and `line` tell where it came from.

    `is_masked` says that personal data was covered in it.
    """

    id: str
    text: str
    context: str = ""
    source: str = ""
    line: int = 0
    is_masked: bool = False


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of every task: one of `labels`, or a free text where there are none.

    `per_task` is how many people answer each task; 0 means that everybody answers all. `origin` names what the tasks
    were made of, `digests` what exactly those files or that dataset were.
    """

    name: str
    labels: tuple[str, ...]
    per_task: int
    question: str
    origin: str
    digests: dict[str, str]
    by: str
    created_ms: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a log: what a person said of a task. The last line of a task is the one that holds.

    A skipped task waits for another time; a withdrawn answer is as if it had not been given. `via` is `terminal` or the
    name of the file that it came in. Where others disagreed, it is a decision and its note the reason.
    """

    task: str
    label: str = ""
    note: str = ""
    by: str
    at_ms: int
    via: str = TERMINAL
    state: Literal["given", "skipped", "withdrawn"] = "given"


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
        if folded(label) in map(folded, clean[:place]):
            raise InvalidInput(f"the label '{label}' is there twice", expected="each label once, whatever its case")
    if len(clean) == 1:
        raise InvalidInput(f"'{clean[0]}' is the only label", expected="two or more, or none for free text")
    return clean


def label_meant(text: str, labels: tuple[str, ...]) -> str | None:
    """The label that a text means, whatever its case and the space around it; free text is taken as it is.

    None where it is no label of the job.
    """
    if not labels:
        return text.strip() or None
    return next((label for label in labels if folded(label) == folded(text)), None)


def folded(label: str) -> str:
    """A label as it is compared: case and white space make no difference."""
    return " ".join(label.split()).casefold()


def rank(salt: str, id: str) -> bytes:
    """Where a task stands in an order that looks like chance and is the same for the same salt."""
    return hashlib.sha256(f"{salt}\x00{id}".encode()).digest()
