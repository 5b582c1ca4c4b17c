"""The teacher's client against a server that fails as servers do."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from modelyard.adapters.processes import free_port
from modelyard.adapters.teachers.openai import OpenAITeacher
from modelyard.core.errors import EngineFailed, Unavailable
from modelyard.ports.dataset import Message
from modelyard.ports.release import Sampling
from modelyard.ports.teacher import Question, Reply
from tests.teachers import Told, chat, error, serving

QUESTION = Question(
    messages=(Message(role="system", content="Be kind."), Message(role="user", content="Hi")),
    sampling=Sampling(temperature=0.5, top_p=0.9, max_tokens=7),
    seed=12,
)


def ask(url: str, *, times: int = 1, **options: Any) -> tuple[list[Reply], int]:
    """The replies to a question asked so often at once, and how many attempts were lost."""
    lost: list[None] = []

    async def asking() -> list[Reply]:
        teacher = OpenAITeacher(url, "m", **{"backoff_s": 0.01, "timeout_s": 5.0, **options})
        try:
            return await asyncio.gather(*(teacher.ask(QUESTION, lambda: lost.append(None)) for _ in range(times)))
        finally:
            await teacher.close()

    return asyncio.run(asking()), len(lost)


def test_a_question_and_its_answer() -> None:
    with serving(lambda body, number: chat("Hello", finish_reason="length", usage=(3, 4))) as server:
        (reply,), lost = ask(server.url, key="sk-secret")
    assert reply == Reply(
        text="Hello", finish_reason="length", model="teacher-1.5", prompt_tokens=3, completion_tokens=4
    )
    assert lost == 0
    (asked,) = server.asked
    assert (asked.path, asked.key) == ("/v1/chat/completions", "Bearer sk-secret")
    assert asked.body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 7,
        "seed": 12,
    }


def test_a_path_is_kept_and_fields_can_be_added_renamed_and_left_out() -> None:
    with serving(lambda body, number: chat("Hello", usage=None)) as server:
        (reply,), _ = ask(
            f"{server.url}/openai/",
            limit_field="max_completion_tokens",
            extra={"seed": None, "reasoning_effort": "low"},
        )
    (asked,) = server.asked
    assert (asked.path, asked.key) == ("/openai/chat/completions", None)
    assert (asked.body["max_completion_tokens"], asked.body["reasoning_effort"]) == (7, "low")
    assert not {"max_tokens", "seed"} & set(asked.body)
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)


@pytest.mark.parametrize(
    ("trouble", "lost"),
    [
        (error(500, "boom"), 0),
        (error(503, "queue full"), 0),
        (error(429, "slow down"), 0),
        (Told(b"<html>"), 1),
        (Told(b'{"choices": []}'), 1),
        (Told(b'{"choices": [{"message": {"content": 5}}]}'), 1),
        (Told(b"", cuts=True), 1),
        (chat("too late", wait_s=1.5), 1),
    ],
)
def test_what_may_pass_is_tried_again(trouble: Told, lost: int) -> None:
    with serving(lambda body, number: chat("Hello") if number == 2 else trouble) as server:
        (reply,), seen = ask(server.url, timeout_s=0.5)
    assert (reply.text, len(server.asked), seen) == ("Hello", 3, 2 * lost)


@pytest.mark.parametrize("is_date", [False, True])
def test_a_server_is_left_alone_by_all_as_long_as_it_wants(is_date: bool) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True) if is_date else "1"
    turned_away = error(429, "slow down", {"retry-after": until})
    with serving(lambda body, number: turned_away if number == 0 else chat("Hello")) as server:
        replies, _ = ask(server.url, times=1)
        first, second = (asked.at_s for asked in server.asked)
    assert replies[0].text == "Hello"
    # A date has whole seconds, so two of them are more than one away.
    assert second - first > 0.9


@pytest.mark.parametrize(
    ("told", "says", "fix"),
    [
        (
            error(401, "Incorrect API key provided: sk-secret"),
            "status 401: Incorrect API key provided: [KEY]",
            "key_env",
        ),
        (error(404, "no model m"), "status 404: no model m", "`model`"),
        (error(402, "pay first"), "status 402: pay first", "account"),
        (error(429, "no credit", code="insufficient_quota"), "status 429: no credit", "quota"),
        (Told(b"moved", 301, {"location": "/"}), "status 301: moved", "`url`"),
    ],
)
def test_what_cannot_get_better_is_told_at_once_in_the_servers_words(told: Told, says: str, fix: str) -> None:
    with serving(lambda body, number: told) as server, pytest.raises(EngineFailed) as caught:
        ask(server.url, key="sk-secret")
    assert says in caught.value.seen
    assert fix in caught.value.fix
    assert "sk-secret" not in str(caught.value)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_prompt_is_an_answer_of_its_own(status: int) -> None:
    with serving(lambda body, number: error(status, "too long")) as server:
        (reply,), lost = ask(server.url)
    assert (reply.finish_reason, reply.text, lost, len(server.asked)) == ("refused", "too long", 0, 1)


def test_it_gives_up_in_the_end() -> None:
    with serving(lambda body, number: error(500, "boom")) as server, pytest.raises(Unavailable) as caught:
        ask(server.url, retries=2)
    assert "asked 3 times; the last time status 500: boom" in caught.value.seen
    assert "goes on where it was" in caught.value.fix
    assert len(server.asked) == 3


def test_it_does_not_wait_for_hours() -> None:
    busy = error(429, "tomorrow", {"retry-after": "7200"})
    with serving(lambda body, number: busy) as server, pytest.raises(Unavailable, match="left alone for 7,200 s"):
        ask(server.url)
    assert len(server.asked) == 1


def test_nobody_there_costs_nothing() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        ask(f"http://127.0.0.1:{free_port()}", retries=1)


@pytest.mark.parametrize("half", [b"\\ud83d", b"\xf0\x9f", b"\\udc00"])
def test_half_a_character_costs_no_answer(half: bytes) -> None:
    body = b'{"model": "m", "choices": [{"message": {"content": "Good ' + half + b'"}, "finish_reason": "length"}]}'
    with serving(lambda _, number: Told(body)) as server:
        (reply,), lost = ask(server.url)
    assert (reply.text.rstrip("\ufffd"), reply.text[-1], lost) == ("Good ", "\ufffd", 0)


@pytest.mark.parametrize(("status", "error"), [(200, Unavailable), (401, EngineFailed)])
def test_a_nested_bomb_is_told_in_words(status: int, error: type[Exception]) -> None:
    with serving(lambda body, number: Told(b"[" * 100_000, status)) as server, pytest.raises(error, match=r"\[\[\["):
        ask(server.url, retries=0)
