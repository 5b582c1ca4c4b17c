"""The log of a synthesis: every answer that was paid for, kept before anything is done with it.

A file that only grows, a line an event. An answer is on the disk before the next step; a line that a killed process
left half-written is cut off when the log is opened again. What was asked and never answered may have been billed: it
counts as spent, at most.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from modelyard.core.clock import iso, now_ms
from modelyard.core.errors import Conflict, Corrupt


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """The first line: what decides the requests, and the digest over the seed files."""

    synthesis: str
    asking: dict[str, Any]
    seeds: str
    at: str


class Asked(msgspec.Struct, frozen=True, kw_only=True, tag="asked"):
    """A question is on its way, and cannot cost more than this."""

    key: str
    cost_at_most_nanousd: int


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag="lost"):
    """An attempt broke off; it may have been billed."""

    key: str
    cost_at_most_nanousd: int


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The server answered with an error, or was not reached: nothing is billed for the last attempt."""

    key: str


class Answered(msgspec.Struct, frozen=True, kw_only=True, tag="answered"):
    """An answer, with its personal data masked unless the configuration keeps it.

    `personal` are the kinds that were found. `is_counted` says that the server counted the tokens; else they are the
    most there can be.
    """

    key: str
    prompt: int
    sample: int
    request_seed: int
    text: str
    finish_reason: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    is_counted: bool
    cost_nanousd: int
    at: str
    personal: tuple[str, ...] = ()


Event = Started | Asked | Lost | Failed | Answered
_decoder = msgspec.json.Decoder(Event)


class Account:
    """What the events of a log come to."""

    def __init__(self) -> None:
        self.started: Started | None = None
        self.answers: dict[str, Answered] = {}
        self.cost_nanousd = 0
        self._lost_nanousd = 0
        self._open: dict[str, int] = {}

    @property
    def unanswered_nanousd(self) -> int:
        """The most that was billed for attempts without an answer."""
        return self._lost_nanousd + sum(self._open.values())

    def add(self, event: Event) -> None:
        """Take the next event."""
        if isinstance(event, Started):
            self.started = event
        elif isinstance(event, Asked):
            # Asked again: the attempt before was cut off by a kill.
            self._lost_nanousd += self._open.get(event.key, 0)
            self._open[event.key] = event.cost_at_most_nanousd
        elif isinstance(event, Lost):
            self._lost_nanousd += event.cost_at_most_nanousd
        else:
            self._open.pop(event.key, None)
            if isinstance(event, Answered):
                self.answers[event.key] = event
                self.cost_nanousd += event.cost_nanousd


class AnswerLog:
    """An open log. One process writes at a time; the caller holds the lock."""

    def __init__(self, file: BinaryIO, account: Account) -> None:
        self._file = file
        self.account = account

    def write(self, event: Event) -> None:
        """Add an event. What was said first and paid for is on the disk when this returns."""
        self._file.write(msgspec.json.encode(event) + b"\n")
        self._file.flush()
        if isinstance(event, Started | Answered):
            os.fsync(self._file.fileno())
        self.account.add(event)


def read_log(path: Path) -> Account:
    """What a log comes to; nothing where there is none. Raises: Corrupt."""
    return _account(path, _whole_lines(path))


@contextmanager
def open_log(path: Path, started: Started) -> Iterator[AnswerLog]:
    """A log to go on with, or a new one. Raises: Conflict where it was started for other requests; Corrupt."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = _whole_lines(path)
    account = _account(path, lines)
    check_same(path, account.started, started)
    with path.open("ab") as file:
        file.truncate(len(lines))
        log = AnswerLog(file, account)
        if account.started is None:
            log.write(started)
        yield log


def put_aside(path: Path) -> Path | None:
    """Give a log another name, so that a new one begins: its answers were paid for. None where there is no log."""
    if not path.exists():
        return None
    moment = iso(now_ms()).translate({ord(sign): None for sign in "-:."})
    aside = path.with_name(path.name.replace(".jsonl", f".{moment}.jsonl"))
    path.rename(aside)
    return aside


def check_same(path: Path, before: Started | None, now: Started) -> None:
    """Raises: Conflict, naming what changed, where a log holds the answers to other requests."""
    if before is None:
        return
    changed = list(_changes(before.asking, now.asking))
    if before.seeds != now.seeds:
        changed.append("the seed rows")
    if changed:
        raise Conflict(
            f"{path.name} holds answers to other requests; changed since: {', '.join(changed)}",
            expected="the same requests; `rows`, `samples`, `filters`, `keep` and the like may change",
            fix="change it back, or begin anew with --restart: the old answers are kept under another name",
        )


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in now:
        if before.get(name) != now[name]:
            yield f"`{name}` ({_short(before.get(name))} to {_short(now[name])})"


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."


def _whole_lines(path: Path) -> bytes:
    """The bytes of a log without a last line that has no end."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return b""
    return data[: data.rfind(b"\n") + 1]


def _account(path: Path, lines: bytes) -> Account:
    account = Account()
    for number, line in enumerate(lines.splitlines(), start=1):
        try:
            account.add(_decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Corrupt(
                f"line {number} of {path} is damaged: {error}",
                expected="a line as `modelyard data synthesise` wrote it",
                fix="put the file back, or remove the line: what it answered is asked again",
            ) from error
    return account


def counted(answers: Mapping[str, Answered]) -> Counter[str]:
    """Tokens of all answers, and how many of them the server did not count."""
    totals: Counter[str] = Counter(prompt=0, completion=0, uncounted_answers=0)
    for answer in answers.values():
        totals["prompt"] += answer.prompt_tokens
        totals["completion"] += answer.completion_tokens
        totals["uncounted_answers"] += not answer.is_counted
    return totals
