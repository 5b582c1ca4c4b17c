"""API keys: made here, shown once, kept only as hashes."""

import secrets

from modelyard.core.clock import now_ms
from modelyard.core.digests import digest_text
from modelyard.core.errors import NotFound
from modelyard.core.ids import new_id
from modelyard.ports.records import Records
from modelyard.ports.routes import Key
from modelyard.workflows.tools import said

_PREFIX = "my-"
_DAY_MS = 24 * 60 * 60 * 1000


def create_key(records: Records, tenant: str, *, days: int = 0) -> tuple[Key, str]:
    """Make a key for a tenant and return its record and its text. The text is nowhere else: show it once.

    `days` of 0 means that it never expires. Fast hashing is sound: the text is 256 random bits, not a password.
    """
    text = _PREFIX + secrets.token_urlsafe(32)
    expires_ms = now_ms() + days * _DAY_MS if days else 0
    key = Key(id=new_id(), hash=digest_text(text), tenant=said("the tenant", tenant), expires_ms=expires_ms)
    records.routes.add_key(key)
    return key, text


def revoke_key(records: Records, id: str) -> None:
    """Take a key away. Raises: NotFound."""
    known = [key.id for key in records.routes.keys()]  # noqa: SIM118 - no dict
    if id not in known:
        raise NotFound(f"there is no key '{id}'", expected=", ".join(known) or "a key", fix="modelyard keys list")
    records.routes.remove_key(id)
