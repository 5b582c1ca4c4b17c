"""Bad input at every door: the right status, OpenAI's error body, and words that help."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest

from modelyard.core.clock import now_ms
from modelyard.core.digests import digest_text
from modelyard.ports.interaction import Feedback, JournalEntry
from modelyard.ports.routes import BodyPolicy, Service
from tests.gateway.harness import AUTH, CHAT, KEY, Yard, key_of, serving, variant
from tests.gateway.upstream import Engine

CHATS = "/v1/chat/completions"


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    with serving(Engine()) as url, Yard(tmp_path_factory.mktemp("yard")).open(max_body_bytes=1 << 20) as yard:
        keys = (
            key_of(),
            key_of("sk-old", expires_ms=now_ms() - 1, id="old"),
            key_of("sk-new", expires_ms=now_ms() + 10**7, id="new"),
        )
        yard.publish(Service(name="support", champion=variant("champ", url)), keys=keys)
        yield yard


def refusal(answer: httpx.Response, status: int, code: str, param: str | None = None) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    return str(error["message"])


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"not json", "invalid_json", None),
        (b'{"model": "support"', "invalid_json", None),
        (b'{"model": "\xff"}', "invalid_json", None),
        (b"[" * 100_000, "invalid_body", None),
        (b"[1]", "invalid_body", None),
        (b'"text"', "invalid_body", None),
        (b"{}", "invalid_messages", "messages"),
        (b'{"messages": [{"role": "user"}]}', "missing_model", "model"),
        (b'{"model": null, "messages": [{"role": "user"}]}', "missing_model", "model"),
        (b'{"model": 7}', "invalid_model", "model"),
        (b'{"model": "support", "stream": 1, "messages": [{"role": "user"}]}', "invalid_stream", "stream"),
        (
            b'{"model": "support", "stream": true, "stream_options": 1, "messages": [{"role": "user"}]}',
            "invalid_stream_options",
            "stream_options",
        ),
        (b'{"model": "support"}', "invalid_messages", "messages"),
        (b'{"model": "support", "messages": []}', "invalid_messages", "messages"),
        (b'{"model": "support", "messages": ["hello"]}', "invalid_messages", "messages[0]"),
        (b'{"model": "support", "messages": "hello"}', "invalid_messages", "messages"),
    ],
)
def test_bad_bodies(yard: Yard, body: bytes, code: str, param: str | None) -> None:
    before = len(yard.interactions())
    refusal(httpx.post(yard.url + CHATS, content=body, headers=AUTH), 400, code, param)
    assert len(yard.interactions()) == before


def test_deeply_nested_body_is_refused_or_passed_on_but_kills_nothing(yard: Yard) -> None:
    body = b'{"model": "support", "messages": [{"role": "user"}], "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    assert httpx.post(yard.url + CHATS, content=body, headers=AUTH).status_code < 600
    assert yard.post().status_code == 200


def test_unknown_model_names_those_there_are(yard: Yard) -> None:
    assert "'support'" in refusal(yard.post(json={**CHAT, "model": "nope"}), 404, "model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        openai.OpenAI(base_url=f"{yard.url}/v1", api_key=KEY, max_retries=0).chat.completions.create(
            model="nope", messages=[{"role": "user", "content": "x"}]
        )


@pytest.mark.parametrize("length_known", [True, False])
def test_body_that_is_too_large(yard: Yard, length_known: bool) -> None:
    body = b'{"model": "' + b"x" * (2 << 20)
    content: Any = body if length_known else iter([body[:1000], body[1000:]])
    with httpx.Client(headers=AUTH) as client:
        refusal(client.post(yard.url + CHATS, content=content), 413, "body_too_large")
        assert client.post(yard.url + CHATS, json=CHAT).status_code == 200


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_api_key"),
        ("Bearer nope", "invalid_api_key"),
        ("Bearer", "invalid_api_key"),
        ("Basic abc", "invalid_api_key"),
        ("Bearer sk-old", "expired_api_key"),
        ("sk-new", "invalid_api_key"),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", CHATS), ("GET", "/v1/models"), ("POST", "/v1/feedback")])
def test_keys_that_do_not_open(yard: Yard, header: str | None, code: str, method: str, path: str) -> None:
    headers = {"authorization": header} if header else {}
    answer = httpx.request(method, yard.url + path, headers=headers, json=CHAT)
    message = refusal(answer, 401, code)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "nope" not in message


def test_key_that_has_not_expired_opens(yard: Yard) -> None:
    headers = {"authorization": "bearer sk-new"}
    assert httpx.post(yard.url + CHATS, json=CHAT, headers=headers).status_code == 200


def test_table_without_keys_refuses_everything(tmp_path: Path) -> None:
    with Yard(tmp_path).open() as yard:
        yard.publish(Service(name="support", champion=variant("champ", "http://localhost:1")), keys=())
        refusal(yard.post(), 401, "no_api_keys")


def test_unknown_paths_and_wrong_methods(yard: Yard) -> None:
    refusal(httpx.get(f"{yard.url}/v2"), 404, "unknown_url")
    answer = httpx.get(yard.url + CHATS, headers=AUTH)
    refusal(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    refusal(httpx.post(f"{yard.url}/v1/models", headers=AUTH), 405, "method_not_allowed")


def test_open_doors_need_no_key(yard: Yard) -> None:
    for path in ("/health", "/ready", "/metrics"):
        assert httpx.get(yard.url + path).status_code == 200


def test_refusals_are_counted(yard: Yard) -> None:
    httpx.get(f"{yard.url}/nowhere")
    assert 'modelyard_gateway_refused_total{status="404",code="unknown_url"}' in yard.metrics()


def test_feedback_is_journalled_with_hashes_alone(yard: Yard) -> None:
    for body in (
        {"id": "a1", "score": 1},
        {"id": "a2", "expected": " I am champ\n", "metric": "exact", "comment": "c"},
    ):
        answer = yard.post("/v1/feedback", json=body)
        assert answer.status_code == 202
        assert answer.json()["id"] == yard.feedback()[-1].id
    scored, labelled = yard.feedback()
    assert (scored.interaction_id, scored.score, scored.metric, scored.tenant) == ("a1", 1.0, "quality", "acme")
    assert (labelled.score, labelled.metric, labelled.comment) == (-1.0, "exact", "c")
    assert labelled.expected_hash == digest_text("I am champ")


@pytest.mark.parametrize(
    ("policies", "kept"),
    [(("full",), True), (("full", "full"), True), (("full", "hash"), False), (("none",), False), ((), False)],
)
def test_a_right_answer_is_kept_where_every_service_records_texts(
    tmp_path: Path, policies: tuple[BodyPolicy, ...], kept: bool
) -> None:
    champion = variant("champ", "http://localhost:1")
    services = [Service(name=f"s{n}", champion=champion, body_policy=policy) for n, policy in enumerate(policies)]
    with Yard(tmp_path).open() as yard:
        yard.publish(*services)
        assert yard.post("/v1/feedback", json={"id": "a1", "expected": " Ask ada. "}).status_code == 202
        (given,) = yard.feedback()
        assert given.expected == (" Ask ada. " if kept else "")
        assert given.expected_hash == digest_text("Ask ada.")
        assert ("ada" in "".join(path.read_text() for path in yard.journal.glob("*.jsonl"))) == kept


def test_a_line_from_before_right_answers_were_kept_is_read() -> None:
    line = b'{"kind":"feedback","id":"f","interaction_id":"a","at_ms":1,"tenant":"t","expected_hash":"sha256:x"}'
    assert msgspec.json.decode(line, type=JournalEntry) == Feedback(
        id="f", interaction_id="a", at_ms=1, tenant="t", expected_hash="sha256:x", expected=""
    )


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"score": 1}, None),
        ({"id": "", "score": 1}, "id"),
        ({"id": 7, "score": 1}, "id"),
        ({"id": "a"}, "score"),
        ({"id": "a", "score": 1.01}, "score"),
        ({"id": "a", "score": -0.1}, "score"),
        ({"id": "a", "score": "good"}, "score"),
        ({"id": "a", "score": True}, "score"),
        ({"id": "a", "scores": 1}, None),
        ({"id": "a", "expected": 5}, "expected"),
        ([], None),
    ],
)
def test_bad_feedback(yard: Yard, body: Any, param: str | None) -> None:
    before = yard.feedback()
    refusal(yard.post("/v1/feedback", json=body), 400, "invalid_feedback", param)
    assert yard.feedback() == before


def test_feedback_that_is_no_json(yard: Yard) -> None:
    refusal(httpx.post(f"{yard.url}/v1/feedback", content=b"{", headers=AUTH), 400, "invalid_json")
