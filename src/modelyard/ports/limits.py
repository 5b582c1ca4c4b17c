"""Limits: who may use how much. They travel in the route table; a number of 0 means no limit."""

from typing import Literal

import msgspec

Scope = Literal["chat", "completions", "embeddings", "responses", "messages", "models", "feedback"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant, key, user or service may use.

    Tokens are those of prompt and answer together. Days and months are those of UTC. `burst` is how many requests may
    come at once before the rate holds; 0 stands for a tenth of a minute's worth, at least one.
    """

    requests_per_minute: int = 0
    burst: int = 0
    tokens_per_minute: int = 0
    concurrency: int = 0
    daily_nanousd: int = 0
    monthly_nanousd: int = 0


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent may use in one session, or in one trace; `repeats`: how often the same call may come in a row."""

    calls: int = 0
    tokens: int = 0
    cost_nanousd: int = 0
    repeats: int = 0


class SpendAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """When a tenant spends faster than `nanousd_per_minute`: it is told, or its traffic is stopped."""

    nanousd_per_minute: int
    action: Literal["alarm", "stop"] = "alarm"


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A group of keys with limits of its own. `user_limits` hold for each of its users (the body's `user`).

    A request of a tenant with a lower `priority` is shed first where an engine is full.
    """

    name: str
    limits: Limits = Limits()
    user_limits: Limits = Limits()
    session_caps: Caps = Caps()
    trace_caps: Caps = Caps()
    spend_alarm: SpendAlarm | None = None
    priority: int = 0


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as stored: the SHA-256 of its text, never the text. `expires_ms` of 0 means never.

    Empty `scopes` and `services` mean all of them. `replaces` names the key that this one was rotated from.
    """

    id: str
    hash: str
    tenant: str
    expires_ms: int = 0
    scopes: tuple[Scope, ...] = ()
    services: tuple[str, ...] = ()
    limits: Limits = Limits()
    replaces: str = ""
