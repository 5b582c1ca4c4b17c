"""Engines' keys, masking, caps and logs: nothing that is secret gets out."""

import io
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.gateway.errors import Refusal
from modelyard.gateway.guards.caps import cap_max_tokens
from modelyard.gateway.guards.credentials import Credentials, scrub
from modelyard.gateway.guards.logs import configure_logging
from modelyard.gateway.guards.masking import mask
from modelyard.ports.routes import Variant

SECRET = "vendor-9f8e7d6c5b4a"


def variant(credential: str = "VENDOR_KEY", engine: str = "openai") -> Variant:
    return Variant(release="r", ref="r@1", engine_url="http://engine", model="m", credential=credential, engine=engine)


def test_a_key_goes_into_the_upstream_head_and_nowhere_else() -> None:
    known = Credentials([variant()], {"VENDOR_KEY": SECRET + "\n"})
    assert known.head(variant()) == f"authorization: Bearer {SECRET}\r\n".encode()
    assert known.head(variant(engine="anthropic")) == f"x-api-key: {SECRET}\r\n".encode()
    assert known.head(variant(engine="azure")) == f"api-key: {SECRET}\r\n".encode()
    assert known.head(variant("")) == b""
    held = known._found["VENDOR_KEY"]
    assert SECRET not in repr(held) + str(held) + repr(known)
    with pytest.raises(TypeError):
        pickle.dumps(held)
    assert known.scrub(f"401: the key {SECRET} is wrong") == "401: the key [KEY] is wrong"


def test_a_key_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET + "\n")
    known = Credentials([variant()], {"VENDOR_KEY_FILE": str(tmp_path / "key")})
    assert SECRET.encode() in known.head(variant())


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"VENDOR_KEY": ""},
        {"VENDOR_KEY": "a b\r\nx: y"},
        {"VENDOR_KEY_FILE": "/nowhere/key"},
        {"VENDOR_KEY": "ключ-ключ"},
    ],
)
def test_a_missing_key_spoils_its_variant_alone_and_is_told(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    known = Credentials([variant(), variant("")], environment)
    assert [known.usable(variant()), known.usable(variant(""))] == [False, True]
    with pytest.raises(Refusal) as told:
        known.head(variant())
    assert (told.value.status, told.value.code) == (503, "credential_missing")
    assert "VENDOR" not in str(told.value)
    assert "VENDOR_KEY" in caplog.text
    assert "/nowhere" not in caplog.text


def test_what_looks_like_a_key_is_scrubbed_without_being_known() -> None:
    text = "Incorrect API key: sk-proj-abcdefghijklmnopqrstuv; authorization: Bearer abc.def-ghi123 sent"
    assert scrub(text) == "Incorrect API key: [KEY]; authorization: Bearer [KEY] sent"


def test_bodies_are_masked_for_the_journal() -> None:
    raw = '{"messages":[{"content":"mail ana\\u0040example.com\\nor 4111 1111 1111 1111"}],"password":"Xk7!pq29Zt"}'
    assert mask(raw) == '{"messages":[{"content":"mail [EMAIL]\\nor [CARD]"}],"password":"[KEY]"}'
    plain = "nothing here to cover"
    assert mask(plain) is plain


def fields(**values: Any) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in values.items()}


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"max_tokens": 50}, {"max_tokens": 50}),
        ({"max_tokens": 500}, {"max_tokens": 100}),
        ({"max_completion_tokens": 500}, {"max_completion_tokens": 100}),
        ({"max_output_tokens": 10**30, "max_tokens": 7}, {"max_output_tokens": 100, "max_tokens": 7}),
        ({"max_tokens": None}, {"max_tokens": 100}),
        ({}, {"max_tokens": 100}),
    ],
)
def test_answers_are_capped(given: dict[str, Any], left: dict[str, Any]) -> None:
    body = fields(**given)
    cap_max_tokens(body, 100)
    assert {name: msgspec.json.decode(raw) for name, raw in body.items()} == left
    untouched = fields(**given)
    cap_max_tokens(untouched, 0)
    assert untouched == fields(**given)


@pytest.mark.parametrize("wrong", [-1, 0, 1.5, "100", True, [], {}])
def test_what_is_no_number_of_tokens_is_refused(wrong: Any) -> None:
    with pytest.raises(Refusal) as told:
        cap_max_tokens(fields(max_tokens=wrong), 100)
    assert (told.value.status, told.value.param) == (400, "max_tokens")


@pytest.fixture
def lines() -> Any:
    root = logging.getLogger()
    handlers, level, stream = root.handlers[:], root.level, io.StringIO()
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def test_logs_are_one_json_object_a_line_without_secrets(lines: io.StringIO) -> None:
    formatter = configure_logging("json", lines)
    formatter.scrub = Credentials([variant()], {"VENDOR_KEY": SECRET}).scrub
    logger = logging.getLogger("modelyard.gateway.test")
    logger.warning("key %s\nforged line", SECRET, extra={"request_id": "r-1", "service": "support", "tenant": "acme"})
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.exception("it failed")
    first, second = (json.loads(line) for line in lines.getvalue().splitlines())
    assert (first["level"], first["message"]) == ("warning", "key [KEY]\nforged line")
    assert (first["request_id"], first["service"], first["tenant"]) == ("r-1", "support", "acme")
    assert first["time"].startswith("20")
    assert "ValueError: [KEY]" in second["error"]
    assert SECRET not in lines.getvalue()


def test_nobody_can_add_a_line_to_logs_in_words(lines: io.StringIO) -> None:
    configure_logging("text", lines)
    logging.getLogger("x").info("one\r\n2026 ERROR forged %s", "sk-abcdefghijklmnopqrstuvwx", extra={"tenant": "a\nb"})
    (line,) = lines.getvalue().splitlines()
    assert line.endswith(r"INFO x: one\r\n2026 ERROR forged [KEY] tenant=a\nb")
