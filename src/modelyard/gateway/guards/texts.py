"""The texts in a request's JSON, where they stand there: no more is taken apart, and nothing is written anew."""

import re
from collections.abc import Sequence

import msgspec

# A string, and whether a colon makes it a key. Strings hold no quotes but escaped ones.
_STRING = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"(\s*:)?', re.DOTALL)
# Members whose values are no texts: roles, names, ids, addresses and data of files.
_NO_TEXTS = frozenset(
    b"role type id tool_call_id tool_use_id call_id item_id file_id status url image_url file_data data format detail"
    b" media_type encrypted_content signature".split()
)
# Fields of a body that hold what a caller says; what is in others, such as `model` or `user`, is looked at by nobody.
TEXT_FIELDS = (
    "messages", "prompt", "input", "system", "instructions", "suffix", "prediction", "tools", "functions", "metadata",
)  # fmt: skip

Place = tuple[int, int]

_decode = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def texts_in(raw: bytes, *, all_of_them: bool = False) -> tuple[list[str], list[Place]]:
    """Every text in a JSON value, and where its string with its quotes stands.

    Left out are members that hold no texts, such as roles and addresses, unless all are asked for.
    """
    texts: list[str] = []
    places: list[Place] = []
    key, key_end = b"", -1
    for match in _STRING.finditer(raw):
        if match[2]:
            key, key_end = match[1], match.end()
        elif match[1] and (all_of_them or not (key in _NO_TEXTS and not raw[key_end : match.start()].strip())):
            try:
                texts.append(_decode(raw[match.start() : match.end()]))
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            places.append(match.span())
    return texts, places


def with_texts(raw: bytes, places: Sequence[Place], old: Sequence[str], new: Sequence[str]) -> bytes:
    """The JSON value with other texts at their places; everything else stays byte for byte."""
    pieces, done = [], 0
    for (start, end), before, after in zip(places, old, new, strict=True):
        if before != after:
            pieces += [raw[done:start], _encode(after)]
            done = end
    return b"".join([*pieces, raw[done:]])
