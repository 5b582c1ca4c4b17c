"""Bodies: what of a request's and an answer's texts is recorded, by the service's policy."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from modelyard.core.digests import digest_bytes, digest_text
from modelyard.ports.routes import BodyPolicy

Mask = Callable[[str], str]
_TAIL_DIGITS = 8


class Kept(NamedTuple):
    """The four fields of an `Interaction` that stand for texts."""

    request_hash: str = ""
    answer_hash: str = ""
    request: str = ""
    answer: str = ""


NOTHING = Kept()


class Bodies:
    """What is kept of one service's bodies. Make it when the route table is swapped.

    `share` of the texts that `full` and `masked` keep is kept, chosen by the random end of the interaction's id, so
    that who has the id can say whether its texts were kept. Hashes are kept of all. `mask` takes personal data out of
    a text; hashes are those of the texts as they were.
    """

    __slots__ = ("_below", "_mask", "_policy")

    def __init__(self, policy: BodyPolicy, share: float = 1.0, mask: Mask | None = None) -> None:
        if policy == "masked" and mask is None:
            raise ValueError("the body policy 'masked' needs a mask")
        self._policy = policy
        self._below = round(share * 16**_TAIL_DIGITS)
        self._mask = mask if policy == "masked" else None

    def keeps_text(self, interaction_id: str) -> bool:
        """Whether the texts of this interaction are kept."""
        return self._policy in ("full", "masked") and int(interaction_id[-_TAIL_DIGITS:], 16) < self._below

    def of(self, interaction_id: str, request: bytes, answer: str, *, ok: bool) -> Kept:
        """What to record. The answer's hash is that of a whole answer alone (`ok`)."""
        if self._policy == "none":
            return NOTHING
        request_hash = digest_bytes(request)
        answer_hash = digest_text(answer.strip()) if ok else ""
        if not self.keeps_text(interaction_id):
            return Kept(request_hash, answer_hash)
        if self._mask is None:
            return Kept(request_hash, answer_hash, request.decode(errors="replace"), answer)
        return Kept(request_hash, answer_hash, masked_json(request, self._mask), self._mask(answer))


def masked_json(body: bytes, mask: Mask) -> str:
    """A JSON document with every text in it masked, after its escapes were read; empty where it cannot be read."""
    try:
        return msgspec.json.encode(_masked(msgspec.json.decode(body), mask)).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def _masked(value: Any, mask: Mask) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_masked(one, mask) for one in value]
    if isinstance(value, dict):
        return {mask(name): _masked(one, mask) for name, one in value.items()}
    return value
