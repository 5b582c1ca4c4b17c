"""Plan: whether a request may be answered from what was kept, and under which key."""

import hashlib
import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from modelyard.ports.release import Sampling

Endpoint = Literal["chat", "completions", "embeddings"]

_ABSENT = (b"null", b"")
# They change who is billed or how the answer travels, never what it says.
_NO_MATTER = ("model", "stream", "stream_options", "user", "metadata", "safety_identifier", "prompt_cache_key")
# What cannot be told in the other form: such answers are kept for requests of their own form alone.
_ONE_FORM = ("logprobs", "top_logprobs", "audio", "modalities")
_PROMPTS: dict[Endpoint, str] = {"chat": "messages", "completions": "prompt", "embeddings": "input"}
_NUMBER = re.compile(r"\d(?:[\d.,:/-]*\d)?")

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode


class Plan:
    """One request as the cache sees it.

    `key` is a digest over tenant, service, release, endpoint and request. `look` is False where
    the caller's `cache-control` asks for a new answer; `whole` says whether it comes in one piece; `leads` is set while
    equal requests may wait for this one.
    """

    __slots__ = ("endpoint", "fields", "has_tools", "key", "leads", "look", "scope", "whole")

    def __init__(self, scope: bytes, endpoint: Endpoint, fields: dict[str, object], *, whole: bool) -> None:
        self.scope = scope
        self.endpoint = endpoint
        self.fields = fields
        self.whole = whole
        self.has_tools = "tools" in fields or "functions" in fields
        self.look = True
        self.leads = False
        form = b""
        if any(fields.get(name) for name in _ONE_FORM):
            form = b"whole" if whole else b"stream"
        self.key = _digest(scope, endpoint.encode(), form, _encode(fields))


class Question:
    """The last thing a user said, and the digest of all else in the request, numbers in the text included.

    Two texts that differ in a number alone lie next to each other in every embedding, and mean different things.
    """

    __slots__ = ("guard", "scope", "text", "vector")

    def __init__(self, plan: Plan, turns: list[object], text: str) -> None:
        others = {**plan.fields, "messages": turns[:-1]}
        self.scope = plan.scope
        self.text = text
        self.guard = _digest(plan.scope, _encode(_NUMBER.findall(text)), _encode(others))
        self.vector: object = None


def make_plan(
    fields: Mapping[str, msgspec.Raw],
    *,
    tenant: str,
    frame: bytes,
    release: str,
    endpoint: Endpoint,
    sampling: Sampling,
    stream: bool,
    cache_control: bytes | None,
) -> Plan | None:
    """The plan of a request, None where nothing may be kept for it: it is not deterministic, or its caller says so.

    `frame` stands for the service. `sampling` is what the release does where the caller is silent.
    """
    directives = cache_control.lower() if cache_control else b""
    if b"no-store" in directives or not _is_deterministic(fields, endpoint, sampling):
        return None
    try:
        said = {name: _decode(raw) for name, raw in fields.items() if name not in _NO_MATTER}
    except (msgspec.DecodeError, RecursionError):
        return None
    said = {name: value for name, value in said.items() if value is not None}
    if _PROMPTS[endpoint] not in said:
        return None
    # Tenant, service and release, in every key of theirs.
    scope = _digest(tenant.encode(), frame, release.encode())
    plan = Plan(scope, endpoint, said, whole=not stream)
    plan.look = b"no-cache" not in directives
    return plan


def question_of(plan: Plan) -> Question | None:
    """What may be compared by meaning: the text of a last turn by the user, in a request without tools."""
    turns = plan.fields.get("messages")
    if plan.endpoint != "chat" or plan.has_tools or not isinstance(turns, list) or not turns:
        return None
    last = turns[-1]
    if not isinstance(last, dict) or last.get("role") != "user" or last.keys() - {"role", "content"}:
        return None
    text = last.get("content")
    return Question(plan, turns, text.strip()) if isinstance(text, str) and text.strip() else None


def _is_deterministic(fields: Mapping[str, msgspec.Raw], endpoint: Endpoint, sampling: Sampling) -> bool:
    """Temperature 0, said or by default, or a seed; and one answer."""
    if endpoint == "embeddings":
        return True
    for name in ("n", "best_of"):
        if _said(fields, name) not in (*_ABSENT, b"1"):
            return False
    if _said(fields, "seed") not in _ABSENT:
        return True
    temperature = _said(fields, "temperature")
    if temperature in _ABSENT:
        return sampling.temperature == 0
    try:
        return float(temperature) == 0
    except ValueError:
        return False


def _said(fields: Mapping[str, msgspec.Raw], name: str) -> bytes:
    raw = fields.get(name)
    return b"" if raw is None else bytes(raw)


def _digest(*parts: bytes) -> bytes:
    """SHA-256 over parts, each with its length, so that no two lists of parts run together."""
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()
