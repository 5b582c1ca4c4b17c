"""What callers said of an answer: its score, and the right answer."""

from collections.abc import Sequence

import msgspec

from modelyard.ports.interaction import Feedback, Interaction
from modelyard.ports.records import ReviewedInteraction


class Opinion(msgspec.Struct, frozen=True, kw_only=True):
    """The newest that was said. `score` is None where nothing was.

    `is_wrong` says that the right answer is another than the given one; `right` is its text, empty where only its hash
    was kept, or none was given.
    """

    score: float | None = None
    right: str = ""
    is_wrong: bool = False


def opinion_on(one: ReviewedInteraction, metric: str) -> Opinion:
    """What the interaction's own tenant said of it; an answer's id may be known to others, who could teach falsehoods.

    The right answer counts whatever its metric, and for a shadow too where it was given for the interaction that the
    shadow copies. A score is that of the metric; a right answer is a score of 1 or 0.
    """
    given = one.interaction
    said = [feedback for feedback in one.feedback if feedback.tenant == given.tenant]
    answers = [feedback for feedback in said if feedback.expected_hash]
    score = _score(given, [feedback for feedback in said if feedback.metric == metric])
    if not answers:
        return Opinion(score=score)
    newest = answers[-1]
    is_same = newest.expected_hash == given.answer_hash
    return Opinion(
        score=score, right=newest.expected or (given.answer.strip() if is_same else ""), is_wrong=not is_same
    )


def _score(given: Interaction, said: Sequence[Feedback]) -> float | None:
    for feedback in reversed(said):
        if feedback.score >= 0 and feedback.interaction_id == given.id:
            return feedback.score
        if feedback.expected_hash and given.answer_hash:
            return float(feedback.expected_hash == given.answer_hash)
    return None
