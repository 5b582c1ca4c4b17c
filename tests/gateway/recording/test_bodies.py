"""What is kept of texts: by policy, by share, masked."""

import json
import re

import pytest

from modelyard.core.digests import digest_bytes, digest_text
from modelyard.core.ids import new_id
from modelyard.gateway.recording.bodies import NOTHING, Bodies, Kept, masked_json

REQUEST = b'{"messages": [{"role": "user", "content": "I am ada\\u0040x.org"}], "n": 1, "user": "ada@x.org"}'
ANSWER = " write to ada@x.org "
HASHES = Kept(digest_bytes(REQUEST), digest_text("write to ada@x.org"))


def mask(text: str) -> str:
    return re.sub(r"\S+@\S+", "[EMAIL]", text)


def test_each_policy_keeps_what_it_says() -> None:
    id = new_id()
    assert Bodies("none").of(id, REQUEST, ANSWER, ok=True) == NOTHING
    assert Bodies("hash").of(id, REQUEST, ANSWER, ok=True) == HASHES
    assert Bodies("hash").of(id, REQUEST, ANSWER, ok=False) == HASHES._replace(answer_hash="")
    full = Bodies("full").of(id, REQUEST, ANSWER, ok=True)
    assert full == HASHES._replace(request=REQUEST.decode(), answer=ANSWER)
    masked = Bodies("masked", mask=mask).of(id, REQUEST, ANSWER, ok=True)
    assert masked[:2] == HASHES[:2]
    assert "ada" not in masked.request + masked.answer, "an escape hides nothing from the mask"
    assert json.loads(masked.request)["messages"][0]["content"] == "I am [EMAIL]"
    assert json.loads(masked.request)["n"] == 1


def test_masked_without_a_mask_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="needs a mask"):
        Bodies("masked")


@pytest.mark.parametrize("body", [b"", b"{", b'"\xff"', b"[" * 100_000])
def test_what_cannot_be_read_is_not_kept_masked(body: bytes) -> None:
    assert masked_json(body, mask) == ""


def test_the_share_is_held_and_the_choice_is_the_ids() -> None:
    bodies = Bodies("full", 0.25)
    ids = [new_id() for _ in range(8000)]
    kept = {id for id in ids if bodies.keeps_text(id)}
    assert 1800 < len(kept) < 2200
    assert kept == {id for id in ids if Bodies("full", 0.25).of(id, REQUEST, ANSWER, ok=True).request}
    assert kept <= {id for id in ids if Bodies("full", 0.5).keeps_text(id)}, "a larger share only adds"
    assert not any(Bodies("full", 0.0).keeps_text(id) for id in ids)
    assert all(Bodies("full").keeps_text(id) for id in ids)
