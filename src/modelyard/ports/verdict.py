"""Verdict: what a gate decided, check by check, with the evidence; approvals and overrides of it."""

from typing import Literal

import msgspec


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One demand of a policy: what was seen against what was demanded."""

    name: str
    passed: bool
    seen: str
    demanded: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A gate's decision on a release. `passed` only if every check passed; missing evidence is a failed check."""

    id: str
    release: str
    policy: str
    policy_digest: str
    passed: bool
    checks: tuple[Check, ...]
    reports: tuple[str, ...]
    created_ms: int


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A named person's decision on a verdict.

    `override` lets a release whose verdict failed go on trial traffic; it never lets it into production.
    """

    id: str
    verdict_id: str
    person: str
    decision: Literal["approve", "reject", "override"]
    reason: str
    at_ms: int
