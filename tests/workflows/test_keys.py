"""Keys: made with rights, rotated with a grace, taken away."""

import pytest

from modelyard.core.clock import now_ms
from modelyard.core.digests import digest_text
from modelyard.core.errors import Conflict, InvalidInput, NotFound
from modelyard.ports.limits import Limits
from modelyard.workflows.keys import create_key, revoke_key, rotate_key
from modelyard.workflows.tools import Tools

HOUR_MS = 3_600_000
LIMITS = Limits(requests_per_minute=60, daily_nanousd=5)


def test_a_key_holds_its_rights(tools: Tools) -> None:
    given = ("chat", "chat", "embeddings")
    key, text = create_key(tools.records, "acme", scopes=given, services=("support",), limits=LIMITS)
    assert (key.scopes, key.services, key.limits) == (("chat", "embeddings"), ("support",), LIMITS)
    assert key.hash == digest_text(text)
    assert tools.records.routes.keys() == [key]
    with pytest.raises(InvalidInput, match="no scope 'talk'"):
        create_key(tools.records, "acme", scopes=("talk",))


def test_a_rotation_gives_the_same_rights_a_new_text_and_the_old_one_an_end(tools: Tools) -> None:
    old, old_text = create_key(tools.records, "acme", services=("support",), limits=LIMITS)
    before = now_ms()
    new, text = rotate_key(tools.records, old.id, grace_hours=2)
    assert text != old_text
    assert (new.tenant, new.services, new.limits, new.expires_ms) == ("acme", ("support",), LIMITS, 0)
    assert new.replaces == old.id
    stored = {key.id: key for key in tools.records.routes.keys()}  # noqa: SIM118
    assert stored[new.id] == new
    assert stored[old.id].hash == old.hash
    assert before + 2 * HOUR_MS <= stored[old.id].expires_ms <= now_ms() + 2 * HOUR_MS


def test_a_grace_never_makes_a_key_live_longer(tools: Tools) -> None:
    old, _ = create_key(tools.records, "acme", days=1)
    new, _ = rotate_key(tools.records, old.id, grace_hours=1000)
    ends = {key.id: key.expires_ms for key in tools.records.routes.keys()}  # noqa: SIM118
    assert ends == {old.id: old.expires_ms, new.id: old.expires_ms}
    newest, _ = rotate_key(tools.records, new.id, days=30)
    assert newest.expires_ms > now_ms() + 29 * 24 * HOUR_MS


def test_a_key_is_rotated_once_and_only_while_it_holds(tools: Tools) -> None:
    old, _ = create_key(tools.records, "acme")
    new, _ = rotate_key(tools.records, old.id, grace_hours=1)
    with pytest.raises(Conflict, match="was rotated already"):
        rotate_key(tools.records, old.id)
    rotate_key(tools.records, new.id, grace_hours=0)
    with pytest.raises(Conflict, match="has expired"):
        rotate_key(tools.records, new.id)
    assert len(tools.records.routes.keys()) == 3
    revoke_key(tools.records, new.id)
    with pytest.raises(NotFound, match="there is no key"):
        rotate_key(tools.records, new.id)
