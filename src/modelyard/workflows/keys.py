"""API keys: made here, shown once, kept only as hashes."""

import secrets
from collections.abc import Sequence
from typing import get_args

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.digests import digest_text
from modelyard.core.errors import Conflict, InvalidInput, NotFound
from modelyard.core.ids import new_id
from modelyard.ports.limits import Key, Limits, Scope
from modelyard.ports.records import Records
from modelyard.workflows.tools import said

SCOPES: tuple[Scope, ...] = get_args(Scope)
_PREFIX = "my-"
_HOUR_MS = 60 * 60 * 1000
_DAY_MS = 24 * _HOUR_MS


def create_key(
    records: Records,
    tenant: str,
    *,
    days: int = 0,
    scopes: Sequence[str] = (),
    services: Sequence[str] = (),
    limits: Limits | None = None,
) -> tuple[Key, str]:
    """Make a key for a tenant and return its record and its text. The text is nowhere else: show it once.

    `days` of 0 means that it never expires; no `scopes` and no `services` mean all of them. Raises: InvalidInput.
    """
    text = _new_text()
    key = Key(
        id=new_id(),
        hash=digest_text(text),
        tenant=said("the tenant", tenant),
        expires_ms=_after_days(days),
        scopes=_scopes(scopes),
        services=_once(services),
        limits=limits or Limits(),
    )
    records.routes.add_key(key)
    return key, text


def rotate_key(records: Records, id: str, *, grace_hours: float = 24.0, days: int = 0) -> tuple[Key, str]:
    """Make a new text with the same rights; the old one ends after the grace, or when it would have anyhow.

    The new one lives `days`, or (0) as long as the old one was to. Raises: NotFound; Conflict where the old one has
    expired or was rotated already.
    """
    old, now = _find(records, id), now_ms()
    if 0 < old.expires_ms <= now:
        raise Conflict(f"key '{id}' has expired", expected="a key that still holds", fix="modelyard keys create TENANT")
    text = _new_text()
    key = msgspec.structs.replace(
        old,
        id=new_id(),
        hash=digest_text(text),
        expires_ms=_after_days(days) or old.expires_ms,
        replaces=old.id,
    )
    ends_ms = now + round(grace_hours * _HOUR_MS)
    records.routes.rotate_key(key, old_expires_ms=min(ends_ms, old.expires_ms or ends_ms))
    return key, text


def revoke_key(records: Records, id: str) -> None:
    """Take a key away. Raises: NotFound."""
    _find(records, id)
    records.routes.remove_key(id)


def _find(records: Records, id: str) -> Key:
    known = {key.id: key for key in records.routes.keys()}  # noqa: SIM118 - no dict
    if id not in known:
        raise NotFound(f"there is no key '{id}'", expected=", ".join(known) or "a key", fix="modelyard keys list")
    return known[id]


def _new_text() -> str:
    """256 random bits: no password, so that fast hashing is sound."""
    return _PREFIX + secrets.token_urlsafe(32)


def _after_days(days: int) -> int:
    return now_ms() + days * _DAY_MS if days else 0


def _scopes(names: Sequence[str]) -> tuple[Scope, ...]:
    if unknown := [name for name in names if name not in SCOPES]:
        raise InvalidInput(f"there is no scope '{unknown[0]}'", expected=f"one of {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in names)


def _once(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
