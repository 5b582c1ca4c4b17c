"""What an interaction is called in the words of OpenTelemetry's conventions for generative AI. Imports no SDK.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/ (status: development). What they have no word for is under
`modelyard.`.
"""

import hashlib
from typing import Any
from urllib.parse import urlsplit

import msgspec

from modelyard.ports.interaction import Interaction
from modelyard.ports.telemetry import Evaluation

Attributes = dict[str, str | int | float | bool | tuple[str, ...]]

PROVIDER = "modelyard"
MAX_CONTENT_BYTES = 32 << 10
_OPERATIONS = {"completions": "text_completion", "embeddings": "embeddings"}
_OWN = ("service", "tenant", "key_id", "release", "role", "reason", "rollout_id", "shadow_of", "cache", "table_version")


def operation(interaction: Interaction) -> str:
    """`chat`, `text_completion` or `embeddings`."""
    return _OPERATIONS.get(interaction.endpoint, "chat")


def error_type(interaction: Interaction) -> str:
    """What went wrong, in a word that few others share; empty where nothing did."""
    return "" if interaction.status < 400 else interaction.error or str(interaction.status)


def common(one: Interaction) -> Attributes:
    """What spans and metrics both bear: few values each."""
    host, port = _address(one.replica)
    found: Attributes = {
        "gen_ai.operation.name": operation(one),
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": one.service,
        "gen_ai.response.model": one.release,
        "error.type": error_type(one),
        "server.address": host,
        "server.port": port,
    }
    return _given(found)


def of_span(one: Interaction, *, content: bool = False) -> Attributes:
    """All attributes of an interaction's span. `content` adds its texts, where they were recorded and are not huge."""
    found: Attributes = {
        "gen_ai.response.id": one.id,
        "gen_ai.response.finish_reasons": (one.finish_reason,) if one.finish_reason else (),
        "gen_ai.usage.input_tokens": one.prompt_tokens,
        "gen_ai.usage.output_tokens": one.completion_tokens,
        "gen_ai.conversation.id": one.session,
        "http.response.status_code": one.status,
        "modelyard.saved_nanousd": one.saved_nanousd,
        "modelyard.queued_ms": one.queued_ms,
        "modelyard.first_token_ms": one.first_token_ms,
        "modelyard.overhead_us": one.overhead_us,
        "modelyard.request_id": one.request_id,
        **{f"modelyard.{name}": getattr(one, name) for name in _OWN},
        **(_content(one) if content else {}),
    }
    # Nothing spent is something known.
    return {**common(one), **_given(found), "modelyard.cost_nanousd": one.cost_nanousd}


def of_evaluation(one: Evaluation, *, content: bool = False) -> Attributes:
    """The attributes of a `gen_ai.evaluation.result` event."""
    feedback, about = one.feedback, one.interaction
    found: Attributes = {
        "gen_ai.evaluation.name": feedback.metric,
        "gen_ai.response.id": feedback.interaction_id,
        "modelyard.tenant": feedback.tenant,
        "modelyard.service": about.service if about else "",
        "modelyard.release": about.release if about else "",
        "gen_ai.evaluation.explanation": feedback.comment if content else "",
    }
    if feedback.score >= 0:
        return {**_given(found), "gen_ai.evaluation.score.value": feedback.score}
    if about and about.answer_hash and feedback.expected_hash:
        found["gen_ai.evaluation.score.label"] = "pass" if about.answer_hash == feedback.expected_hash else "fail"
    return _given(found)


def identity(interaction_id: str, trace: str = "") -> tuple[int, int, int]:
    """Trace, span and parent span (0 for none) as numbers: the same whenever an interaction is told again.

    `trace` is the caller's, `TRACE` or `TRACE-SPAN` in hexadecimal; without one the trace is the interaction's own.
    """
    digest = hashlib.sha256(interaction_id.encode()).digest()
    span = int.from_bytes(digest[:8], "big") or 1
    trace_text, _, parent_text = trace.partition("-")
    if len(trace_text) == 32 and (given := _hex(trace_text)):
        return given, span, _hex(parent_text) if len(parent_text) == 16 else 0
    return int.from_bytes(digest[8:24], "big") or 1, span, 0


def _hex(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


def _given(found: Attributes) -> Attributes:
    return {name: value for name, value in found.items() if value not in ("", 0, 0.0, ())}


def _address(replica: str) -> tuple[str, int]:
    """Host and port of a replica's address; never a path, a user or a password in it."""
    try:
        parts = urlsplit(replica if "://" in replica else f"//{replica}")
        return parts.hostname or "", parts.port or 0
    except ValueError:
        return "", 0


def _content(one: Interaction) -> Attributes:
    answer = [_message("assistant", one.answer)] if one.answer else []
    found: Attributes = {}
    for name, messages in (("gen_ai.input.messages", _asked(one.request)), ("gen_ai.output.messages", answer)):
        text = msgspec.json.encode(messages).decode() if messages else ""
        if len(text) <= MAX_CONTENT_BYTES:
            found[name] = text
    return found


def _asked(request: str) -> list[dict[str, Any]]:
    """The messages of a recorded request, or its prompt."""
    try:
        body = msgspec.json.decode(request, type=dict[str, Any]) if request else {}
    except msgspec.MsgspecError:
        return []
    given = body.get("messages")
    if isinstance(given, list):
        return [_message(str(m.get("role", "")), m.get("content")) for m in given if isinstance(m, dict)]
    prompt = body.get("prompt", body.get("input"))
    return [_message("user", prompt)] if prompt else []


def _message(role: str, content: Any) -> dict[str, Any]:
    text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
    return {"role": role, "parts": [{"type": "text", "content": text}]}
