"""What a teacher is asked: templates over seeds, without personal data, each question with a seed of its own."""

import hashlib
from collections.abc import Iterator
from itertools import count, islice

import msgspec

from modelyard.core.digests import digest_json, short
from modelyard.core.errors import DataInvalid
from modelyard.datasets.ledger import StepCount
from modelyard.datasets.outcome import Rejection
from modelyard.datasets.synthesis.config import SynthesisConfig
from modelyard.datasets.synthesis.privacy import Privacy
from modelyard.datasets.synthesis.seeds import Seed, Seeds
from modelyard.datasets.template import FieldUnusable, fill, parse_template
from modelyard.ports.dataset import Message
from modelyard.ports.teacher import Question

Turns = tuple[Message, ...]


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a seed. `messages` go to the teacher, `asked` is what the row asks; `template` counts from 0."""

    number: int
    seed: Seed
    template: int | None
    messages: Turns
    asked: Turns


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One question of a prompt. `key` is the same for the same question, so that none is asked twice."""

    key: str
    prompt: int
    sample: int
    question: Question


class Prompts(msgspec.Struct, frozen=True, kw_only=True):
    """The prompts of a synthesis, in order. With more rows the first ones stay the same."""

    rows: list[Prompt]
    count: StepCount


def make_prompts(config: SynthesisConfig, seeds: Seeds, privacy: Privacy) -> Prompts:
    """The prompts, as many as there are seeds or as `rows` says. Raises: DataInvalid where no seed makes one.

    Templates take turns. New rows may be asked for again and again; of answers each prompt is asked but once.
    """
    wanted = config.rows or len(seeds.rows)
    making = _Making(config, privacy)
    rows = list(islice(making.prompts(seeds.rows), wanted))
    making.count.add(rows_out=len(rows), rejected=list(map(privacy.covered, making.rejected)))
    if not rows:
        first = making.rejected[0]
        raise DataInvalid(
            f"no seed makes a prompt ({first.source}:{first.line}: {first.reason})",
            fix="correct `prompts` or `question`, or the seed rows",
        )
    return Prompts(rows=rows, count=making.count)


def request_of(config: SynthesisConfig, prompt: Prompt, sample: int) -> Request:
    """The question of a prompt whose answer is its sample of that number, from 0."""
    drawn = hashlib.sha256(f"{config.seed} {prompt.number} {sample}".encode()).digest()
    question = Question(
        messages=prompt.messages,
        sampling=config.sampling,
        # Of 31 bits, as some servers take no more.
        seed=int.from_bytes(drawn[:4], "big") >> 1,
    )
    return Request(key=short(digest_json(question)), prompt=prompt.number, sample=sample, question=question)


class _Making:
    def __init__(self, config: SynthesisConfig, privacy: Privacy) -> None:
        self._config = config
        self._privacy = privacy
        self._templates = [parse_template(text, needs_field=False) for text in config.prompts]
        self._question = None if config.question is None else parse_template(config.question, needs_field=False)
        self._first: dict[str, Seed] = {}
        self.count = StepCount(step="prompts")
        self.rejected: list[Rejection] = []

    def prompts(self, seeds: list[Seed]) -> Iterator[Prompt]:
        """Lap after lap over the seeds, each with the next template, until a lap has nothing new to give."""
        number = 0
        for lap in count():
            before = number
            is_last = not self._config.fields and lap + 1 >= len(self._templates)
            for place, seed in enumerate(seeds):
                template = (place + lap) % len(self._templates) if self._templates else None
                try:
                    yield self._prompt(seed, template, number)
                    number += 1
                except FieldUnusable as error:
                    if lap < max(1, len(self._templates)):
                        raw = "; ".join(f"{name}: {value}" for name, value in seed.fields.items())
                        self.rejected.append(
                            Rejection(source=seed.source or "prompts", line=seed.line, reason=str(error), raw=raw)
                        )
            if is_last or number == before:
                return

    def _prompt(self, seed: Seed, template: int | None, number: int) -> Prompt:
        fields = self._privacy.clean_fields(seed.fields)
        turns = seed.messages
        if template is not None:
            turns = (Message(role="user", content=fill(self._templates[template], fields)),)
        turns = self._clean(turns)
        asked = turns
        if self._question is not None:
            asked = self._clean((Message(role="user", content=fill(self._question, fields)),))
        messages = _for_teacher(turns, self._config)
        if not self._config.fields:
            key = digest_json(messages)
            if first := self._first.get(key):
                raise FieldUnusable(f"repeated prompt: the same as that of {first.place}")
            self._first[key] = seed
        return Prompt(number=number, seed=seed, template=template, messages=messages, asked=asked)

    def _clean(self, turns: Turns) -> Turns:
        clean = self._privacy.clean
        return tuple(msgspec.structs.replace(turn, content=clean(turn.content)) for turn in turns)


def _for_teacher(turns: Turns, config: SynthesisConfig) -> Turns:
    """The turns as they are sent: with the teacher's system turn, and with the order to write rows."""
    if config.system is not None:
        own = [turn.content for turn in turns if turn.role == "system"]
        rest = [turn for turn in turns if turn.role != "system"]
        turns = (Message(role="system", content="\n\n".join([config.system, *own])), *rest)
    if not config.fields:
        return turns
    last = turns[-1]
    return (*turns[:-1], msgspec.structs.replace(last, content=f"{last.content}\n\n{_order(config)}"))


def _order(config: SynthesisConfig) -> str:
    names = ", ".join(f'"{name}"' for name in config.fields)
    what = "one object" if config.rows_each == 1 else f"an array of {config.rows_each} objects, each"
    return f"Answer with JSON alone, and no words around it: {what} with exactly the keys {names}, all of them texts."
