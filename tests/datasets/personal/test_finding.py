"""Personal data: what is found, what only looks like it, and what becomes of it."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.personal.cards import luhn_valid
from modelyard.core.personal.ibans import iban_valid
from modelyard.datasets.personal.finding import find_in_all, find_personal_data
from modelyard.datasets.personal.masking import mask
from modelyard.datasets.texts import Texts
from modelyard.demo import messages


def masked(text: str) -> str:
    return mask(text, find_personal_data(text))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("write to anna.b+shop@mail.example.co.uk, please", "write to [EMAIL], please"),
        ("Mail:o'neil@example.com.", "Mail:o'[EMAIL]."),
        ("j\u00f6rg@example.de!", "[EMAIL]!"),
        ("call +44 7700 900123 or (212) 555-0123", "call [PHONE] or [PHONE]"),
        ("020 7946 0123, 07700900123, 01 23 45 67 89", "[PHONE], [PHONE], [PHONE]"),
        ("+49 (0)30 901820 / 212-555-0198 / 0151/23456789", "[PHONE] / [PHONE] / [PHONE]"),
        ("call me on 5550123456", "call me on [PHONE]"),
        ("card 4111 1111 1111 1111, exp 12/27", "card [CARD], exp 12/27"),
        ("4111-1111-1111-1111 2026", "[CARD] 2026"),
        ("amex 378282246310005 and 5555555555554444.", "amex [CARD] and [CARD]."),
        ("order 1234 4111 1111 1111 1111", "order 1234 [CARD]"),
        ("IBAN DE89 3704 0044 0532 0130 00 PLEASE", "IBAN [IBAN] PLEASE"),
        ("gb29nwbk60161331926819", "[IBAN]"),
        ("from 192.168.17.4 and 2001:db8::8a2e:370:7334.", "from [IP] and [IP]."),
        ("key sk-abcdefghijklmnopqrstuvwx0123", "key [KEY]"),
        ("AKIAIOSFODNN7EXAMPLE ghp_0123456789abcdefghijklmnopqrstuvwxyz", "[KEY] [KEY]"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl here", "token [KEY] here"),
    ],
)
def test_masks(text: str, clean: str) -> None:
    assert masked(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "order HC-12345678 and no. 485343",
        "order number 20794601234",
        "tracking 4111 1111 1111 1112",
        "parcel code JD0123456789012345",
        "version 2.4.1 of the app, build 10.4.19.2, v1.2.3.4",
        "on 2026-11-05 at 14:30:15, or 5/11/2026",
        "item no. 0983-2522",
        "the total was 1,234.56 or 12.345,00",
        "@harbourco on 127.0.0.1 and ::1",
        "std::vector a::b and 12:30",
        "ticket 0123456789",
        "isbn 978-3-16-148410-0",
        "DE89 3704 0044 0532 0130 01",
        "4,111,111,111,111,111 grains",
        "2019-2020 2021-2022",
        "open 0900-0130 hours",
        "sk-8 and gh_pages and my_sk_live_thing",
        "meet @ 5 @ home",
        "1 2 3 4 5 6 7 8 9 10 11 12 13",
    ],
)
def test_lookalikes_survive(text: str) -> None:
    assert masked(text) == text


def test_recall_and_precision_on_generated_messages() -> None:
    """Per kind on the demonstration's generator; look-alikes and clean messages are the negatives."""
    rng = random.Random(1)
    for kind, (make, frames) in messages._PERSONAL.items():
        for _ in range(300):
            value = make(rng)
            text = messages._append("Hello there", rng.choice(frames).format(value))
            assert [(text[start:end], found) for start, end, found in find_personal_data(text)] == [(value, kind)]
    negatives = [messages._append("Hello there", messages._lookalike(rng)) for _ in range(2000)]
    negatives += [text for text, _ in messages.generate_messages(seed=5, num_rows=3000)]
    assert [text for text in negatives if find_personal_data(text)] == []


@given(st.lists(st.sampled_from("0123456789 -.+()@:abcdefDEGBskx_/"), max_size=40).map("".join))
@settings(max_examples=500, deadline=None)
def test_masking_is_whole_and_done_at_once(text: str) -> None:
    spans = find_personal_data(text)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    if spans:
        assert find_in_all(Texts.of(["", text])) == {1: spans}
    once = masked(text)
    assert len(spans) == sum(
        once.count(f"[{kind}]") for kind in ("EMAIL", "PHONE", "CARD", "IBAN", "IP", "KEY", "NATIONAL_ID")
    )


@given(st.text(st.sampled_from("0123456789"), min_size=12, max_size=18))
def test_luhn_has_one_right_check_digit(body: str) -> None:
    assert sum(luhn_valid(body + digit) for digit in "0123456789") == 1


def test_iban_finds_swapped_digits() -> None:
    assert iban_valid("DE89370400440532013000")
    assert not iban_valid("DE89370400440532031000")
    assert not iban_valid("DE8937040044053201300")
    assert not iban_valid("ZZ89370400440532013000")


def test_long_hostile_text_is_searched_quickly() -> None:
    for text in ("a@" * 20_000, "1-" * 20_000, "0" * 40_000, "DE89" * 10_000, "a." * 20_000 + "@", ":" * 40_000):
        find_personal_data(text)
