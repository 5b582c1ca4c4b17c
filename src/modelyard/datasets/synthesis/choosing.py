"""Which of several answers to one prompt stay: all, the first, or the one that most agree on.

Source of majority: Wang et al. (2022), self-consistency.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby

import msgspec

from modelyard.datasets.splits import split_key
from modelyard.datasets.synthesis.candidates import Candidate, Fault
from modelyard.datasets.synthesis.config import SynthesisConfig


def choose(candidates: Sequence[Candidate], config: SynthesisConfig) -> list[Fault]:
    """The candidates, prompt by prompt, each with the reason why it goes, if it does."""
    chosen: list[Fault] = []
    for _, group in groupby(candidates, key=lambda one: one.prompt.number):
        answers = list(group)
        if config.keep == "first":
            chosen += _first(answers)
        elif config.keep == "majority":
            chosen += _majority(answers, config.vote)
        else:
            chosen += [(one, "") for one in answers]
    return chosen


def _first(answers: Sequence[Candidate]) -> list[Fault]:
    first = answers[0].answer.sample
    return [(one, "" if one.answer.sample == first else f"not the first: sample {first} stays") for one in answers]


def _majority(answers: Sequence[Candidate], vote: str | None) -> list[Fault]:
    """The first of the answers that most agree on stays, with the votes; none where the first place is shared."""
    ballots = [_ballot(one.text, vote) for one in answers]
    counts = Counter(ballots).most_common(2)
    winner, most = counts[0]
    if len(counts) > 1 and counts[1][1] == most:
        return [(one, f"no majority: {most} of {len(answers)} answers agree at most") for one in answers]
    first = ballots.index(winner)
    judged: list[Fault] = []
    for place, (one, ballot) in enumerate(zip(answers, ballots, strict=True)):
        if place == first:
            judged.append((msgspec.structs.replace(one, votes=(most, len(answers))), ""))
        elif ballot == winner:
            judged.append((one, f"agrees: sample {answers[first].answer.sample} says the same and stays"))
        else:
            judged.append((one, f"outvoted: {most} of {len(answers)} answers say otherwise"))
    return judged


def _ballot(text: str, vote: str | None) -> str:
    """What an answer says, but for case, white space and a full stop; all of it, or what `vote` finds last."""
    found = list(re.finditer(vote, text)) if vote else []
    if found:
        text = found[-1][1] if found[-1].re.groups else found[-1][0]
    return split_key(text or "").rstrip(" .")
