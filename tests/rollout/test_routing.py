"""The services and tables a rollout asks for."""

import msgspec
import pytest

from modelyard.core.errors import Conflict, InvalidInput
from modelyard.ports.routes import Key, RouteTable, Service, Variant
from modelyard.rollout.machine import Decision, advance
from modelyard.rollout.routing import next_table, trial_service
from tests.rollout.rollouts import CANARY, CHALLENGER, CHAMPION, SHADOW, make_rollout


def make_variant(release: str) -> Variant:
    return Variant(release=release, ref="support@1", engine_url="http://127.0.0.1:9000", model="m")


OLD, NEW = make_variant(CHAMPION), make_variant(CHALLENGER)
SERVICE = Service(name="support", champion=OLD, body_policy="hash")


def test_a_shadow_step_sends_copies_only() -> None:
    service = trial_service(SERVICE, OLD, NEW, make_rollout(SHADOW, CANARY))
    assert (service.shadow, service.weight_bp) == (True, 0)
    assert all(service.assign(f"unit {n}")[0] == "champion" for n in range(50))


def test_a_canary_step_sends_a_share() -> None:
    rollout = advance(make_rollout(SHADOW, CANARY), Decision(kind="advance", reason=""), now_ms=1)
    service = trial_service(SERVICE, OLD, NEW, rollout)
    assert (service.shadow, service.weight_bp, service.salt) == (False, 2500, rollout.salt)
    assert (service.rollout_id, service.body_policy) == (rollout.id, "hash")
    share = sum(service.assign(f"unit {n}")[0] == "challenger" for n in range(2000)) / 2000
    assert 0.2 < share < 0.3


def test_wrong_releases_and_wrong_moments_are_refused() -> None:
    rollout = make_rollout(CANARY)
    over = advance(rollout, Decision(kind="promote", reason=""), now_ms=1)
    with pytest.raises(Conflict, match="challenger variant"):
        trial_service(SERVICE, OLD, OLD, rollout)
    with pytest.raises(Conflict, match="champion variant"):
        trial_service(SERVICE, NEW, NEW, rollout)
    with pytest.raises(Conflict, match="is promoted"):
        trial_service(SERVICE, OLD, NEW, over)


def test_tables_count_up() -> None:
    key = Key(id="k", hash="00", tenant="acme")
    first = next_table(None, [SERVICE], [key], now_ms=5)
    assert first == RouteTable(version=1, created_ms=5, services=(SERVICE,), keys=(key,))
    other = msgspec.structs.replace(SERVICE, name="abuse")
    second = next_table(first, [SERVICE, other], [], now_ms=6)
    assert (second.version, [service.name for service in second.services]) == (2, ["abuse", "support"])
    with pytest.raises(InvalidInput, match="given twice"):
        next_table(second, [SERVICE, SERVICE], [], now_ms=7)
