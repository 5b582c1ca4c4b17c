"""One person's way through a job: which task comes next, and what was said of it. Knows nothing about terminals.

Whatever is said is on the disk before the next task is asked for, so a sitting may end at any moment and go on later.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from modelyard.core.clock import now_ms
from modelyard.datasets.labelling.outcomes import Outcome, outcomes
from modelyard.datasets.labelling.storage import LabellingFolder, Writer, last_lines
from modelyard.datasets.labelling.tasks import TERMINAL, Answer, Task, rank


class Sitting(ABC):
    """What labelling and adjudicating have in common."""

    def __init__(self, folder: LabellingFolder, person: str, writer: Writer) -> None:
        self.folder = folder
        self.person = person
        self.num_given = 0
        self._begin = len(writer.lines)
        self._writer = writer
        self._skipped: set[str] = set()
        self._waiting: list[str] = []
        self._brought_back = ""

    @property
    def num_waiting(self) -> int:
        """How many tasks waited when the next one was asked for."""
        return len(self._waiting)

    @property
    def num_skipped(self) -> int:
        """How many tasks were left for another sitting."""
        return len(self._skipped)

    @abstractmethod
    def waiting(self) -> list[str]:
        """The tasks that this person has still to answer, in their order; those skipped in this sitting are none."""

    def next(self) -> Task | None:
        """The task to answer now: the one that an undo brought back, or the first that waits."""
        self._waiting = self.waiting()
        id = self._brought_back or next(iter(self._waiting), "")
        return self.folder.tasks[id] if id else None

    def answer(self, task: Task, label: str, note: str) -> None:
        """Give an answer."""
        self._say(task.id, label, note, "given")
        self.num_given += 1

    def skip(self, task: Task, note: str = "") -> None:
        """Leave a task for another sitting."""
        self._say(task.id, "", note, "skipped")
        self._skipped.add(task.id)

    def undo(self) -> bool:
        """Take back what this person said last in a terminal, in whatever sitting; its task comes next."""
        last = last_lines(self._writer.lines)
        for place, line in reversed(list(enumerate(self._writer.lines))):
            is_mine = line.by == self.person and line.via == TERMINAL and line.task in self.folder.tasks
            if is_mine and line.state != "withdrawn" and last[line.task] is line:
                self._say(line.task, "", "", "withdrawn")
                self._skipped.discard(line.task)
                self.num_given -= line.state == "given" and place >= self._begin
                self._brought_back = line.task
                return True
        return False

    def _say(self, task: str, label: str, note: str, state: Literal["given", "skipped", "withdrawn"]) -> None:
        self._brought_back = ""
        self._writer.add(Answer(task=task, label=label, note=note, by=self.person, at_ms=now_ms(), state=state))


class Labelling(Sitting):
    """A person answers the tasks of a job.

    Where a few people answer each task, every person meets the tasks in an order of their own, so that people who work
    at the same time seldom meet over one task.
    """

    def __init__(self, folder: LabellingFolder, person: str, writer: Writer) -> None:
        super().__init__(folder, person, writer)
        ids = list(folder.tasks)
        self._order = sorted(ids, key=lambda id: rank(person, id)) if folder.job.per_task else ids

    def waiting(self) -> list[str]:
        lines = last_lines(self._writer.lines)
        mine = {task for task, line in lines.items() if line.state == "given"} | self._skipped
        left = [id for id in self._order if id not in mine]
        wanted = self.folder.job.per_task
        if not wanted:
            return left
        others = Counter(id for person, given in self.folder.answers().items() if person != self.person for id in given)
        return [id for id in left if others[id] < wanted]


class Adjudication(Sitting):
    """A person decides the tasks on which others disagree."""

    def waiting(self) -> list[str]:
        self._found = {one.task.id: one for one in outcomes(self.folder)}
        return [id for id, one in self._found.items() if one.how == "disagreed" and id not in self._skipped]

    def said(self, task: Task) -> Outcome:
        """Who had said what of a task when the next one was asked for."""
        return self._found[task.id]


@contextmanager
def labelling(folder: LabellingFolder, person: str) -> Iterator[Labelling]:
    """A sitting of one person. Raises: Conflict where the same person sits elsewhere."""
    with folder.log_of(person).writing() as writer:
        yield Labelling(folder, person, writer)


@contextmanager
def adjudication(folder: LabellingFolder, person: str) -> Iterator[Adjudication]:
    """A sitting of the one who decides. Raises: Conflict where somebody else does so now."""
    folder.log_of(person)
    with folder.decision_log.writing() as writer:
        yield Adjudication(folder, person, writer)
