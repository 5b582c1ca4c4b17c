"""All that is found in a text: a pattern proposes, a checksum or the words beside it decide.

So order numbers, versions and dates survive.
"""

import re
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache

from modelyard.core.personal.addresses import addresses
from modelyard.core.personal.cards import cards
from modelyard.core.personal.emails import emails
from modelyard.core.personal.ibans import ibans
from modelyard.core.personal.national_ids import national_ids
from modelyard.core.personal.phones import phones
from modelyard.core.personal.secrets import secrets
from modelyard.core.personal.spans import Span, beside

Finder = Callable[[str], Iterator[Span]]
# The earlier kind wins a place. With each finder goes a pattern that no text lacks in which it finds something; it is
# written so that RE2 reads it too.
FINDERS: dict[str, tuple[Finder, str]] = {
    "key": (
        secrets,
        r"sk-|[sr]k_|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|hf_|npm_|A[KS]IA|AIza|eyJ|pypi-|SG\.|PRIVATE KEY"
        r"|(?i:password|passwd|pwd|secret|api[_-]?key|token|accountkey)",
    ),
    "email": (emails, "@"),
    "iban": (ibans, r"[A-Za-z]{2}\d\d"),
    "card": (cards, r"\d(?:[ -]?\d){11,}"),
    "national_id": (national_ids, r"\d(?:[^\n]{0,2}\d){5,}"),
    "ip": (addresses, r"\d\.\d{1,3}\.\d{1,3}\.|:[0-9A-Fa-f:]"),
    "phone": (phones, r"\d(?:[^\n]{0,3}\d){6,}"),
}
KINDS = tuple(FINDERS)


def find_personal_data(text: str, kinds: Collection[str] = KINDS) -> list[Span]:
    """What is found, as (start, end, kind) in order and without overlaps; see `FINDERS` for who wins a place."""
    return settled(text, [finder for kind, (finder, _) in FINDERS.items() if kind in kinds])


def settled(text: str, finders: list[Finder]) -> list[Span]:
    """What the finders find; the earlier one wins a place."""
    taken: list[Span] = []
    for finder in finders:
        taken = beside(taken, finder(text))
    return taken


@lru_cache(maxsize=64)
def suspicious(kinds: tuple[str, ...] = KINDS) -> re.Pattern[str]:
    """A pattern that is in every text in which anything of these kinds is found."""
    return re.compile("|".join(f"(?:{FINDERS[kind][1]})" for kind in kinds))
