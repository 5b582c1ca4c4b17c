"""Evidence: what the recorded interactions of a rollout say about its two sides. Knows nothing of decisions."""

from collections.abc import Iterable

import msgspec

from modelyard.ports.interaction import Interaction
from modelyard.ports.records import ScoredInteraction
from modelyard.ports.rollout import Rollout

# What an engine says of the caller's own request: too long, or asking for what it cannot do.
_OF_CALLER = ("upstream_400", "upstream_413", "upstream_422")


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a rollout.

    `scores` are those of its canary answers over the whole rollout: assignment is sticky and the releases do not
    change, so earlier steps still count. `shadow_scores` are those of shadowed requests, pair by pair with the other
    side's, and a body of evidence of their own. `scored`, `answered` and `failed` count within the current step.
    """

    scores: tuple[float, ...] = ()
    shadow_scores: tuple[float, ...] = ()
    scored: int = 0
    answered: int = 0
    failed: int = 0


class _Tally:
    """One side while it is being counted."""

    def __init__(self) -> None:
        self.scores: list[float] = []
        self.shadow_scores: list[float] = []
        self.scored = 0
        self.answered = 0
        self.failed = 0

    def arm(self) -> Arm:
        return Arm(
            scores=tuple(self.scores),
            shadow_scores=tuple(self.shadow_scores),
            scored=self.scored,
            answered=self.answered,
            failed=self.failed,
        )


def gather(rollout: Rollout, interactions: Iterable[ScoredInteraction]) -> tuple[Arm, Arm]:
    """The champion's and the challenger's arm.

    Only answers given under this rollout by its own two releases count. A champion's answer is canary evidence where
    the lot could have fallen the other way (propensity below 1); one with a shadow is half of a pair. A failed answer
    has no score: failing is judged apart.
    """
    champion, challenger = _Tally(), _Tally()
    champion_scores: dict[str, float] = {}
    shadows: dict[str, ScoredInteraction] = {}
    for scored in interactions:
        given = scored.interaction
        if given.rollout_id != rollout.id or given.release != _release_of(rollout, given):
            continue
        tally = champion if given.role == "champion" else challenger
        in_step = given.at_ms >= rollout.step_started_ms
        _count(tally, given, in_step=in_step)
        if scored.score < 0 or given.status >= 400 or given.error:
            continue
        if given.role == "shadow":
            shadows.setdefault(given.shadow_of, scored)
            continue
        if given.role == "champion":
            champion_scores[given.id] = scored.score
        if given.propensity < 1.0:
            tally.scores.append(scored.score)
            tally.scored += in_step and _step_kind(rollout) == "canary"
    _pair(rollout, champion, challenger, champion_scores, shadows)
    return champion.arm(), challenger.arm()


def _pair(
    rollout: Rollout,
    champion: _Tally,
    challenger: _Tally,
    champion_scores: dict[str, float],
    shadows: dict[str, ScoredInteraction],
) -> None:
    for shadowed, scored in shadows.items():
        if shadowed not in champion_scores:
            continue
        champion.shadow_scores.append(champion_scores[shadowed])
        challenger.shadow_scores.append(scored.score)
        if _step_kind(rollout) == "shadow" and scored.interaction.at_ms >= rollout.step_started_ms:
            champion.scored += 1
            challenger.scored += 1


def _count(tally: _Tally, given: Interaction, *, in_step: bool) -> None:
    """Count an answer or a failure; a client's own mistake or disconnection (4xx, 499) says nothing of the release.

    Another 4xx that the engine gave (`upstream_429`) is the release's.
    """
    of_engine = given.error.startswith("upstream_") and given.error not in _OF_CALLER
    if not in_step or (400 <= given.status < 500 and not of_engine):
        return
    tally.answered += 1
    tally.failed += given.status >= 400 or bool(given.error)


def _release_of(rollout: Rollout, given: Interaction) -> str:
    return rollout.champion if given.role == "champion" else rollout.challenger


def _step_kind(rollout: Rollout) -> str:
    return rollout.plan.steps[rollout.step].kind
