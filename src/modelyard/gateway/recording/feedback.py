"""Feedback: a score or the right answer for an answer given earlier, checked and put in the journal's form.

It cannot check that the answer exists, as the gateway has no database: an id that nobody was given is taken, and joins
with nothing later on.
"""

from typing import Annotated

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.digests import digest_text
from modelyard.core.ids import new_id
from modelyard.gateway.dialects.responses.passing import ID_SEPARATOR
from modelyard.gateway.errors import Refusal
from modelyard.ports.interaction import Feedback

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    id: _Name
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    expected: str | None = None
    metric: _Name = "quality"
    comment: Annotated[str, msgspec.Meta(max_length=4096)] | None = None


_body_of = msgspec.json.Decoder(_Body)


def read_feedback(body: bytes, tenant: str, *, keep_text: bool) -> Feedback:
    """The feedback in a request's body. Of the right answer only the hash is kept, unless `keep_text` says otherwise.

    Of an id that tells the engine's too, as that of a kept response does, ours is taken.
    Raises: Refusal (400).
    """
    try:
        given = _body_of.decode(body)
    except msgspec.ValidationError as error:
        field = str(error).partition("`$.")[2].strip("`") or None
        raise Refusal(400, "invalid_feedback", f"The feedback does not fit: {error}.", param=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, "invalid_json", f"The body is not JSON ({error}).") from None
    if given.score is None and given.expected is None:
        raise Refusal(400, "invalid_feedback", "Give a 'score' from 0 to 1, or the 'expected' answer.", param="score")
    return Feedback(
        id=new_id(),
        interaction_id=given.id.partition(ID_SEPARATOR)[0],
        at_ms=now_ms(),
        tenant=tenant,
        metric=given.metric,
        score=-1.0 if given.score is None else given.score,
        expected_hash="" if given.expected is None else digest_text(given.expected.strip()),
        expected=(given.expected or "") if keep_text else "",
        comment=given.comment or "",
    )
