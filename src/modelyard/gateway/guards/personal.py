"""The filter `personal_data`: e-mail addresses, phone numbers, cards, IBANs, national ids, IP addresses, secrets."""

import re
from functools import lru_cache
from typing import Any

from modelyard.core.errors import Corrupt
from modelyard.core.personal.addresses import IPV4, IPV6
from modelyard.core.personal.emails import EMAIL
from modelyard.core.personal.finding import KINDS, find_personal_data, suspicious
from modelyard.core.personal.national_ids import IDS
from modelyard.core.personal.phones import BARE_NUMBER, PHONE
from modelyard.core.personal.secrets import ASSIGNED, KEY
from modelyard.core.personal.spans import Span
from modelyard.gateway.guards.tails import open_ended

# Words without digits, at most 15 letters each: nothing is among them, and only the last may become part of something.
_WORDS = re.compile(r"[^\W\d_]{0,15}[,.!?;]?(?: [^\W\d_]{1,15}[,.!?;]?)*")
_BEGIN = re.compile(r"-----BEGIN ([A-Z ]{0,20})PRIVATE KEY-----")
# A private key is no longer: the bound of what a stream holds back; everything else ends within 700 characters, but
# for a token of three parts (JWT), which ends within 8,100.
MAX_KEY_CHARS = 10_000
# What each kind looks like, with every place at which its finder could begin; the card's runs are as long as a card.
_FORMS = {
    "key": (
        KEY.pattern,
        _BEGIN.pattern,
        ASSIGNED.pattern,
    ),
    "email": (EMAIL.pattern,),
    "iban": (r"(?<!\w)[A-Za-z]{2}\d{2}(?:[ -]{0,8}[A-Za-z0-9]){11,28}(?!\w)",),
    "card": (r"(?<!\d)\d{3,19}(?:[ -]\d{3,16}){0,6}(?!\w)",),
    "national_id": tuple(id.form.pattern for id in IDS),
    "ip": (IPV4.pattern, IPV6.pattern),
    "phone": (PHONE.pattern, BARE_NUMBER.pattern),
}


class PersonalData:
    """Finds personal data of some kinds; one for all texts."""

    __slots__ = ("_has_keys", "_kinds", "_open", "_suspicious")

    def __init__(self, kinds: tuple[str, ...] = KINDS) -> None:
        self._kinds = kinds
        self._has_keys = "key" in kinds
        self._suspicious = suspicious(kinds)
        self._open = _open_ended(kinds)

    def find(self, text: str, start: int) -> list[Span]:
        """What is found from `start` on."""
        if not self._suspicious.search(text):
            return []
        return [span for span in find_personal_data(text, self._kinds) if span[0] >= start]

    def held_from(self, text: str, start: int) -> int:
        """Where the first form begins that may still grow."""
        key = _open_key(text, start) if self._has_keys and "PRIVATE KEY-----" in text else len(text)
        if key == start:
            return start
        match = self._open.search(text, start, partial=True)
        return min(key, match.start()) if match else key

    def calm(self, text: str) -> int:
        """Where the last of plain words begins."""
        if not _WORDS.fullmatch(text):
            return -1
        return text.rfind(" ") + 1


def _open_key(text: str, start: int) -> int:
    """Where a private key begins that has not ended and still may."""
    while match := _BEGIN.search(text, start):
        last = f"-----END {match[1]}PRIVATE KEY-----"
        end = text.find(last, match.end() + 1)
        if end < 0 and len(text) - match.end() <= MAX_KEY_CHARS + len(last):
            return match.start()
        start = end if 0 <= end <= match.end() + MAX_KEY_CHARS else match.end()
    return len(text)


def read_kinds(option: str) -> tuple[str, ...]:
    """The kinds of an option such as `email,card`; all of them where it is empty. Raises: Corrupt."""
    asked = [kind.strip() for kind in option.split(",") if kind.strip()]
    if unknown := sorted(set(asked) - set(KINDS)):
        raise Corrupt(
            f"the filter personal_data knows no kind '{unknown[0]}'",
            expected=", ".join(KINDS),
            fix="correct the filter's option `kinds`",
        )
    return tuple(kind for kind in KINDS if kind in asked) or KINDS


@lru_cache(maxsize=64)
def _open_ended(kinds: tuple[str, ...]) -> Any:
    forms = [form for kind in kinds for form in _FORMS[kind]]
    return open_ended(*map(_alone, forms))


def _alone(form: str) -> str:
    """A form as one of several: its flags hold for it alone, and what refers back to a group takes anything alike."""
    form = form.replace(r"([ .-])\d{3}\1", r"[ .-]\d{3}[ .-]").replace("(?P=quote)", "[\"']?")
    form = re.sub(r"\(\?P<(?:quote|value)>", "(?:", form)
    return f"(?i:{form.removeprefix('(?i)')})" if form.startswith("(?i)") else f"(?:{form})"
