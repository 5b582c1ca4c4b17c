"""Rules: what each condition holds of, which shares go where, and what is refused when a table is taken."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidInput
from modelyard.gateway.routing.patterns import MAX_CHARS, compile_pattern
from modelyard.gateway.routing.rules import compile_condition
from modelyard.ports.serving import Condition, Rule
from tests.gateway.routing.tables import chooser, facts, variant

REQUEST = facts(
    tenant="acme",
    key="key-1",
    user="ann@acme.com",
    session="s-7",
    endpoint="messages",
    stream=True,
    prompt_chars=1200,
    headers={b"x-plan": b"gold"},
)


@pytest.mark.parametrize(
    ("attribute", "op", "values", "holds"),
    [
        ("tenant", "in", ("acme", "other"), True),
        ("tenant", "in", ("other",), False),
        ("tenant", "not_in", ("other",), True),
        ("key", "not_in", ("key-1",), False),
        ("user", "ends_with", ("@acme.com",), True),
        ("user", "starts_with", ("bob", "ann"), True),
        ("user", "matches", (r"^[^@]+@acme\.(com|org)$",), True),
        ("user", "matches", ("^bob",), False),
        ("session", "exists", (), True),
        ("endpoint", "in", ("messages",), True),
        ("stream", "in", ("true",), True),
        ("prompt_chars", "above", ("1199",), True),
        ("prompt_chars", "above", ("1200",), False),
        ("prompt_chars", "below", ("1201",), True),
        ("header:x-plan", "in", ("gold",), True),
        ("header:x-none", "exists", (), False),
        ("header:x-none", "not_in", ("gold",), True),
    ],
)
def test_each_condition_holds_of_what_it_says(attribute, op, values, holds):
    assert compile_condition(Condition(attribute=attribute, op=op, values=values), "here")(REQUEST) is holds


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (Rule(name="r", variant="int4"), "sends to 'int4'"),
        (Rule(name="", variant="champion"), "no name of its own"),
        (Rule(name="r", variant="champion", share_bp=10_001), "share of 10001"),
        (Rule(name="r", variant="champion", when=(Condition(attribute="colour", values=("x",)),)), "'colour'"),
        (Rule(name="r", variant="champion", when=(Condition(attribute="header:X", values=("x",)),)), "lower case"),
        (Rule(name="r", variant="champion", when=(Condition(attribute="user"),)), "with nothing"),
        (Rule(name="r", variant="champion", when=(Condition(attribute="user", op="matches", values=("(",)),)), "none"),
        (Rule(name="r", variant="champion", when=(Condition(attribute="user", op="above", values=("1",)),)), "whole"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused_with_its_place(rule, says):
    with pytest.raises(InvalidInput, match=r"rule '.*' of service 'support'") as refused:
        chooser(rules=(rule,))
    assert says in str(refused.value)


def test_the_first_rule_that_fires_decides_and_says_so():
    rules = (
        Rule(name="gold", variant="int8", when=(Condition(attribute="tenant", values=("acme",)),)),
        Rule(name="rest", variant="champion"),
    )
    route = chooser(rules=rules, variants=(variant("int8"),))
    choice = route.choose(facts(tenant="acme"), 0.0)
    assert (choice.name, choice.role, choice.reason) == ("int8", "alternative", "rule gold")
    assert not choice.in_rollout
    assert route.choose(facts(tenant="other"), 0.0).reason == "rule rest"


def test_a_rule_to_the_challenger_sleeps_while_there_is_none():
    rules = (Rule(name="beta", variant="challenger"),)
    assert chooser(rules=rules).choose(facts(), 0.0).reason == "champion"
    with_one = chooser(rules=rules, challenger=variant("c"))
    assert with_one.choose(facts(), 0.0).role == "challenger"


def test_shares_are_sticky_grow_by_adding_and_differ_between_rules():
    def units(name: str, share_bp: int) -> set[str]:
        route = chooser(rules=(Rule(name=name, variant="int8", share_bp=share_bp),), variants=(variant("int8"),))
        return {unit for unit in map(str, range(4000)) if route.choose(facts(unit), 0.0).name == "int8"}

    small, large, other = units("a", 1000), units("a", 3000), units("b", 3000)
    assert small < large
    assert 0.26 < len(large) / 4000 < 0.34
    assert 0.06 < len(large & other) / 4000 < 0.12  # independent: 9%


EVIL = ["(a+)+$", "(a|aa)+$", "(a|a?)+$", "(.*)*x", "(a?){30}a{30}", "a?" * 25 + "a" * 25, ".*a.*b.*c", r"(\w+\s?)*$"]


@pytest.mark.parametrize("text", EVIL)
def test_a_pattern_that_can_take_long_is_refused(text):
    with pytest.raises(InvalidInput, match="can take long"):
        compile_pattern(text, "here")


@pytest.mark.parametrize(
    "text", [r"^gpt-.*-mini$", r"^[^@]+@acme\.com$", "beta|alpha", r"^\d{3,5}-[a-z]+$", "foo", "^a*b*$"]
)
def test_patterns_of_everyday_use_are_taken(text):
    assert compile_pattern(text, "here").pattern == text


@given(st.text(alphabet="ab*+?()|.^$x{}2,", max_size=12), st.text(alphabet="abx", max_size=6))
def test_no_pattern_that_is_taken_takes_long(text, seed):
    try:
        pattern = compile_pattern(text, "here")
    except InvalidInput:
        return
    for value in ((seed or "a") * MAX_CHARS)[:MAX_CHARS], "a" * (MAX_CHARS - 1) + "!":
        began_s = time.process_time()
        pattern.search(value)
        assert time.process_time() - began_s < 1.0  # the refused ones take years


def test_values_longer_than_the_bound_match_nothing():
    holds = compile_condition(Condition(attribute="user", op="matches", values=("^a",)), "here")
    assert holds(facts(user="a" * MAX_CHARS))
    assert not holds(facts(user="a" * (MAX_CHARS + 1)))


def test_the_bound_counts_what_the_standard_matcher_counts():
    # The slowest pattern that is taken, on the text that is worst for it.
    pattern = compile_pattern("^a*a*$", "here")
    began_s = time.process_time()
    assert pattern.search("a" * 255 + "!") is None
    assert time.process_time() - began_s < 0.5
    assert re.compile("^a*a*$").search("aaa")
