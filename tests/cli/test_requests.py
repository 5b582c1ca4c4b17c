"""What keys and lines mean to the labeller."""

import string

import pytest

from modelyard.cli.requests import Request, keys_of, of_key, of_line

FEW = ("good", "bad", "mixed")
MANY = tuple(f"label {a}{b}" for a in "abcdefgh" for b in "abcdefgh")


def test_labels_get_digits_then_letters() -> None:
    assert keys_of(FEW) == {"1": "good", "2": "bad", "3": "mixed"}
    assert "".join(keys_of(MANY[:35])) == "123456789" + string.ascii_lowercase
    assert keys_of(MANY[:36]) == {}
    assert keys_of(()) == {}


def test_a_label_of_one_sign_is_its_own_key() -> None:
    assert keys_of(("0", "1", "2")) == {"0": "0", "1": "1", "2": "2"}
    assert keys_of(("A", "other", "1")) == {"a": "A", "2": "other", "1": "1"}
    assert keys_of(("é", "b")) == {"1": "é", "b": "b"}


def test_letters_of_labels_are_never_commands() -> None:
    keys = keys_of(MANY[:35])
    assert of_key("s", keys).kind == "label"
    assert of_key("S", keys) == Request(kind="skip")
    assert [of_key(key, keys_of(FEW)).kind for key in "sSuUnNqQ?"] == [
        "skip", "skip", "undo", "undo", "note", "note", "quit", "quit", "help"
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["x", "9", "", "\x1b", "\x00", "é"])
def test_a_key_that_means_nothing_is_told(key: str) -> None:
    request = of_key(key, keys_of(FEW))
    assert request.kind == "nothing"
    assert request.text.isprintable()


@pytest.mark.parametrize(
    ("line", "kind", "text"),
    [
        ("2", "label", "bad"),
        (" GOOD ", "label", "good"),
        ("mi", "label", "mixed"),
        ("m", "label", "mixed"),
        ("s", "skip", ""),
        (":skip", "skip", ""),
        (":u", "undo", ""),
        (":note  not sure ", "note", "not sure"),
        (":QUIT", "quit", ""),
        ("?", "help", ""),
        ("zzz", "nothing", "no label begins with 'zzz'; ? shows them all"),
    ],
)
def test_lines(line: str, kind: str, text: str) -> None:
    assert of_line(line, FEW, keys_of(FEW)) == Request(kind=kind, text=text)  # type: ignore[arg-type]


def test_a_beginning_must_be_enough() -> None:
    assert of_line("label ah", MANY, {}) == Request(kind="label", text="label ah")
    assert of_line("LABEL  ah", MANY, {}).text == "label ah"
    told = of_line("label a", MANY, {})
    assert (told.kind, told.text.split(":")[0]) == ("nothing", "8 labels begin so")
    assert of_line("label", MANY, {}).text.endswith("and 52 more")
    assert of_line("s", MANY, {}).kind == "nothing"


def test_free_text_is_taken_as_it_is() -> None:
    assert of_line("  A refund, please ", (), {}) == Request(kind="label", text="A refund, please")
    assert of_line("::-)", (), {}) == Request(kind="label", text=":-)")
    assert of_line("s", (), {}) == Request(kind="label", text="s")
    assert [of_line(line, (), {}).kind for line in ("", "   ", ":", ":oops")] == ["nothing"] * 4
