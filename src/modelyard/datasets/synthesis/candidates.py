"""Answers as candidates for rows: one each, or the rows that a teacher wrote in JSON."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from modelyard.datasets.sources.strict_json import parse_value
from modelyard.datasets.synthesis.log import Answered
from modelyard.datasets.synthesis.prompts import Prompt

_FENCED = re.compile(r"\A```(?:json)?[ \t]*\n(.*?)\n?```\Z", re.DOTALL)
_FINISHED = ("stop", "eos", "end_turn", "")


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What may become a row. `text` is what filters look at: the answer, or the fields of a new row, one a line.

    `fields` are those of a new row, None for an answer; `place` counts the new rows of an answer, which holds `of`.
    `votes` are the answers that agree with this one, and all that were counted.
    """

    prompt: Prompt
    answer: Answered
    text: str
    fields: Mapping[str, Any] | None = None
    place: int = 0
    of: int = 1
    votes: tuple[int, int] | None = None


Fault = tuple[Candidate, str]


def judge_answer(candidate: Candidate) -> str:
    """What makes an answer useless before anything is read in it; empty where nothing does."""
    reason = candidate.answer.finish_reason
    if reason == "length":
        return f"truncated: it broke off after {candidate.answer.completion_tokens} tokens"
    if reason not in _FINISHED:
        return f"unfinished: the server says '{reason}'"
    return "" if candidate.text else "empty answer: no text"


def new_rows(candidates: Iterable[Candidate], names: tuple[str, ...]) -> Iterator[Fault]:
    """The rows that answers hold, and what is wrong with those that cannot be used."""
    for candidate in candidates:
        objects, fault = _objects(candidate.text)
        if fault:
            yield candidate, fault
        for place, one in enumerate(objects):
            row, fault = _checked(one, names)
            text = "\n".join(map(str, row.values())) if row else str(one)
            yield (
                msgspec.structs.replace(candidate, text=text, fields=row, place=place, of=len(objects)),
                fault,
            )


def _objects(text: str) -> tuple[list[Any], str]:
    """The objects of an answer: one, an array, one a line, or an array under a single key; with or without a fence."""
    fenced = _FENCED.match(text)
    bare = (fenced[1] if fenced else text).strip()
    value, fault = parse_value(bare)
    if fault:
        lines = [parse_value(line) for line in bare.splitlines() if line.strip()]
        if len(lines) < 2 or any(wrong for _, wrong in lines):
            return [], fault
        return [one for one, _ in lines], ""
    if isinstance(value, dict) and len(value) == 1 and isinstance(inner := next(iter(value.values())), list):
        value = inner
    objects = value if isinstance(value, list) else [value]
    return objects, "" if objects else "no rows: the array is empty"


def _checked(value: Any, names: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """A row with exactly the named fields, in their order, or what is wrong with it."""
    if not isinstance(value, dict):
        return {}, "not an object: expected one with the named fields"
    if set(value) != set(names):
        seen = ", ".join(f"'{name[:40]}'" for name in list(value)[:8]) or "none"
        return {}, f"wrong fields: {seen}, expected {', '.join(names)}"
    for name in names:
        if not isinstance(value[name], str | int | float) or value[name] == "":
            return {}, f"wrong value: '{name}' is empty or no text"
    return {name: value[name].strip() if isinstance(value[name], str) else value[name] for name in names}, ""
