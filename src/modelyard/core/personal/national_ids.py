"""Numbers that states give to people, by their form and check digits.

Where a number has no check digit, or one in ten passes it by chance, a word before it must say what it is.
Sources: the issuing authorities' published rules, named with each check.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

from modelyard.core.personal.cards import luhn_valid
from modelyard.core.personal.spans import Span


def _weighted(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def _ssn(text: str) -> bool:
    """US Social Security Administration: areas 000, 666 and 9xx, group 00 and serial 0000 are never given."""
    area, group, serial = text[:3], text[3:5], text[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def _steuer_id(text: str) -> bool:
    """Germany, BZSt: one digit of the first ten repeats, and ISO 7064 MOD 11,10."""
    most = max(text[:10].count(digit) for digit in set(text[:10]))
    product = 10
    for digit in text[:10]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return text[0] != "0" and 2 <= most <= 3 and (11 - product) % 10 == int(text[10])


def _nir(text: str) -> bool:
    """France, INSEE: 13 digits (Corsica has 2A and 2B) and 97 less their remainder by 97."""
    number = int(text[:13].replace("2A", "19").replace("2B", "18"))
    return 97 - number % 97 == int(text[13:])


def _dni(text: str) -> bool:
    """Spain, Ministerio del Interior: the number's remainder by 23 picks the letter; X, Y and Z are 0, 1 and 2."""
    number = int(text[:-1].upper().translate(str.maketrans("XYZ", "012")))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23] == text[-1].upper()


def _codice_fiscale(text: str) -> bool:
    """Italy, D.M. 23/12/1976: odd characters by a table, even ones by their value, the remainder by 26 is the last."""
    odd = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
    values = [int(c) if c.isdigit() else ord(c) - 65 for c in text.upper()]
    total = sum(odd[value] if place % 2 == 0 else value for place, value in enumerate(values[:15]))
    return total % 26 == values[15]


