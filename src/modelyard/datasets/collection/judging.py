"""One interaction: a row of the dataset, or the reason why it is none. Consent is looked at before anything else."""

from typing import Any

import msgspec

from modelyard.core.clock import iso
from modelyard.datasets.collection.config import CollectConfig
from modelyard.datasets.collection.opinions import Opinion, opinion_on
from modelyard.datasets.collection.reasons import (
    CUT,
    FAILED,
    LOW_SCORE,
    NO_ANSWER,
    NO_CHAT,
    NO_CONSENT,
    NO_SCORE,
    NO_TEXT,
    NOT_CORRECTED,
    NOT_KEPT,
    OTHER_RELEASE,
    WRONG,
    PassedOver,
)
from modelyard.ports.interaction import Interaction
from modelyard.ports.records import ReviewedInteraction

_CUT_REASONS = ("length", "content_filter")


class _Request(msgspec.Struct):
    messages: list[dict[str, Any]]
    tools: Any = None


_request_of = msgspec.json.Decoder(_Request)
_encode = msgspec.json.Encoder().encode


def row_of(one: ReviewedInteraction, config: CollectConfig) -> bytes:
    """The row as a JSON line in the chat shape: id, messages, tools, unit, meta. Raises: PassedOver.

    `meta` leaves the interaction's id out: it is the row's own.
    """
    given = one.interaction
    _check_wanted(given, config)
    opinion = opinion_on(one, config.metric)
    answer = _answer(given, opinion, config)
    try:
        request = _request_of.decode(given.request)
    except (msgspec.DecodeError, RecursionError):
        raise PassedOver(NO_CHAT) from None
    row: dict[str, Any] = {"id": given.id, "messages": [*map(_turn, request.messages), _said(answer)]}
    if request.tools:
        row["tools"] = request.tools
    return _encode({**row, "unit": given.unit, "meta": _meta(given, opinion, answer)}) + b"\n"


def _check_wanted(given: Interaction, config: CollectConfig) -> None:
    if not config.agreed(given.tenant):
        raise PassedOver(NO_CONSENT)
    if given.role not in config.roles:
        raise PassedOver(f"answer of a {given.role}")
    if config.releases and given.release not in config.releases:
        raise PassedOver(OTHER_RELEASE)
    if not given.request:
        raise PassedOver(NO_TEXT)


def _answer(given: Interaction, opinion: Opinion, config: CollectConfig) -> str:
    """The answer to learn."""
    if config.answers != "liked" and opinion.right:
        return opinion.right
    if opinion.is_wrong:
        raise PassedOver(WRONG if config.answers == "liked" else NOT_KEPT)
    if config.answers == "corrected":
        raise PassedOver(NOT_CORRECTED)
    _check_whole(given)
    if config.demanded:
        if opinion.score is None:
            raise PassedOver(NO_SCORE)
        if opinion.score < config.demanded.at_least:
            raise PassedOver(LOW_SCORE)
    return given.answer


def _check_whole(given: Interaction) -> None:
    if given.status != 200:
        raise PassedOver(CUT if given.stream and given.answer else FAILED)
    if given.finish_reason in _CUT_REASONS:
        raise PassedOver(CUT)
    if not given.answer.strip():
        raise PassedOver(NO_ANSWER)


def _turn(message: dict[str, Any]) -> dict[str, Any]:
    """A message by the roles that datasets know."""
    return {**message, "role": "system"} if message.get("role") == "developer" else message


def _said(answer: str) -> dict[str, str]:
    return {"role": "assistant", "content": answer}


def _meta(given: Interaction, opinion: Opinion, answer: str) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "at": iso(given.at_ms),
        "tenant": given.tenant,
        "release": given.release,
        "role": given.role,
        "propensity": given.propensity,
    }
    if opinion.score is not None:
        meta["score"] = opinion.score
    if answer != given.answer:
        meta["corrected"] = True
    return meta
