"""API keys: from the text in a request's header to the key in the route table, by its hash. Keeps no key's text."""

import hashlib
from collections.abc import Mapping

from modelyard.core.clock import now_ms
from modelyard.gateway.errors import Refusal
from modelyard.ports.routes import Key

_CHALLENGE = ((b"www-authenticate", b"Bearer"),)


def index_keys(keys: tuple[Key, ...]) -> dict[str, Key]:
    """The keys by the hex digits of their SHA-256, with or without the `sha256:` in front."""
    return {key.hash.removeprefix("sha256:").lower(): key for key in keys}


def authenticate(keys: Mapping[str, Key], headers: Mapping[bytes, bytes]) -> Key:
    """The key that a request was made with, from `authorization` or, as Anthropic's clients send it, `x-api-key`.

    Looked up by hash, so its time tells nothing about other keys.

    Raises: Refusal (401) where it is missing, unknown or expired, or where the table has no keys at all.
    """
    if not keys:
        raise _refusal("no_api_keys", "This gateway has no API keys, so it refuses every request. Make a key first.")
    authorization = headers.get(b"authorization") or b"Bearer " + headers.get(b"x-api-key", b"")
    if authorization == b"Bearer ":
        raise _refusal("missing_api_key", "No API key was given. Send one as 'Authorization: Bearer <key>'.")
    scheme, _, text = authorization.partition(b" ")
    text = text.strip()
    if scheme.lower() != b"bearer" or not text:
        raise _refusal("invalid_api_key", "The Authorization header holds no key. Send 'Authorization: Bearer <key>'.")
    key = keys.get(hashlib.sha256(text).hexdigest())
    if key is None:
        raise _refusal("invalid_api_key", "This API key is not known here. Check it, or ask for a new one.")
    if 0 < key.expires_ms <= now_ms():
        raise _refusal("expired_api_key", f"The API key '{key.id}' has expired. Ask for a new one.")
    return key


def _refusal(code: str, message: str) -> Refusal:
    return Refusal(401, code, message, headers=_CHALLENGE)
