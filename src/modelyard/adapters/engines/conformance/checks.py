"""The checks: each asks one thing and says whether it works and what was seen. `None` is: could not be asked here."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from modelyard.adapters.engines.conformance.probe import QUESTION, Probe, told

Outcome = tuple[bool | None, str]
_FALLS_WITHIN_S = 10.0
_REASONS = ("stop", "length")
_TOOL = {
    "type": "function",
    "function": {
        "name": "find_order",
        "description": "Find an order",
        "parameters": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
    },
}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"late": {"type": "boolean"}},
    "required": ["late"],
    "additionalProperties": False,
}


def health(probe: Probe) -> Outcome:
    """Whether its health page says that it is ready."""
    if not probe.sheet.health:
        return None, "has no health page"
    response = probe.get(probe.sheet.health)
    return response.is_success, told(response)


def models(probe: Probe) -> Outcome:
    """The models it lists, and the first for the checks that follow."""
    response = probe.get(probe.sheet.path("models"))
    if not response.is_success:
        return False, told(response)
    cards = response.json().get("data") or []
    names = [str(card["id"]) for card in cards]
    probe.model = probe.model or next(iter(names), "")
    mine: dict[str, Any] = next((card for card in cards if card["id"] == probe.model), {})
    known = mine.get("max_model_len") or (mine.get("meta") or {}).get("n_ctx_train") or 0
    probe.context_tokens = known if isinstance(known, int) else 0
    return bool(names), ", ".join(names[:4]) or "none"


def chat(probe: Probe) -> Outcome:
    """A whole answer with its text, why it ended, and its usage."""
    response = probe.chat()
    if not response.is_success:
        return False, told(response)
    answer = response.json()
    choice, usage = answer["choices"][0], answer.get("usage") or {}
    is_whole = isinstance(choice["message"]["content"], str) and choice["finish_reason"] in _REASONS
    counts = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    return is_whole and all(counts), f"{choice['finish_reason']}, {counts[0]} + {counts[1]} tokens"


def stream(probe: Probe) -> Outcome:
    """The same answer in pieces: the same text, a reason, and `[DONE]`."""
    whole = probe.chat()
    found = probe.stream()
    if not whole.is_success or found.status != whole.status_code:
        return False, f"status {found.status}"
    choices = [choice for event in found.events for choice in event.get("choices", [])]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    reasons = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    is_same = text == whole.json()["choices"][0]["message"]["content"]
    seen = f"{len(found.events)} events, {'the same text' if is_same else 'another text'}, ended by {reasons}"
    return is_same and len(reasons) == 1 and found.is_done, seen if found.is_done else seen + ", no [DONE]"


def usage(probe: Probe) -> Outcome:
    """What it does with `stream_options.include_usage`."""
    plain, asked = probe.stream(), probe.stream(stream_options={"include_usage": True})
    counted = [[event["usage"] for event in each.events if event.get("usage")] for each in (plain, asked)]
    if asked.status != plain.status:
        return False, f"status {asked.status}"
    seen = "always" if counted[0] and counted[1] else "honours" if counted[1] else "never"
    return seen == probe.sheet.usage, f"{seen}, {len(counted[1])} chunk(s) of {len(asked.events)}"


def stop(probe: Probe) -> Outcome:
    """Whether a stop sequence ends the answer and is left out of it."""
    response = probe.chat()
    text = response.json()["choices"][0]["message"]["content"] if response.is_success else ""
    if len(text) < 4:
        return None, "the answer is too short to be stopped"
    wanted = text[len(text) // 2]
    cut = probe.chat(stop=[wanted])
    if not cut.is_success:
        return False, told(cut)
    choice = cut.json()["choices"][0]
    was_cut = choice["message"]["content"] == text.partition(wanted)[0]
    return was_cut and choice["finish_reason"] == "stop", f"{choice['finish_reason']}, stopped before {wanted!r}"


def one_token(probe: Probe) -> Outcome:
    """Whether `max_tokens: 1` gives one token and says so."""
    response = probe.chat(max_tokens=1)
    if not response.is_success:
        return False, told(response)
    answer = response.json()
    reason, count = answer["choices"][0]["finish_reason"], (answer.get("usage") or {}).get("completion_tokens")
    return (reason, count) == ("length", 1), f"{reason}, {count} token(s)"


def logprobs(probe: Probe) -> Outcome:
    """Log-probabilities of every token, with the likeliest beside it."""
    response = probe.chat(logprobs=True, top_logprobs=2)
    if not response.is_success:
        return False, told(response)
    answer = response.json()
    tokens = (answer["choices"][0].get("logprobs") or {}).get("content") or []
    is_sound = bool(tokens) and all(len(token["top_logprobs"]) == 2 and token["logprob"] <= 0 for token in tokens)
    return is_sound, f"{len(tokens)} of {answer['usage']['completion_tokens']} tokens"


def choices(probe: Probe) -> Outcome:
    """Whether `n: 2` gives two answers."""
    response = probe.chat(n=2, temperature=1)
    if not response.is_success:
        return False, told(response)
    indexes = sorted(choice["index"] for choice in response.json()["choices"])
    return indexes == [0, 1], f"{len(indexes)} answer(s)"


def unicode(probe: Probe) -> Outcome:
    """Whether text beyond ASCII gets in, and what comes out, whole and in pieces, is whole characters."""
    messages = [{"role": "user", "content": "Grüße, 你好 👩‍👩‍👧 ‏שלום: \x00 €"}]
    whole, found = probe.chat(messages=messages), probe.stream(messages=messages, max_tokens=24)
    if not whole.is_success:
        return False, told(whole)
    pieces = "".join(
        choice["delta"].get("content") or "" for event in found.events for choice in event.get("choices", [])
    )
    text = whole.json()["choices"][0]["message"]["content"]
    return "\ufffd" not in text + pieces, f"{len(text)} and {len(pieces)} characters"


def tools(probe: Probe) -> Outcome:
    """Whether a tool that must be called is called, with arguments that are JSON in a string."""
    response = probe.chat(tools=[_TOOL], tool_choice="required", max_tokens=64)
    if not response.is_success:
        return False, told(response)
    calls = response.json()["choices"][0]["message"].get("tool_calls") or []
    if not calls:
        return False, "no call"
    try:
        msgspec.json.decode(calls[0]["function"]["arguments"])
    except (msgspec.DecodeError, TypeError) as error:
        return False, f"arguments that are no JSON: {error}"
    return True, calls[0]["function"]["name"]


def schema(probe: Probe) -> Outcome:
    """Whether an answer keeps to a JSON schema, as far as it goes."""
    wanted = {"type": "json_schema", "json_schema": {"name": "order", "strict": True, "schema": _SCHEMA}}
    response = probe.chat(response_format=wanted, max_tokens=64)
    if not response.is_success:
        return False, told(response)
    choice = response.json()["choices"][0]
    text = choice["message"]["content"] or ""
    if choice["finish_reason"] == "length":
        # A small model may fill what is left with spaces, which the schema allows.
        compact = "".join(text.split())
        begins = any(form.startswith(compact) for form in ('{"late":true', '{"late":false'))
        return bool(compact) and begins, f"cut off: {compact[:40]!r}"
    try:
        return isinstance(msgspec.json.decode(text)["late"], bool), text[:60]
    except (msgspec.DecodeError, TypeError, KeyError):
        return False, f"no such JSON: {text[:60]!r}"


def completions(probe: Probe) -> Outcome:
    """A plain completion."""
    response = probe.ask("completions", {"prompt": "Hello", "max_tokens": 4})
    return response.is_success and "text" in response.json()["choices"][0], told(response)


def embeddings(probe: Probe) -> Outcome:
    """An embedding."""
    response = probe.ask("embeddings", {"input": "Hello"})
    return response.is_success and bool(response.json()["data"][0]["embedding"]), told(response)


def responses(probe: Probe) -> Outcome:
    """An answer of OpenAI's responses API."""
    response = probe.ask("responses", {"input": "Hello", "max_output_tokens": 16})
    return response.is_success and response.json().get("object") == "response", told(response)


