"""Finding personal data in text: e-mail addresses, phone and card numbers, IBANs, IP addresses, API keys.

A pattern proposes, a checksum or the words beside it decide, so that order numbers, versions and dates survive.
Sources: ISO/IEC 7812-1 (Luhn), ISO 13616 (IBAN), the vendors' published key prefixes.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator

import polars as pl

Span = tuple[int, int, str]

LABELS = {
    "key": "an API key",
    "email": "an e-mail address",
    "iban": "an IBAN",
    "card": "a card number",
    "ip": "an IP address",
    "phone": "a phone number",
}

_KEY = re.compile(
    r"(?<![\w-])(?:"
    r"sk-[A-Za-z0-9_-]{20,200}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,200}|gh[pousr]_[A-Za-z0-9]{30,200}"
    r"|github_pat_[A-Za-z0-9_]{30,200}|glpat-[A-Za-z0-9_-]{20,60}|xox[abprs]-[A-Za-z0-9-]{10,200}"
    r"|A(?:KIA|SIA)[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35}|hf_[A-Za-z0-9]{30,60}|npm_[A-Za-z0-9]{36}"
    r"|eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,2000}"
    r")(?![\w-])"
)
_EMAIL = re.compile(
    r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_](?:[\w-]{0,22}[^\W_])(?![\w-])"
)
_IBAN_START = re.compile(r"(?<!\w)([A-Za-z]{2})\d{2}(?=[ -]?[A-Za-z0-9])")
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18,
    "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24,
    "SI": 19, "SK": 24, "SM": 27, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
# Cards are printed in groups of three digits or more.
_CARD_RUN = re.compile(r"(?<![\w.,-])\d{3,}(?:[ -]\d{3,})*(?!\w)")
_CARD_BRAND = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"
    r"|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|(?:6011|64[4-9]\d|65\d{2}|35[2-8]\d|62\d{2})\d{12,15}"
    r"|(?:5018|5020|5038|6304|6759|676[1-3])\d{8,15}"
)
_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_PHONE = re.compile(
    r"(?<![\w/#.+-])(?<!\d{3} )(?:"
    r"(?:\+|00)[1-9]\d{0,2}(?:[ .-]?\(0?\d{1,4}\))?(?:[ ./-]?\d{2,5}){2,5}"  # international
    r"|(?:1[ .-])?\(\d{3}\)[ .-]?\d{3}[ .-]\d{4}|(?:1[ .-])?[2-9]\d{2}([ .-])\d{3}\1\d{4}"  # North America
    r"|\(0\d{1,4}\)[ ]?\d{3,4}[ -]?\d{3,5}|0\d{2,5}[ /-]\d{3,8}(?:[ -]\d{2,5}){0,2}"  # a trunk 0 and its groups
    r"|0[1-9](?:[ .-]\d{2}){4}"  # pairs, as in France
    r"|07\d{9}"  # a British mobile number in one run
    r")(?![\w-]|[.,/]\d)"
)
_BARE_NUMBER = re.compile(r"(?<![\w/#.+-])\d{7,13}(?![\w-]|[.,/]\d)")

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
_VERSION_CUE = re.compile(r"(?:\bv|\bver|version|release|build|firmware|section|chapter)[ .:]{0,2}$", re.IGNORECASE)

_SUSPECT = (
    r"@|\d[\d .:/()-]{5,}|[A-Za-z]{2}\d{2}[ -]?[A-Za-z0-9]|[0-9A-Fa-f]:[0-9A-Fa-f:]+"
    r"|sk-|[sr]k_|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|hf_|npm_|A[KS]IA|AIza|eyJ"
)


def may_hold_personal_data(text: pl.Expr) -> pl.Expr:
    """Whether a text is worth a closer look: a fast test that never says no to one that holds something."""
    return text.str.contains(_SUSPECT).fill_null(False)


def find_personal_data(text: str) -> list[Span]:
    """What is found, as (start, end, kind) in order and without overlaps; the earlier kind wins a place."""
    taken: list[Span] = []
    finders = (_keys, _emails, _ibans, _cards, _ips, _phones)
    for finder in finders:
        for start, end, kind in finder(text):
            if all(end <= s or e <= start for s, e, _ in taken):
                taken.append((start, end, kind))
    return sorted(taken)


def mask(text: str, spans: Iterable[Span]) -> str:
    """The text with each span replaced by its kind: `[EMAIL]`, `[PHONE]`, `[CARD]`, `[IBAN]`, `[IP]`, `[KEY]`."""
    pieces, done = [], 0
    for start, end, kind in spans:
        pieces += [text[done:start], f"[{kind.upper()}]"]
        done = end
    return "".join([*pieces, text[done:]])


def luhn_valid(digits: str) -> bool:
    """Whether the last digit is the check digit of the others."""
    doubled = [int(c) * (2 if place % 2 else 1) for place, c in enumerate(reversed(digits))]
    return sum(d // 10 + d % 10 for d in doubled) % 10 == 0


def iban_valid(compact: str) -> bool:
    """Whether an IBAN without spaces has its country's length and the right check digits."""
    if len(compact) != _IBAN_LENGTHS.get(compact[:2].upper()):
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _keys(text: str) -> Iterator[Span]:
    for match in _KEY.finditer(text):
        yield match.start(), match.end(), "key"


