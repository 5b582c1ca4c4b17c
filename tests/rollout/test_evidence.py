"""Which recorded interactions count for which side, and for what."""

import pytest

from modelyard.rollout.evidence import Arm, gather
from modelyard.rollout.machine import Decision, advance
from tests.rollout.rollouts import CANARY, CHAMPION, HALF, SHADOW, make_interaction, make_rollout, score


def test_canary_answers_go_to_their_sides() -> None:
    rollout = make_rollout(CANARY)
    found = [
        score(make_interaction("a", rollout_id=rollout.id), 1.0),
        score(make_interaction("b", "challenger", rollout_id=rollout.id), 0.0),
        score(make_interaction("c", rollout_id=rollout.id)),
        score(make_interaction("d", "challenger", rollout_id=rollout.id), 0.5),
    ]
    champion, challenger = gather(rollout, found)
    assert champion == Arm(scores=(1.0,), scored=1, answered=2)
    assert challenger == Arm(scores=(0.0, 0.5), scored=2, answered=2)


def test_shadows_are_paired_whatever_came_first() -> None:
    rollout = make_rollout(SHADOW)
    found = [
        score(make_interaction("s1", "shadow", rollout_id=rollout.id, shadow_of="a"), 0.0),
        score(make_interaction("a", rollout_id=rollout.id, propensity=1.0), 1.0),
        score(make_interaction("b", rollout_id=rollout.id, propensity=1.0), 1.0),
        score(make_interaction("s2", "shadow", rollout_id=rollout.id, shadow_of="b")),
        score(make_interaction("c", rollout_id=rollout.id, propensity=1.0)),
        score(make_interaction("s3", "shadow", rollout_id=rollout.id, shadow_of="c"), 1.0),
        score(make_interaction("s4", "shadow", rollout_id=rollout.id, shadow_of="never recorded"), 1.0),
    ]
    champion, challenger = gather(rollout, found)
    assert champion == Arm(shadow_scores=(1.0,), scored=1, answered=3)
    assert challenger == Arm(shadow_scores=(0.0,), scored=1, answered=4)


def test_a_shadow_counts_once_however_often_it_was_sent() -> None:
    rollout = make_rollout(SHADOW)
    found = [score(make_interaction("a", rollout_id=rollout.id, propensity=1.0), 1.0)]
    found += [
        score(make_interaction(f"s{n}", "shadow", rollout_id=rollout.id, shadow_of="a"), float(n)) for n in range(2)
    ]
    assert gather(rollout, found)[1].shadow_scores == (0.0,)


def test_steps_keep_scores_but_start_counting_anew() -> None:
    rollout = advance(make_rollout(SHADOW, CANARY, HALF), Decision(kind="advance", reason=""), now_ms=100)
    rollout = advance(rollout, Decision(kind="advance", reason=""), now_ms=200)
    found = [
        score(make_interaction("p", rollout_id=rollout.id, propensity=1.0, at_ms=50), 1.0),
        score(make_interaction("s", "shadow", rollout_id=rollout.id, shadow_of="p", at_ms=50), 1.0),
        score(make_interaction("a", rollout_id=rollout.id, at_ms=150), 1.0),
        score(make_interaction("b", "challenger", rollout_id=rollout.id, at_ms=150, status=500)),
        score(make_interaction("c", "challenger", rollout_id=rollout.id, at_ms=199), 0.0),
        score(make_interaction("d", "challenger", rollout_id=rollout.id, at_ms=200), 1.0),
    ]
    champion, challenger = gather(rollout, found)
    assert champion == Arm(scores=(1.0,), shadow_scores=(1.0,))
    assert challenger == Arm(scores=(0.0, 1.0), shadow_scores=(1.0,), scored=1, answered=1)


@pytest.mark.parametrize(
    ("changes", "answered", "failed"),
    [
        ({"status": 200}, 1, 0),
        ({"status": 500}, 1, 1),
        ({"status": 503, "error": "engine down"}, 1, 1),
        ({"status": 200, "error": "broke off in the middle"}, 1, 1),
        ({"status": 400}, 0, 0),
        ({"status": 404, "error": "upstream_404"}, 1, 1),
        ({"status": 503, "error": "upstream_404"}, 1, 1),
        ({"status": 400, "error": "upstream_400"}, 0, 0),
        ({"status": 429, "error": "upstream_429"}, 1, 1),
        ({"status": 429, "error": "rate_limit_exceeded"}, 0, 0),
        ({"status": 499, "error": "client went away"}, 0, 0),
    ],
)
def test_failures_are_the_servers_own(changes: dict, answered: int, failed: int) -> None:
    rollout = make_rollout(CANARY)
    interaction = make_interaction("a", "challenger", rollout_id=rollout.id, **changes)
    _, challenger = gather(rollout, [score(interaction, 1.0)])
    assert (challenger.answered, challenger.failed) == (answered, failed)
    assert len(challenger.scores) == answered - failed


@pytest.mark.parametrize(
    "changes", [{"rollout_id": "another"}, {"rollout_id": ""}, {"release": CHAMPION}, {"release": "sha256:cc"}]
)
def test_strangers_do_not_count(changes: dict) -> None:
    rollout = make_rollout(CANARY)
    interaction = make_interaction("a", "challenger", **({"rollout_id": rollout.id} | changes))
    assert gather(rollout, [score(interaction, 1.0)]) == (Arm(), Arm())