def messages(probe: Probe) -> Outcome:
    """An answer of Anthropic's messages API."""
    response = probe.ask("messages", {"messages": QUESTION, "max_tokens": 16})
    return response.is_success and response.json().get("type") == "message", told(response)


def tokenize(probe: Probe) -> Outcome:
    """Token ids, as many as the engine counts for the same turns."""
    takes = probe.sheet.tokenize_takes
    if not takes:
        return None, "has no such endpoint"
    if "messages" not in takes:
        response = probe.post(probe.sheet.tokenize, {"model": probe.model, next(iter(takes)): "Hello there"})
        tokens = response.json().get("tokens") if response.is_success else None
        return bool(tokens), f"{len(tokens or [])} ids of a text"
    response = probe.post(probe.sheet.tokenize, {"model": probe.model, "messages": QUESTION})
    if not response.is_success:
        return False, told(response)
    answer = response.json()
    count = len(answer.get("tokens") or answer.get("tokenize_response") or [])
    counted = probe.chat().json()["usage"]["prompt_tokens"]
    return count == counted, f"{count} ids, {counted} counted for the answer"


def metrics(probe: Probe) -> Outcome:
    """Whether the metrics that load is read from are on its page."""
    names = probe.sheet.metrics
    if names is None:
        return None, "has none"
    found = {"waiting": probe.gauge(names.waiting), "running": probe.gauge(names.running)}
    if names.cache_use:
        found["cache use"] = probe.gauge(names.cache_use)
    told_of = ", ".join(f"{name}: {'missing' if value is None else value}" for name, value in found.items())
    return found["waiting"] is not None and found["running"] is not None, told_of


