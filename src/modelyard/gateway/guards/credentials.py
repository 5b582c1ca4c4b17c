"""The engines' keys: read where the route table names them, sent in the upstream head, and nowhere else.

A variant's `credential` names an environment variable of the gateway, or, with `_FILE` behind its name, one that holds
the path of a file with the key.
"""

import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from modelyard.core.personal.secrets import secrets
from modelyard.core.personal.spans import beside, mask
from modelyard.gateway.errors import Refusal
from modelyard.ports.routes import Variant
from modelyard.ports.sheets import sheet_of

_MIN_SCRUBBED_CHARS = 6
_BEARER = re.compile(r"(?i)\b(bearer|x-api-key:|api-key:)\s+[A-Za-z0-9._~+/=-]{8,}")

logger = logging.getLogger(__name__)


class Credential:
    """One key. It shows itself to nobody but `head`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Credential(...)"

    def __reduce__(self) -> str:
        raise TypeError("a credential is not to be written anywhere")

    def head(self, engine: str) -> bytes:
        """The lines that the upstream head gets, each with its end."""
        auth = sheet_of(engine).auth
        if auth == "bearer":
            return f"authorization: Bearer {self._text}\r\n".encode()
        return f"{auth}: {self._text}\r\n".encode()

    def hidden_in(self, text: str) -> str:
        """A text without the key in it, also as JSON and addresses would write it."""
        return text.replace(self._text, "[KEY]")


class Credentials:
    """The keys that a route table names, read once when it is taken. A missing one spoils its variants alone."""

    __slots__ = ("_found", "missing")

    def __init__(self, variants: Iterable[Variant], environment: Mapping[str, str] = os.environ) -> None:
        self._found: dict[str, Credential] = {}
        self.missing: dict[str, str] = {}
        for name in sorted({variant.credential for variant in variants if variant.credential}):
            text, trouble = _read(name, environment)
            if text:
                self._found[name] = Credential(text)
            else:
                self.missing[name] = trouble
                logger.error("the credential %s cannot be used: %s; its variants answer 503", name, trouble)

    def head(self, variant: Variant) -> bytes:
        """The lines for a variant's upstream head, none where it needs no key. Raises: Refusal (503) where it lacks."""
        if not variant.credential:
            return b""
        found = self._found.get(variant.credential)
        if found is None:
            message = "The model behind this service is not set up: its credential is missing at the gateway."
            raise Refusal(503, "credential_missing", message)
        return found.head(variant.engine)

    def usable(self, variant: Variant) -> bool:
        """Whether a variant has the key it needs."""
        return not variant.credential or variant.credential in self._found

    def scrub(self, text: str) -> str:
        """A text to be logged or passed on, such as an engine's error, without these keys or anything like a key."""
        for credential in self._found.values():
            text = credential.hidden_in(text)
        return scrub(text)


def scrub(text: str) -> str:
    """A text without anything that has a known form of a key or token."""
    text = _BEARER.sub(r"\1 [KEY]", text)
    spans = beside([], secrets(text))
    return mask(text, spans) if spans else text


def _read(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """The key, or what is wrong with it; neither names the file, which may lie in a telling place."""
    text = environment.get(name, "")
    if path := environment.get(f"{name}_FILE", "") if not text else "":
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            return "", f"the file that {name}_FILE names cannot be read ({type(error).__name__})"
    text = text.strip()
    if not text:
        return "", f"neither {name} nor {name}_FILE is set"
    if len(text) < _MIN_SCRUBBED_CHARS or not (text.isascii() and text.isprintable() and " " not in text):
        return "", f"{name} holds what is no key (expected at least {_MIN_SCRUBBED_CHARS} plain characters)"
    return text, ""
