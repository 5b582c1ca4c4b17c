"""Phone numbers: by their form, or by the words before them."""

import re
from collections.abc import Iterator

from modelyard.core.personal.spans import Span

PHONE = re.compile(
    r"(?<![\w/#.+-])(?<!\d{3} )(?:"
    r"(?:\+|00)[1-9]\d{0,2}(?:[ .-]?\(0?\d{1,4}\))?(?:[ ./-]?\d{1,5}){2,6}"  # international
    r"|(?:1[ .-])?\(\d{3}\)[ .-]?\d{3}[ .-]\d{4}|(?:1[ .-])?[2-9]\d{2}([ .-])\d{3}\1\d{4}"  # North America
    r"|\(0\d{1,4}\)[ ]?\d{3,4}[ -]?\d{3,5}|0\d{2,5}[ /-]\d{3,8}(?:[ -]\d{2,5}){0,2}"  # a trunk 0 and its groups
    r"|0[1-9](?:[ .-]\d{2}){4}"  # pairs, as in France
    r"|07\d{9}"  # a British mobile number in one run
    r")(?![\w-]|[.,/]\d)"
)
BARE_NUMBER = re.compile(r"(?<![\w/#.+-])\d{7,13}(?![\w-]|[.,/]\d)")

# Words right before a number that say what it is.
_PHONE_CUE = re.compile(
    r"\b(?:call|phone|tel|telephone|mobile|cell|whatsapp|ring|reach|text|sms|fax)"
    r"(?:\W{1,3}(?:me|us|him|her|back|is|on|at|number|no|nr|my|the|under|this|to|please)\b){0,4}\W{0,4}$",
    re.IGNORECASE,
)
_OTHER_CUE = re.compile(
    r"\b(?:order|ticket|tracking|parcel|ref|reference|invoice|item|serial|case|booking|article|sku|isbn)"
    r"(?:[\s:#-]{1,3}(?:(?:num|no|nr)\.?|number|id|code|is|was)(?!\w)){0,3}[\s:#=]{0,3}$",
    re.IGNORECASE,
)


def phones(text: str) -> Iterator[Span]:
    """Phone numbers; order and tracking numbers stay what they are."""
    for match in PHONE.finditer(text):
        num_digits = sum(c.isdigit() for c in match[0])
        least = 8 if match[0].startswith("+") else 9
        before = text[max(0, match.start() - 40) : match.start()]
        is_other = _OTHER_CUE.search(before) and not match[0].startswith("+")
        if least <= num_digits <= 15 and not is_other:
            yield match.start(), match.end(), "phone"
    for match in BARE_NUMBER.finditer(text):
        before = text[max(0, match.start() - 40) : match.start()]
        if _PHONE_CUE.search(before) and not _OTHER_CUE.search(before):
            yield match.start(), match.end(), "phone"