def bad_model(probe: Probe) -> Outcome:
    """Whether a model that is not there is told, with 404 or 400 and a message."""
    response = probe.chat(model="no-such-model")
    return response.status_code in (400, 404) and _has_message(response.json()), told(response)


def bad_body(probe: Probe) -> Outcome:
    """Whether bodies that are no request are the caller's mistake: 400 or 422 with a message."""
    for body in (b"{", b"[]", b'{"model": 3}'):
        response = probe.post(probe.sheet.path("chat"), body)
        if response.status_code not in (400, 422) or not _has_message(response.json()):
            return False, f"{body.decode()} is {told(response)}"
    return True, "400 with a message"


def long_prompt(probe: Probe) -> Outcome:
    """Whether a prompt beyond the context is the caller's mistake, and says so before anything is streamed."""
    if not 0 < probe.context_tokens <= 1 << 18:
        return None, "its context is unknown or too long to be tried"
    response = probe.chat(messages=[{"role": "user", "content": "order " * (probe.context_tokens * 2)}], stream=True)
    return response.status_code in (400, 413, 422) and _has_message(response.json()), told(response)


def cancel(probe: Probe) -> Outcome:
    """Whether it stops working for a caller who has gone, by the number of requests that run."""
    names = probe.sheet.metrics
    idle = probe.gauge(names.running) if names else None
    if names is None or idle is None:
        return None, "tells no running requests"
    long = {"max_tokens": max(64, probe.context_tokens - 128), "ignore_eos": True}
    with probe.open_stream(**long) as (status, events):
        next(events, None)
        running = probe.gauge(names.running)
    since_s = time.monotonic()
    while (now := probe.gauge(names.running) or 0.0) > idle and time.monotonic() - since_s < _FALLS_WITHIN_S:
        time.sleep(0.05)
    took_s = time.monotonic() - since_s
    if status != 200 or running is None or running <= idle:
        return None, f"status {status}; it was never seen running"
    return now <= idle, f"from {running:g} running to {now:g} in {took_s:.1f} s"


def _has_message(answer: Any) -> bool:
    return isinstance(answer, dict) and isinstance(answer.get("error"), dict) and bool(answer["error"].get("message"))


CHECKS: Mapping[str, Callable[[Probe], Outcome]] = {
    "health": health,
    "models": models,
    "chat": chat,
    "stream": stream,
    "usage in streams": usage,
    "stop": stop,
    "one token": one_token,
    "logprobs": logprobs,
    "n": choices,
    "unicode": unicode,
    "tools": tools,
    "schema": schema,
    "completions": completions,
    "embeddings": embeddings,
    "responses": responses,
    "messages": messages,
    "tokenize": tokenize,
    "metrics": metrics,
    "bad model": bad_model,
    "bad body": bad_body,
    "long prompt": long_prompt,
    "cancel": cancel,
}
DEPENDS = frozenset({"tools", "schema", "logprobs", "embeddings"})
"""Checks whose outcome depends on the model, or on how the engine was started: no sheet promises them."""
