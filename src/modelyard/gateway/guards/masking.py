"""Personal data and secrets covered in what is journalled or logged (body policy `masked`)."""

from modelyard.core.personal.finding import KINDS, suspicious
from modelyard.core.personal.raw import find_raw
from modelyard.core.personal.spans import mask as cover

_suspicious = suspicious(KINDS)


def mask(text: str) -> str:
    """A text, or the raw JSON of a body, with what is found covered: `[EMAIL]`, `[CARD]`, `[KEY]`.

    In JSON, escapes are seen as what they stand for. A number that stands bare in it may be covered too: what comes
    out is a text to keep and to read, not one to send.
    """
    if "\\" not in text and not _suspicious.search(text):
        return text
    return cover(text, find_raw(text))