def _bsn(text: str) -> bool:
    """Netherlands, Rijksdienst voor Identiteitsgegevens: the eleven test."""
    return _weighted(text, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and int(text) > 0


def _pesel(text: str) -> bool:
    """Poland, Ministerstwo Cyfryzacji: a date with the century in the month, and weights 1 3 7 9."""
    month = int(text[2:4]) % 20
    return (
        1 <= month <= 12 and 1 <= int(text[4:6]) <= 31 and _weighted(text, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0
    )


def _personnummer(text: str) -> bool:
    """Sweden, Skatteverket: a date (a coordination number adds 60 to the day) and Luhn over the last ten."""
    return 1 <= int(text[-8:-6]) <= 12 and 1 <= int(text[-6:-4]) % 60 <= 31 and luhn_valid(text[-10:])


def _rijksregister(text: str) -> bool:
    """Belgium, IBZ: 97 less the remainder by 97 of nine digits, with a 2 before them for who was born since 2000."""
    return any(97 - int(prefix + text[:9]) % 97 == int(text[9:]) for prefix in ("", "2"))


def _cpf(text: str) -> bool:
    """Brazil, Receita Federal: two check digits by MOD 11; numbers of one digit alone are never given."""
    first = _weighted(text[:9], tuple(range(10, 1, -1))) * 10 % 11 % 10
    second = _weighted(text[:10], tuple(range(11, 1, -1))) * 10 % 11 % 10
    return len(set(text)) > 1 and text[9:] == f"{first}{second}"


_TURN = ((0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 5, 7, 6, 2, 8, 3, 0, 9, 4))


def _aadhaar(text: str) -> bool:
    """India, UIDAI: twelve digits that do not begin with 0 or 1, with Verhoeff's check digit."""
    check = 0
    for place, digit in enumerate(reversed(text)):
        turned = int(digit)
        for _ in range(place % 8):
            turned = _TURN[1][turned]
        check = _dihedral(check, turned)
    return check == 0 and text[0] not in "01"


def _dihedral(left: int, right: int) -> int:
    """The product in the symmetry group of the pentagon."""
    if left < 5:
        return (left + right) % 5 if right < 5 else 5 + (left + right) % 5
    return 5 + (left - right) % 5 if right < 5 else (left - right) % 5


def _resident_id(text: str) -> bool:
    """China, GB 11643-1999: a date of birth and ISO 7064 MOD 11-2."""
    try:
        date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return "10X98765432"[_weighted(text[:17], weights) % 11] == text[17].upper()


def _tfn(text: str) -> bool:
    """Australia, ATO: nine digits with weights 1 4 3 7 5 8 6 9 10, divided by 11."""
    return _weighted(text, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def _always(text: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class _Id:
    """A kind of number: its form, its check without separators, the words that must stand before."""

    form: re.Pattern[str]
    check: Callable[[str], bool]
    cue: re.Pattern[str] | None = None


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.,/-])(?<!\d )(?:{pattern})(?![\w-]|[ .,/]\d)")


def _cue(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?i)\b(?:{words})\b[^\n]{{0,30}}$")


IDS = (
    _Id(_form(r"\d{3}-\d{2}-\d{4}"), _ssn),
    _Id(_form(r"\d{9}|\d{3} \d{2} \d{4}"), _ssn, _cue("ssn|social security")),
    # UK, HMRC: prefixes that are not used are left out.
    _Id(
        _form(r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]"),
        _always,
    ),
    _Id(_form(r"\d{2} ?\d{3} ?\d{3} ?\d{3}"), _steuer_id, _cue("steuer|tax|idnr|tin")),
    _Id(_form(r"[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}"), _nir),
    _Id(_form(r"\d{8}-?[A-Za-z]|[XYZxyz]-?\d{7}-?[A-Za-z]"), _dni),
    _Id(_form(r"[A-Za-z]{6}\d{2}[A-EHLMPR-Ta-ehlmpr-t]\d{2}[A-Za-z]\d{3}[A-Za-z]"), _codice_fiscale),
    _Id(_form(r"\d{9}|\d{4}\.\d{2}\.\d{3}"), _bsn, _cue("bsn|burgerservicenummer|sofi")),
    _Id(_form(r"\d{11}"), _pesel, _cue("pesel")),
    _Id(_form(r"(?:\d{2})?\d{6}[-+]\d{4}"), _personnummer),
    _Id(_form(r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}"), _rijksregister),
    _Id(_form(r"\d{3}\.\d{3}\.\d{3}-\d{2}"), _cpf),
    _Id(_form(r"\d{11}"), _cpf, _cue("cpf")),
    _Id(_form(r"[2-9]\d{3} ?\d{4} ?\d{4}"), _aadhaar, _cue("aadhaar|aadhar|uidai")),
    _Id(_form(r"[1-8]\d{16}[\dXx]"), _resident_id),
    _Id(_form(r"\d{3}[ -]?\d{3}[ -]?\d{3}"), luhn_valid, _cue("sin|social insurance")),
    _Id(_form(r"\d{3} ?\d{3} ?\d{3}"), _tfn, _cue("tfn|tax file")),
)
_CUE_CHARS = 60
# Six digits at least, with what may stand between them; before and behind them up to nine more characters.
_MANY_DIGITS = re.compile(r"\d(?:[^\n\d]{0,2}\d){5,}")
_ROOM = 10


def national_ids(text: str) -> Iterator[Span]:
    """National ids of the United States, the United Kingdom, Germany, France, Spain, Italy, the Netherlands, Poland,
    Sweden, Belgium, Brazil, India, China, Canada and Australia."""
    for begin, end in _windows(text):
        for kind in IDS:
            for match in kind.form.finditer(text, begin, end):
                before = text[max(0, match.start() - _CUE_CHARS) : match.start()]
                if (kind.cue is None or kind.cue.search(before)) and kind.check(re.sub(r"[ .+-]", "", match[0])):
                    yield match.start(), match.end(), "national_id"


def _windows(text: str) -> Iterator[tuple[int, int]]:
    """The stretches of a text that have enough digits, with room for letters around: all forms fit into one."""
    begin = end = 0
    for match in _MANY_DIGITS.finditer(text):
        if match.start() - _ROOM > end and end:
            yield begin, end
            begin = match.start() - _ROOM
        elif not end:
            begin = max(0, match.start() - _ROOM)
        end = match.end() + _ROOM
    if end:
        yield begin, end
