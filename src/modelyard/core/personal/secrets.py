"""API keys and tokens, by the prefixes that their vendors publish; private keys; passwords that are assigned."""

import re
from collections.abc import Iterator

from modelyard.core.personal.spans import Span

KEY = re.compile(
    r"(?<![\w-])(?:"
    r"sk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,200}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,200}|gh[pousr]_[A-Za-z0-9]{30,200}"
    r"|github_pat_[A-Za-z0-9_]{30,200}|glpat-[A-Za-z0-9_-]{20,60}|xox[abprs]-[A-Za-z0-9-]{10,200}"
    r"|A(?:KIA|SIA)[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35}|hf_[A-Za-z0-9]{30,60}|npm_[A-Za-z0-9]{36}"
    r"|pypi-[A-Za-z0-9_-]{50,250}|SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"
    r"|eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,2000}"
    r")(?![\w-])"
)
PRIVATE = re.compile(
    r"-----BEGIN (?P<kind>[A-Z ]{0,20})PRIVATE KEY-----.{1,10000}?-----END (?P=kind)PRIVATE KEY-----", re.DOTALL
)
ASSIGNED = re.compile(
    r"(?i)\b(?:password|passwd|pwd|secret|api[_-]?key|access[_-]?token|auth[_-]?token|AccountKey)[\"']?\s{0,3}[:=]\s{0,3}"
    r"(?P<quote>[\"']?)(?P<value>[^\s\"',;]{8,200})(?P=quote)"
)
_MIN_CLASSES = 3


def secrets(text: str) -> Iterator[Span]:
    """Keys, tokens, private keys, and values assigned to a password or key that look like one."""
    for match in KEY.finditer(text):
        yield match.start(), match.end(), "key"
    for match in PRIVATE.finditer(text) if "PRIVATE KEY-----" in text else ():
        yield match.start(), match.end(), "key"
    for match in ASSIGNED.finditer(text):
        if _looks_random(match["value"]):
            yield match.start("value"), match.end("value"), "key"


def _looks_random(value: str) -> bool:
    """Whether a value mixes kinds of characters as passwords do, and is no placeholder such as `your_password`."""
    kinds = (str.islower, str.isupper, str.isdigit, lambda char: not char.isalnum())
    return sum(any(map(kind, value)) for kind in kinds) >= _MIN_CLASSES and len(set(value)) >= len(value) // 3
