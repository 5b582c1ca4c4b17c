"""The terminal labeller: shows a task, hears a label, shows the next. What was said is on the disk by then."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelyard.cli.keyboard import Keyboard, keyboard
from modelyard.cli.output import note
from modelyard.cli.requests import COMMANDS, Request, keys_of, of_key, of_line
from modelyard.datasets.labelling.outcomes import Outcome
from modelyard.datasets.labelling.sittings import Adjudication, Sitting
from modelyard.datasets.labelling.tasks import Task

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# A text of strangers must not steer the terminal: all control characters but line feed and tab.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SEQUENCE = re.compile("\x1b\\[[0-9;?]*[ -/]*[@-~]")
_HELP = {
    "skip": "leave the task for another time",
    "undo": "take the last answer back",
    "note": "write a note beside the answer",
    "quit": "end here; the same command goes on",
    "help": "this help",
}


def sit(sitting: Sitting) -> None:
    """Ask for one task after the other, until none waits or the person leaves."""
    from rich.console import Console

    # Standard output is the result's: the summary, or JSON.
    screen = Console(stderr=True, highlight=False)
    single_keys = bool(keys_of(sitting.folder.job.labels))
    with keyboard(single_keys=single_keys) as keys, _told_that_all_is_kept(sitting):
        kind = Adjudicator if isinstance(sitting, Adjudication) else Labeller
        kind(sitting, keys, screen).run()


class Labeller:
    """One sitting at one screen."""

    def __init__(self, sitting: Sitting, input: Keyboard, screen: "Console") -> None:
        self._sitting = sitting
        self._input = input
        self._screen = screen
        self._job = sitting.folder.job
        self._keys = keys_of(self._job.labels)
        self._takes_keys = bool(self._keys) and input.has_keys
        self._note = ""
        self._last = ""

    def run(self) -> None:
        """Until no task waits, or the person leaves."""
        try:
            while self._ask(task) if (task := self._sitting.next()) else self._is_taken_back():
                pass
        except EOFError:
            pass
        self._screen.print()

    def _ask(self, task: Task) -> bool:
        """Ask until something is said that leads on. False where the person leaves."""
        self._note = ""
        self._show(task)
        while (request := self._request()).kind not in ("label", "skip", "undo", "quit"):
            self._stay(request)
        if request.kind == "label":
            self._sitting.answer(task, request.text, self._note)
            self._last = f"last: {request.text}"
        elif request.kind == "skip":
            self._sitting.skip(task, self._note)
            self._last = "last: skipped"
        elif request.kind == "undo":
            self._undo()
        return request.kind != "quit"

    def _is_taken_back(self) -> bool:
        """Whether the person takes the last answer back where no task waits: it may have been a slip as well."""
        undo = "u" if self._takes_keys else ":undo"
        self._print(f"Nothing waits for you. {undo} takes the last answer back, anything else ends.", "bold")
        wanted = self._input.key() if self._takes_keys else self._line("")
        return wanted.casefold() in ("u", ":u", ":undo") and self._undo()

    def _undo(self) -> bool:
        is_undone = self._sitting.undo()
        self._last = "taken back" if is_undone else "there is nothing to take back"
        return is_undone

    def _stay(self, request: Request) -> None:
        """Do what leaves the task where it is."""
        if request.kind == "help":
            self._print("\n".join(self._help()), "dim")
        elif request.kind == "note":
            self._note = request.text or self._line("note")
            self._print(f"noted: {self._note}", "yellow")
        else:
            self._print(request.text, "yellow")

    def _request(self) -> Request:
        if self._takes_keys:
            return of_key(self._input.key(), self._keys)
        return of_line(self._line("label" if self._job.labels else "answer"), self._job.labels, self._keys)

    def _line(self, what: str) -> str:
        prompt = f"{what}: " if what else ""
        line = self._input.line(lambda: self._screen.print(prompt, style="bold", end=""))
        # An arrow that is pressed in a line comes as an escape sequence.
        line = _CONTROL.sub("", _SEQUENCE.sub("", line)).strip()
        if not self._input.has_keys:
            # A pipe shows nothing of what comes through it.
            self._print(line or " ")
        return line

    def _show(self, task: Task) -> None:
        if self._screen.is_terminal:
            self._screen.clear()
        given, waiting = self._sitting.num_given, self._sitting.num_waiting
        self._print(f"{self._job.name}  {self._sitting.person}  {given:,} done now, {waiting:,} waiting", "dim")
        self._print(self._last, "dim")
        self._print(self._job.question, "bold")
        self._screen.print()
        self._print(task.context, "dim")
        self._print(task.text)
        self._show_said(task)
        self._screen.print()
        self._screen.print(self._choices())

    def _show_said(self, task: Task) -> None:
        """What others said, where this person may see it."""

    def _choices(self) -> "Text":
        from rich.text import Text

        shown = Text()
        for key, label in self._keys.items():
            shown.append(f" {key} ", "reverse").append(f" {label}   ")
        if not self._keys:
            shown.append(", ".join(self._job.labels))
        if shown:
            shown.append("\n")
        return shown.append("   ".join(self._commands()), "dim")

    def _commands(self) -> list[str]:
        """How each command is given: where a letter is the key of a label, as a capital."""
        if not self._takes_keys:
            return [f":{name}" if key != "?" else "? help" for key, name in COMMANDS.items()]
        return [f"{key.upper() if key in self._keys else key} {name}" for key, name in COMMANDS.items()]

    def _help(self) -> Iterator[str]:
        for shown, name in zip(self._commands(), COMMANDS.values(), strict=True):
            yield f"{shown:8}  {_HELP[name]}"
        if not self._takes_keys:
            yield (
                "Type a label, or as much of its beginning as no other has." if self._job.labels else "Type an answer."
            )
        if not self._keys:
            yield from self._job.labels

    def _print(self, text: str, style: str = "") -> None:
        from rich.text import Text

        if text:
            self._screen.print(Text(_CONTROL.sub("\ufffd", text), style))


class Adjudicator(Labeller):
    """Shows who said what, and asks for the reason of each decision. Of free texts, #1 takes the first one."""

    _said: Outcome

    def _show_said(self, task: Task) -> None:
        if not isinstance(self._sitting, Adjudication):
            raise AssertionError("an adjudicator sits over what others said")
        self._said = self._sitting.said(task)
        self._screen.print()
        for number, answer in enumerate(self._said.answers.values(), start=1):
            noted = f"  ({answer.note})" if answer.note else ""
            place = "" if self._job.labels else f"#{number} "
            self._print(f"{place}{answer.by}: {answer.label}{noted}", "cyan")

    def _request(self) -> Request:
        request = self._choice()
        if request.kind != "label" or self._note:
            return request
        # A command in place of the reason is one: nobody means ':quit' for a reason.
        while (said := of_line(self._line("why"), (), {})).kind == "nothing":
            self._stay(said)
        if said.kind == "label":
            self._note = said.text
            return request
        return said

    def _choice(self) -> Request:
        request = super()._request()
        place = re.fullmatch(r"#(\d+)", request.text)
        if request.kind != "label" or self._job.labels or not place:
            return request
        answers = dict(enumerate(self._said.answers.values(), start=1))
        if answer := answers.get(int(place[1])):
            return Request(kind="label", text=answer.label)
        return Request(kind="nothing", text=f"there is no answer {request.text}")


@contextmanager
def _told_that_all_is_kept(sitting: Sitting) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        note(f"\nevery answer is kept, {sitting.num_given:,} of this sitting; the same command goes on")
        raise
