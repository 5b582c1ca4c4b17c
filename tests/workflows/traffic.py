"""Recorded traffic with texts: each answer of its own, with personal data in question and answer."""

import json
from typing import Any

from modelyard.core.digests import digest_text
from modelyard.ports.interaction import Interaction
from tests.adapters.records.values import an_interaction

BEGIN_MS = 1_790_000_000_000
SECRET = "ada.lovelace@example.com"
TOPICS = ["parcel", "refund", "invoice", "password", "address", "voucher", "return", "warranty", "opening", "delivery"]


def asked(number: int, *, question: str = "", answer: str = "", **fields: Any) -> Interaction:
    """A recorded answer with its texts, in the window."""
    topic, unit = TOPICS[number % 10], f"user-{number % 7}"
    question = question or f"{topic} {digest_text(str(number))[7:27]}: please write to {SECRET}"
    answer = answer or f"The {topic} {digest_text(str(-number))[7:27]} is on its way to {SECRET}."
    values: dict[str, Any] = {
        "at_ms": BEGIN_MS + number,
        "unit": unit,
        "request": json.dumps({"model": "support", "messages": [{"role": "user", "content": question}]}),
        "answer": answer,
        "answer_hash": digest_text(answer),
    }
    return an_interaction(**values | fields)
