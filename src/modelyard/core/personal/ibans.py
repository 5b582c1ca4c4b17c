"""Bank account numbers. Source: ISO 13616 (IBAN), with the lengths of its registry."""

import re
from collections.abc import Iterator

from modelyard.core.personal.spans import Span

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


def iban_valid(compact: str) -> bool:
    """Whether an IBAN without spaces has its country's length and the right check digits."""
    if len(compact) != _IBAN_LENGTHS.get(compact[:2].upper()):
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def ibans(text: str) -> Iterator[Span]:
    """Account numbers of a known country's length with the right check digits."""
    for match in _IBAN_START.finditer(text):
        wanted = _IBAN_LENGTHS.get(match[1].upper(), 0)
        end, compact = match.start(), ""
        while len(compact) < wanted and end < len(text) and (text[end].isalnum() or text[end] in " -"):
            compact += text[end] if text[end].isalnum() else ""
            end += 1
        is_alone = end == len(text) or not text[end].isalnum()
        if compact.isascii() and wanted and is_alone and iban_valid(compact):
            yield match.start(), end, "iban"
