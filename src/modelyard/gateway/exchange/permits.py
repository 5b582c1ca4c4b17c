"""Permits: whether a request may go on at all: kill switch, rights of its key, limits, agents' caps, spend alarms."""

from modelyard.gateway.errors import Refusal
from modelyard.gateway.exchange.call import Call
from modelyard.gateway.guards.kills import Kills
from modelyard.gateway.limits.agents import AllAgents, Calls, call_digest
from modelyard.gateway.limits.alarms import Alarm, Alarms
from modelyard.gateway.limits.leases import SharedGrant
from modelyard.gateway.limits.local import Grant, LocalLimits
from modelyard.gateway.limits.shared import SharedLimits
from modelyard.gateway.limits.subjects import Subject, Subjects
from modelyard.ports.limits import Scope
from modelyard.ports.routes import Key, RouteTable


class Permit:
    """Leave to make one request, with what it has reserved. `settle` it exactly once, whatever happens."""

    __slots__ = ("_alarm", "_calls", "_grant")

    def __init__(self, grant: Grant | SharedGrant | None, calls: Calls | None, alarm: Alarm | None) -> None:
        self._grant = grant
        self._calls = calls
        self._alarm = alarm

    def settle(self, tokens: int = 0, cost_nanousd: int = 0) -> None:
        """What the request used in truth, in the step that writes its record."""
        if self._grant is not None:
            self._grant.settle(tokens, cost_nanousd)
        if self._calls is not None:
            self._calls.settle(tokens, cost_nanousd)
        if self._alarm is not None and cost_nanousd:
            self._alarm.spend(cost_nanousd)
            self._alarm = None

    def charge(self, tokens: int, cost_nanousd: int) -> None:
        """What an attempt used after which another one is made, in the step that writes its record."""
        if self._grant is not None:
            self._grant.charge(tokens, cost_nanousd)
        if self._calls is not None:
            self._calls.charge(tokens, cost_nanousd)
        if self._alarm is not None:
            self._alarm.spend(cost_nanousd)

    def headers(self) -> bytes:
        """The x-ratelimit lines for the answer's head."""
        return self._grant.headers() if self._grant is not None else b""


class Permits:
    """Gives permits for one event loop. `shared` is None where limits are those of this process alone."""

    def __init__(self, kills: Kills) -> None:
        self.kills = kills
        self.subjects = Subjects()
        self.local = LocalLimits(self.subjects)
        self.shared: SharedLimits | None = None
        self.agents = AllAgents()
        self.alarms = Alarms()
        kills.on_lift.append(self.alarms.lift)

    def take_table(self, table: RouteTable) -> None:
        """Prepare for a new route table, in the step that swaps it."""
        self.subjects.take_table(table)
        self.agents.take_table(table)
        self.alarms.take_table(table)

    def check(self, call: Call) -> None:
        """Raises: Refusal (403) for what is stopped, or not the key's to do; (429) for a tenant that is stopped."""
        key = call.api_key
        check_scope(key, call.said.kind)
        service = call.route.service.name
        if key.services and service not in key.services:
            message = f"The API key '{key.id}' may not use '{service}'. Use one of: {', '.join(key.services)}."
            raise Refusal(403, "service_not_allowed", message, param="model")
        if self.kills.active:
            self.kills.check(key.id, key.tenant, service)
        alarm = self.alarms.of(key.tenant)
        if alarm is not None and alarm.rings:
            alarm.admit()

    def subjects_of(self, call: Call) -> tuple[Subject, ...]:
        """Whose limits a request counts against."""
        return self.subjects.of(call.tenant, call.key, call.route.service.name, call.user)

    def wants_numbers(self, call: Call, subjects: tuple[Subject, ...]) -> bool:
        """Whether anything counts the tokens and the money of this request."""
        return bool(subjects) or self.agents.of(call.tenant) is not None or self.alarms.of(call.tenant) is not None

    def take(self, call: Call, subjects: tuple[Subject, ...], tokens: int, cost_nanousd: int) -> Permit:
        """Reserve here. Raises: Refusal (429)."""
        calls = self._call(call, tokens, cost_nanousd)
        try:
            grant = self.local.take(subjects, tokens, cost_nanousd) if subjects else None
        except Refusal:
            _forget(calls)
            raise
        return Permit(grant, calls, self.alarms.of(call.tenant))

    async def take_shared(self, call: Call, subjects: tuple[Subject, ...], tokens: int, cost_nanousd: int) -> Permit:
        """Reserve in Redis. Raises: Refusal (429, 503)."""
        calls = self._call(call, tokens, cost_nanousd)
        try:
            grant = await self.shared.take(subjects, tokens, cost_nanousd) if subjects and self.shared else None
        except BaseException:
            _forget(calls)
            raise
        return Permit(grant, calls, self.alarms.of(call.tenant))

    def _call(self, call: Call, tokens: int, cost_nanousd: int) -> Calls | None:
        agents = self.agents.of(call.tenant)
        if agents is None:
            return None
        digest = b""
        if agents.needs_digest:
            tools = call.said.fields.get("tools")
            digest = call_digest(call.said.last_turn, bytes(tools) if tools is not None else b"")
        return agents.take(call.session, call.trace_id[:32], tokens, cost_nanousd, digest)


def check_scope(key: Key, scope: Scope) -> None:
    """Raises: Refusal (403) where the key is not for this."""
    if key.scopes and scope not in key.scopes:
        message = f"The API key '{key.id}' is not for '{scope}'. It is for: {', '.join(key.scopes)}."
        raise Refusal(403, "scope_not_allowed", message)


def _forget(calls: Calls | None) -> None:
    if calls is not None:
        calls.settle(0, 0)
