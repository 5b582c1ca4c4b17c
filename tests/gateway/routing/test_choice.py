"""Who answers: the rollout's assignment, the preference, escalation and fallbacks, with the reason of each."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidInput
from modelyard.gateway.routing.choice import Chooser
from modelyard.gateway.routing.preference import confident
from modelyard.ports.serving import Breaker, Condition, Preference, Rule
from tests.gateway.routing.tables import chooser, facts, service, variant

LENGTH = Condition(attribute="prompt_chars", op="above", values=("1000",))


def preferring(*variants: str, quality: float = 0.9, **objectives: object) -> Chooser:
    names = variants or ("int8",)
    return chooser(
        variants=tuple(variant(name, quality=quality) for name in names),
        preference=Preference(order=(*names, "champion"), **objectives),
        breaker=Breaker(failures=3),
    )


def say(route: Chooser, name: str, now_s: float, *, waiting: float = 0.0, cache_use: float = 0.0) -> None:
    for replica in route.candidates[name].replicas.all:
        replica.load.take((waiting, 1.0, cache_use), now_s + 3.0)


def answer(route: Chooser, name: str, status: int, now_s: float, first_token_s: float = 0.0) -> None:
    replicas = route.candidates[name].replicas
    replica = replicas.pick(0, now_s)
    assert replica is not None
    replicas.finish(replica, status, started_s=now_s, now_s=now_s, first_token_s=first_token_s)


@pytest.mark.parametrize("weight_bp", [0, 1, 2500, 10_000])
def test_the_assignment_is_the_services_own(weight_bp):
    mine = service(challenger=variant("c"), weight_bp=weight_bp, salt="s")
    route = chooser(challenger=variant("c"), weight_bp=weight_bp, salt="s")
    for unit in map(str, range(500)):
        role, release, propensity = mine.assign(unit)
        choice = route.choose(facts(unit), 0.0)
        assert (choice.role, choice.variant, choice.propensity) == (role, release, propensity)
        assert choice.reason == ("rollout" if weight_bp else "champion")
        assert choice.in_rollout


def test_without_anything_the_champion_answers():
    choice = chooser().choose(facts(), 0.0)
    assert (choice.name, choice.role, choice.propensity, choice.reason) == ("champion", "champion", 1.0, "champion")


def test_the_cheapest_answers_where_there_is_no_objection():
    choice = preferring("int4", "int8").choose(facts(), 0.0)
    assert (choice.name, choice.role, choice.reason, choice.in_rollout) == (
        "int4",
        "alternative",
        "preferred int4",
        False,
    )


@pytest.mark.parametrize(("quality", "why"), [(0.7, "int8 quality 0.7 < 0.8"), (-1.0, "int8 quality unknown")])
def test_quality_below_or_unknown_is_passed_over(quality, why):
    choice = preferring(quality=quality, min_quality=0.8).choose(facts(), 0.0)
    assert (choice.name, choice.reason, choice.in_rollout) == ("champion", f"champion: {why}", True)


def test_a_deep_queue_is_passed_over_and_the_reason_has_the_numbers():
    route = preferring(max_queue=8)
    say(route, "int8", 100.0, waiting=14)
    assert route.choose(facts(), 100.0).reason == "champion: int8 queue 14 > 8"


def test_unknown_and_stale_readings_never_pass():
    route = preferring(max_cache_use=0.9)
    assert route.choose(facts(), 100.0).reason == "champion: int8 cache use unknown"
    say(route, "int8", 105.0, cache_use=0.5)
    assert route.choose(facts(), 105.0).name == "int8"
    assert route.choose(facts(), 107.9).name == "int8"
    assert route.choose(facts(), 108.1).name == "champion"
    say(route, "int8", 120.0, cache_use=-1.0)  # an engine that tells its queue and not its cache
    assert route.choose(facts(), 120.0).name == "champion"


def test_a_load_that_swings_around_the_limit_does_not_make_the_choice_flap():
    route = preferring(max_queue=8)
    names = []
    for tick in range(600):  # one minute, 0.1 s a tick
        now_s = 100.0 + tick * 0.1
        say(route, "int8", now_s, waiting=7 if tick % 2 else 9)
        names.append(route.choose(facts(), now_s).name)
    assert sum(a != b for a, b in pairwise(names)) <= 1
    flat = []
    for tick in range(50):
        now_s = 200.0 + tick * 0.1
        say(route, "int8", now_s, waiting=5)
        flat.append(route.choose(facts(), now_s).name)
    assert flat[0] == flat[-1] == "int8"


@given(st.lists(st.floats(0, 30), min_size=1, max_size=300))
def test_whatever_the_load_a_change_back_takes_two_seconds(loads):
    route = preferring(max_queue=8)
    left_s = None
    for tick, waiting in enumerate(loads):
        now_s = 100.0 + tick * 0.25
        say(route, "int8", now_s, waiting=waiting)
        name = route.choose(facts(), now_s).name
        if waiting > 8:
            assert name == "champion"
        if name == "champion":
            left_s = now_s if left_s is None else left_s
        elif left_s is not None:
            assert now_s - left_s >= 2.0
            left_s = None


def test_slow_first_tokens_are_passed_over():
    route = preferring(max_first_token_s=1.0)
    for _ in range(50):
        answer(route, "int8", 200, 100.0, first_token_s=2.0)
    choice = route.choose(facts(stream=True), 100.0)
    assert choice.name == "champion"
    assert choice.reason.startswith("champion: int8 first token 2")


def test_what_is_too_little_known_is_tried_once_a_second_until_it_is_measured():
    route = preferring(max_first_token_s=1.0)
    tried = []
    for tick in range(100):  # ten seconds, ten requests a second
        now_s = 100.0 + tick * 0.1
        choice = route.choose(facts(stream=True), now_s)
        tried.append(choice.reason)
        if choice.name == "int8":
            answer(route, "int8", 200, now_s, first_token_s=0.2)
    assert 5 <= tried.count("trying int8") <= 8
    assert tried[-1] == "preferred int8"
    assert route.choose(facts(), 100.0).name == "int8"


def test_what_is_known_to_be_slow_is_not_tried_for_its_errors():
    route = preferring(max_first_token_s=1.0, max_error_share=0.1)
    for _ in range(50):
        answer(route, "int8", 200, 100.0, first_token_s=2.0)
    choice = route.choose(facts(stream=True), 130.0)  # by then its errors are forgotten, its slowness is not
    assert choice.reason.startswith("champion: int8 first token")
    # Two minutes and a half later it is, and one request a second finds out.
    assert route.choose(facts(stream=True), 280.0).reason == "trying int8"


def test_only_a_stream_can_measure_first_tokens():
    route = preferring(max_first_token_s=1.0)
    assert route.choose(facts(stream=False), 100.0).reason == "champion: int8 too little known"
    assert route.choose(facts(stream=True), 100.0).reason == "trying int8"


def test_errors_are_passed_over_and_a_variant_that_is_down_too():
    route = preferring(max_error_share=0.1)
    for index in range(20):
        answer(route, "int8", 500 if index % 5 == 0 else 200, 100.0)
    assert route.choose(facts(), 100.0).reason == "champion: int8 errors 0.2 > 0.1"
    for _ in range(3):
        answer(route, "int8", 500, 101.0)
    assert route.choose(facts(), 101.2).reason == "champion: int8 down"


def test_a_condition_escalates_to_the_next():
    route = preferring("int4", "int8", escalate=(LENGTH,))
    assert route.needs == {"prompt_chars"}
    assert route.choose(facts(prompt_chars=1001), 0.0).reason == "escalated prompt_chars"
    assert route.choose(facts(prompt_chars=1001), 0.0).name == "int8"
    assert route.choose(facts(prompt_chars=10), 0.0).name == "int4"


def difficulty(text: str) -> float:
    if text == "break":
        raise ValueError(text)
    return 0.9 if "prove" in text else 0.1


def test_a_classifier_escalates_and_its_failures_count_as_no():
    route = preferring(classifier=f"{__name__}:difficulty", max_difficulty=0.5)
    assert route.needs == {"text"}
    assert route.choose(facts(text=lambda: "prove it"), 0.0).reason == "escalated difficulty"
    assert route.choose(facts(text=lambda: "hello"), 0.0).reason == "preferred int8"
    assert route.choose(facts(text=lambda: "break"), 0.0).reason == "preferred int8"
    assert route.preferred is not None
    assert route.preferred.num_classifier_failures == 1


@pytest.mark.parametrize("name", ["nowhere:x", "math:nothing", "math:pi", "math", ""])
def test_a_classifier_that_cannot_be_loaded_is_refused(name):
    if name:
        with pytest.raises(InvalidInput, match="classifier"):
            preferring(classifier=name)
    else:
        assert preferring(classifier=name)


def test_what_the_preference_keeps_from_the_champion_counts_for_no_arm_of_a_rollout():
    preference = Preference(order=("int8", "champion"), escalate=(LENGTH,))
    route = chooser(
        variants=(variant("int8"),), challenger=variant("c"), weight_bp=5000, salt="s", preference=preference
    )
    for unit in map(str, range(200)):
        easy, hard = (route.choose(facts(unit, prompt_chars=chars), 0.0) for chars in (10, 2000))
        assert not easy.in_rollout
        assert hard.in_rollout
        assert hard.name in ("champion", "challenger")
        assert hard.propensity == 0.5
        assert (easy.name == "challenger") is (hard.name == "challenger")  # sticky whatever is asked


def test_after_an_unsure_answer_the_next_variant_answers():
    route = preferring("int4", "int8", min_confidence=0.8)
    first = route.choose(facts(), 0.0)
    second = route.escalate(first)
    assert second is not None
    assert (second.name, second.reason, second.in_rollout) == ("int8", "escalated confidence", False)
    third = route.escalate(second)
    assert third is not None
    assert third.name == "champion"
    assert route.escalate(third) is None
    assert chooser().escalate(chooser().choose(facts(), 0.0)) is None
    ruled = chooser(
        variants=(variant("int8"),),
        preference=Preference(order=("int8", "champion")),
        rules=(Rule(name="pin", variant="int8"),),
    )
    assert ruled.escalate(ruled.choose(facts(), 0.0)) is None


@pytest.mark.parametrize(
    ("logprobs", "sure"),
    [
        ([math.log(0.9), math.log(0.8)], True),
        ([math.log(0.9), math.log(0.6)], False),
        ([], False),
        (None, False),
        ([float("nan")], False),
        ([-math.inf], False),
        ([0.0, 1e9], True),
    ],
)
def test_confidence_is_the_mean_probability_and_unknown_is_not_confident(logprobs, sure):
    assert confident(logprobs, Preference(order=("a",), min_confidence=0.8)) is sure
    assert confident(logprobs, Preference(order=("a",)))


def test_fallbacks_come_in_order_then_the_champion_and_skip_what_is_down():
    route = chooser(
        variants=(variant("int8"), variant("vendor")),
        fallbacks=("vendor", "challenger", "int8"),
        breaker=Breaker(failures=1),
    )
    order, failed = [], ["champion"]
    while choice := route.fallback_after(failed, "upstream_timeout", 0.0):
        assert choice.reason == "fallback after upstream_timeout"
        order.append(choice.name)
        failed.append(choice.name)
    assert order == ["vendor", "int8"]
    answer(route, "vendor", 500, 0.0)
    again = route.fallback_after(["champion"], "x", 1.0)
    assert again is not None
    assert again.name == "int8"


def test_a_challenger_that_fails_falls_back_to_the_champion_outside_the_rollout():
    route = chooser(challenger=variant("c"), weight_bp=10_000)
    choice = route.fallback_after(["challenger"], "upstream_502", 0.0)
    assert choice is not None
    assert (choice.name, choice.in_rollout) == ("champion", False)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"fallbacks": ("int4",)}, "'int4'"),
        ({"variants": (variant("champion"),)}, "named 'champion'"),
        ({"variants": (variant("a"), variant("a"))}, "named 'a'"),
        ({"variants": (variant(""),)}, "named ''"),
        ({"preference": Preference(order=("int4",))}, "'int4'"),
        ({"preference": Preference(order=())}, "of nothing"),
        ({"preference": Preference(order=("champion", "champion"))}, "champion, champion"),
        ({"preference": Preference(order=("champion",), escalate=(Condition(attribute="x", values=("1",)),))}, "'x'"),
        ({"champion": variant(engine_url="http://[::1")}, "no URL"),
    ],
)
def test_a_table_that_names_what_is_not_there_is_refused(changes, says):
    with pytest.raises(InvalidInput, match="support") as refused:
        chooser(**changes)
    assert says in str(refused.value)


def test_rules_go_before_the_rollout_and_the_preference():
    route = chooser(
        variants=(variant("int8"),),
        challenger=variant("c"),
        weight_bp=10_000,
        preference=Preference(order=("int8", "champion")),
        rules=(Rule(name="pin", variant="champion", when=(Condition(attribute="tenant", values=("acme",)),)),),
    )
    assert route.choose(facts(tenant="acme"), 0.0).reason == "rule pin"
    assert route.choose(facts(tenant="x"), 0.0).name == "challenger"