def _emails(text: str) -> Iterator[Span]:
    for match in _EMAIL.finditer(text) if "@" in text else ():
        yield match.start(), match.end(), "email"


def _ibans(text: str) -> Iterator[Span]:
    for match in _IBAN_START.finditer(text):
        wanted = _IBAN_LENGTHS.get(match[1].upper(), 0)
        end, compact = match.start(), ""
        while len(compact) < wanted and end < len(text) and (text[end].isalnum() or text[end] in " -"):
            compact += text[end] if text[end].isalnum() else ""
            end += 1
        is_alone = end == len(text) or not text[end].isalnum()
        if compact.isascii() and wanted and is_alone and iban_valid(compact):
            yield match.start(), end, "iban"


def _cards(text: str) -> Iterator[Span]:
    """Runs of digit groups; a card may stand beside other numbers, so every stretch of groups is tried."""
    for run in _CARD_RUN.finditer(text):
        if run.end() - run.start() < 12:
            continue
        groups = [(m.start() + run.start(), m.end() + run.start()) for m in re.finditer(r"\d+", run[0])]
        yield from _cards_in(text, groups)


def _cards_in(text: str, groups: list[tuple[int, int]]) -> Iterator[Span]:
    first = 0
    while first < len(groups):
        digits, found = "", None
        for last in range(first, len(groups)):
            digits += text[slice(*groups[last])]
            if len(digits) > 19:
                break
            if _CARD_BRAND.fullmatch(digits) and luhn_valid(digits):
                found = last
        if found is not None:
            yield groups[first][0], groups[found][1], "card"
        first = first + 1 if found is None else found + 1


def _ips(text: str) -> Iterator[Span]:
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            if _is_address(match[0]) and not _VERSION_CUE.search(text[max(0, match.start() - 12) : match.start()]):
                yield match.start(), match.end(), "ip"


def _is_address(text: str) -> bool:
    """Whether it is an address of somebody: not of this machine, and no `a::b` of a program."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    is_code = address.version == 6 and len(text.replace(":", "")) < 5
    return not (address.is_loopback or address.is_unspecified or is_code)


def _phones(text: str) -> Iterator[Span]:
    for match in _PHONE.finditer(text):
        num_digits = sum(c.isdigit() for c in match[0])
        least = 8 if match[0].startswith("+") else 9
        before = text[max(0, match.start() - 40) : match.start()]
        is_other = _OTHER_CUE.search(before) and not match[0].startswith("+")
        if least <= num_digits <= 15 and not is_other:
            yield match.start(), match.end(), "phone"
    for match in _BARE_NUMBER.finditer(text):
        before = text[max(0, match.start() - 40) : match.start()]
        if _PHONE_CUE.search(before) and not _OTHER_CUE.search(before):
            yield match.start(), match.end(), "phone"
