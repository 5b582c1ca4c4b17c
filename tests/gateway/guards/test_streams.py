"""However a text is cut into pieces, what goes out is the whole text filtered, and little waits."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.personal.finding import find_personal_data
from modelyard.core.personal.spans import mask
from modelyard.gateway.errors import Refusal
from modelyard.gateway.guards.deny import MAX_MATCH_CHARS, Denied
from modelyard.gateway.guards.filters import Guards
from modelyard.gateway.guards.personal import PersonalData
from modelyard.gateway.guards.tails import Finder, Tail
from modelyard.ports.serving import Filter

PRIVATE = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7bq\nVr7p9fF3\n-----END RSA PRIVATE KEY-----"
THINGS = [
    "ana@example.com", "Bob.Smith+x@mail.example.co.uk", "4111 1111 1111 1111", "5500-0000-0000-0004",
    "378282246310005",
    "DE89 3704 0044 0532 0130 00", "GB82 WEST 1234 5698 7654 32", "123-45-6789", "AB 12 34 56 C", "+49 170 1234567",
    "(415) 555-2671", "call me on 5551234567", "order number 5551234567", "192.168.10.4", "version 10.2.3.4",
    "2001:db8::8a2e:370:7334", "sk-proj-abcdefghijklmnop1234", "AKIAIOSFODNN7EXAMPLE", "password: Xk7!pq29Zt",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789", PRIVATE, "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4",
    "my SSN is 123456789", "the pesel 44051401359", "12.34.56", "1 2 3 4 5 6 7 8 9", "3.14159", "AB ", "DE89", "4111",
    "sk-", "-----BEGIN", "@", "user@", "password", "secret :", "(", "+", "0", "00", "eyJ", ":", "::1", "Tel", "1 (",
]  # fmt: skip
WORDS = ["the", "quick", "Fox", "is", "at", "Paris,", "über", "naïve", "你好", "世界。", "don't", "x" * 70, "end."]
GAPS = [" ", " ", " ", "", "\n", ", ", "-", ".", "  ", "\t", '"', "/", ": "]
TEXTS = st.lists(st.tuples(st.sampled_from(THINGS + WORDS), st.sampled_from(GAPS)), max_size=14).map(
    lambda parts: "".join(word + gap for word, gap in parts)
)


def run(finder: Finder, pieces: list[str]) -> tuple[str, int]:
    """What goes out, masked, and the most that was ever held back."""
    tail, out, most = Tail(finder), [], 0
    for piece in pieces:
        out.append(mask(*tail.feed(piece)))
        most = max(most, len(tail.held))
    out.append(mask(*tail.finish()))
    return "".join(out), most


def cut(text: str, seed: int) -> list[str]:
    dice, pieces = random.Random(seed), []
    while text:
        size = dice.choice((1, 1, 2, 3, 5, 8, 13, 40))
        pieces.append(text[:size])
        text = text[size:]
    return pieces


@given(text=TEXTS, seed=st.integers(0, 9999))
@settings(max_examples=200, deadline=None)
def test_personal_data_is_found_in_pieces_as_in_the_whole(text: str, seed: int) -> None:
    whole = mask(text, find_personal_data(text))
    for pieces in (cut(text, seed), list(text), [text]):
        out, most = run(PersonalData(), pieces)
        assert out == whole
        # The longest thing in these texts is the private key.
        assert most <= 240


DENIED = Denied(
    ["forbidden", "black lotus", "foo", "food"], [r"[A-Z]{3}-\d+", r"\bacct\s+\w+\b", r"<[^>]*>", "a+b", r"\{.*?\}"]
)
DENY_PARTS = "forbidden for bidden black lotus Black_Lotus foo food foods ABC- 12 acct < > <b> { } {} aaa ab b _ _ -"
DENY_TEXTS = st.lists(st.sampled_from([*DENY_PARTS.split(" "), "\u0130", "\u017f"]), max_size=30).map(
    lambda parts: "".join(parts).replace("_", " ")
)


@given(text=DENY_TEXTS, seed=st.integers(0, 9999))
@settings(max_examples=200, deadline=None)
def test_what_is_denied_is_found_in_pieces_as_in_the_whole(text: str, seed: int) -> None:
    whole = mask(text, DENIED.find(text, 0))
    for pieces in (cut(text, seed), list(text)):
        assert run(DENIED, pieces)[0] == whole


@pytest.mark.parametrize("text", ["<" + "x" * 3000 + "> foo", "a" * 2500 + "b", "<" * 1500 + ">" * 10])
def test_a_match_without_end_holds_back_no_more_than_its_bound(text: str) -> None:
    out, most = run(DENIED, cut(text, 1))
    assert out == mask(text, DENIED.find(text, 0))
    assert MAX_MATCH_CHARS / 2 < most <= MAX_MATCH_CHARS + 3


def test_what_is_found_for_good_does_not_wait() -> None:
    tail = Tail(PersonalData())
    out = tail.feed(PRIVATE + " was the key. And then some more.")
    assert mask(*out) == "[KEY] was the key. And then some "
    braces = Tail(Denied([], [r"\{.*?\}"]))
    assert mask(*braces.feed("{a} and the rest")) == "[DENIED] and the rest"


@pytest.mark.parametrize("unit", ["aZ9_", "你好世界", "123 456 789 ", "1", "a.", "AB ", "-", "Wort", "x@", ":", "0 "])
def test_a_text_without_an_end_in_sight_goes_on_flowing(unit: str) -> None:
    text = unit * (4000 // len(unit))
    out, most = run(PersonalData(), cut(text, 2))
    assert out == mask(text, find_personal_data(text))
    assert most <= 700


def test_a_key_that_never_ends_is_let_go_at_its_bound() -> None:
    text = "-----BEGIN PRIVATE KEY-----\n" + "QUJD\n" * 2400
    out, most = run(PersonalData(), cut(text, 3))
    assert out == text
    assert most <= 10_200


def test_plain_words_wait_only_for_their_own_end() -> None:
    tail = Tail(PersonalData())
    assert [tail.feed(piece)[0] for piece in ["The", " quick", " brown", " fox.", "\n", "Then"]] == [
        "",
        "The ",
        "quick ",
        "brown ",
        "fox.\n",
        "",
    ]
    assert tail.finish()[0] == "Then"


def test_denied_words_hold_back_nothing_that_is_no_beginning_of_one() -> None:
    tail = Tail(Denied(["forbidden"], []))
    assert [tail.feed(piece)[0] for piece in ["All", " is", " for", "d", " well"]] == [
        "All",
        " is",
        " ",
        "ford",
        " well",
    ]


def build(*filters: Filter) -> Guards:
    guards = Guards.build(filters)
    assert guards is not None
    return guards


@given(seed=st.integers(0, 9999))
@settings(max_examples=60, deadline=None)
def test_a_refusal_comes_before_any_of_what_was_refused(seed: int) -> None:
    text = "You may write to ana@example.com for more."
    guards = build(Filter(kind="personal_data", action="refuse"))
    answer, out = guards.answer(), ""
    assert answer is not None
    for piece in [*cut(text, seed), None]:
        fed = answer.finish(0) if piece is None else answer.feed(0, piece)
        if isinstance(fed, Refusal):
            assert (fed.status, fed.code) == (400, "content_filter")
            assert "example" not in str(fed)
            break
        out += fed
    else:
        raise AssertionError("nothing was refused")
    assert text.startswith(out)
    assert "ana" not in out


def test_a_filter_that_only_notes_holds_nothing_back() -> None:
    guards = build(Filter(kind="personal_data", action="log"))
    answer = guards.answer()
    assert answer is not None
    assert [answer.feed(0, piece) for piece in ["ana@exa", "mple.com ", "x"]] == ["ana@exa", "mple.com ", "x"]
    assert answer.finish(0) == ""
    assert guards.findings == {("personal_data", "email"): 1}


def test_choices_and_parts_are_texts_of_their_own_and_filters_follow_each_other() -> None:
    guards = build(
        Filter(kind="personal_data", action="mask"),
        Filter(kind="deny", action="mask", options={"words": "[email],bad"}),
    )
    answer = guards.answer()
    assert answer is not None
    out = {0: "", 1: ""}
    for choice, piece in [(0, "ana@"), (1, "not so ba"), (0, "example.com is"), (1, "d at all")]:
        fed = answer.feed(choice, piece)
        assert isinstance(fed, str)
        out[choice] += fed
    assert answer.feed(0, "her", "reasoning_content") == ""
    assert answer.open_choices() == [0, 1]
    for choice in out:
        rest = answer.finish(choice)
        assert isinstance(rest, str)
        out[choice] += rest
    assert out == {0: "[DENIED] is", 1: "not so [DENIED] at all"}
    assert answer.open_parts(0) == ["reasoning_content"]


def test_an_answer_that_is_too_long_is_cut_or_refused() -> None:
    cutting = build(Filter(kind="max_chars", action="mask", options={"limit": "5"})).answer()
    refusing = build(Filter(kind="max_chars", options={"limit": "5"})).answer()
    assert cutting is not None
    assert refusing is not None
    assert [cutting.feed(0, piece) for piece in ["abc", "def", "ghi"]] == ["abc", "de", ""]
    assert refusing.feed(0, "abcde") == "abcde"
    assert isinstance(refusing.feed(0, "f"), Refusal)
