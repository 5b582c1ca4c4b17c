"""Agents: what one session or one trace may use, and calls that come again and again. For one process.

A session or trace begins anew after an hour without a call. A tenant has at most 10,000 of each at once; a further
one is refused, as forgetting a live one would forgive it its caps.
"""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from time import monotonic

from modelyard.core.money import format_usd
from modelyard.gateway.errors import Refusal
from modelyard.ports.limits import Caps
from modelyard.ports.routes import RouteTable

IDLE_S = 3600.0
MAX_TALLIES = 10_000
_NO_CAPS = Caps()


def call_digest(last_message: bytes, tools: bytes = b"") -> bytes:
    """What makes two calls the same: the bytes of the last message and of the tools."""
    digest = blake2b(last_message, digest_size=16)
    digest.update(b"\0" + tools)
    return digest.digest()


class Tally:
    """What one session or trace has used, reservations included."""

    __slots__ = ("calls", "cost_nanousd", "digest", "in_flight", "repeats", "seen_s", "tokens")

    def __init__(self) -> None:
        self.calls = self.tokens = self.cost_nanousd = self.repeats = self.in_flight = 0
        self.digest = b""
        self.seen_s = 0.0


class Tallies:
    """The sessions, or the traces, of one tenant. The one used last is at the end."""

    __slots__ = ("_known", "_now_s", "caps", "what")

    def __init__(self, what: str, caps: Caps, now_s: Callable[[], float], before: "Tallies | None") -> None:
        self.what = what
        self.caps = caps
        self._now_s = now_s
        self._known: OrderedDict[str, Tally] = before._known if before else OrderedDict()

    def find(self, name: str) -> Tally:
        """The tally of a session or trace. Raises: Refusal (429) where there are too many."""
        now = self._now_s()
        tally = self._known.get(name)
        if tally is None or (tally.seen_s < now - IDLE_S and not tally.in_flight):
            self._make_room(now)
            tally = self._known[name] = Tally()
        self._known.move_to_end(name)
        tally.seen_s = now
        return tally

    def check(self, tally: Tally, tokens: int, cost: int, digest: bytes) -> None:
        """Raises: Refusal (429) where a call would pass a cap, or is one of too many alike in a row."""
        caps = self.caps
        if caps.repeats and tally.digest == digest and tally.repeats >= caps.repeats:
            message = f"The same call came {tally.repeats} times in a row in this {self.what}, which may be a loop."
            raise Refusal(429, "repeated_call", f"{message} Send another one.", labels=(self.what, "repeats"))
        if caps.calls and tally.calls >= caps.calls:
            raise self._capped("calls", f"{caps.calls} calls", f"{tally.calls} were made")
        if caps.tokens and tally.tokens + (tokens or 1) > caps.tokens:
            used = f"{tally.tokens} are used or reserved, and it asks for {tokens}"
            raise self._capped("tokens", f"{caps.tokens} tokens", used)
        if caps.cost_nanousd and tally.cost_nanousd + (cost or 1) > caps.cost_nanousd:
            used = f"{format_usd(tally.cost_nanousd)} are spent or reserved, and it may cost {format_usd(cost)}"
            raise self._capped("money", format_usd(caps.cost_nanousd), used)

    def _capped(self, limit: str, cap: str, used: str) -> Refusal:
        message = f"This {self.what} may use {cap}: {used}. Begin a new {self.what}, or ask for a higher cap."
        return Refusal(429, f"{self.what}_cap_reached", message, labels=(self.what, limit))

    def _make_room(self, now: float) -> None:
        if len(self._known) < MAX_TALLIES:
            return
        name, oldest = next(iter(self._known.items()))
        if oldest.in_flight or oldest.seen_s >= now - IDLE_S:
            message = f"This tenant has {MAX_TALLIES} {self.what}s in the last hour. Use one again, or try later."
            retry = ((b"retry-after", b"60"),)
            raise Refusal(429, f"too_many_{self.what}s", message, headers=retry, labels=("tenant", f"{self.what}s"))
        del self._known[name]


class Calls:
    """A call that counts in its session and trace, until it is settled."""

    __slots__ = ("_cost", "_tallies", "_tokens", "settled")

    def __init__(self, tallies: tuple[Tally, ...], tokens: int, cost: int) -> None:
        self._tallies = tallies
        self._tokens = tokens
        self._cost = cost
        self.settled = False

    def settle(self, tokens: int, cost_nanousd: int) -> None:
        """What the call used in truth. Settling it again does nothing."""
        if self.settled:
            return
        self.settled = True
        for tally in self._tallies:
            tally.in_flight -= 1
            tally.tokens += tokens - self._tokens
            tally.cost_nanousd += cost_nanousd - self._cost

    def charge(self, tokens: int, cost_nanousd: int) -> None:
        """What another attempt at the same call used."""
        for tally in self._tallies:
            tally.tokens += tokens
            tally.cost_nanousd += cost_nanousd


class Agents:
    """The agents of one tenant: its sessions and traces."""

    __slots__ = ("_sessions", "_traces", "needs_digest")

    def __init__(self, sessions: Tallies | None, traces: Tallies | None) -> None:
        self._sessions = sessions
        self._traces = traces
        self.needs_digest = any(tallies is not None and tallies.caps.repeats for tallies in (sessions, traces))

    def take(self, session: str, trace: str, tokens: int, cost_nanousd: int, digest: bytes = b"") -> Calls | None:
        """Count a call with both or with neither; None where it has no session or trace with caps.

        `digest` is `call_digest`, wanted where `needs_digest`. Raises: Refusal (429).
        """
        found: list[tuple[Tallies, Tally]] = []
        if session and self._sessions is not None:
            found.append((self._sessions, self._sessions.find(session)))
        if trace and self._traces is not None:
            found.append((self._traces, self._traces.find(trace)))
        if not found:
            return None
        for tallies, tally in found:
            tallies.check(tally, tokens, cost_nanousd, digest)
        for _, tally in found:
            tally.repeats = tally.repeats + 1 if digest == tally.digest else 1
            tally.digest = digest
            tally.calls += 1
            tally.in_flight += 1
            tally.tokens += tokens
            tally.cost_nanousd += cost_nanousd
        return Calls(tuple(tally for _, tally in found), tokens, cost_nanousd)


class AllAgents:
    """The agents of each tenant that has caps. What was used outlives the route table."""

    def __init__(self, now_s: Callable[[], float] = monotonic) -> None:
        self._now_s = now_s
        self._sessions: dict[str, Tallies] = {}
        self._traces: dict[str, Tallies] = {}
        self._tenants: dict[str, Agents] = {}

    def take_table(self, table: RouteTable) -> None:
        """Prepare for a new route table."""
        sessions = {tenant.name: tenant.session_caps for tenant in table.tenants if tenant.session_caps != _NO_CAPS}
        traces = {tenant.name: tenant.trace_caps for tenant in table.tenants if tenant.trace_caps != _NO_CAPS}
        self._sessions = self._prepare("session", sessions, self._sessions)
        self._traces = self._prepare("trace", traces, self._traces)
        names = self._sessions.keys() | self._traces.keys()
        self._tenants = {name: Agents(self._sessions.get(name), self._traces.get(name)) for name in names}

    def of(self, tenant: str) -> Agents | None:
        """The agents of a tenant, None where it has no caps. Keep it with the tenant until the next table."""
        return self._tenants.get(tenant)

    def _prepare(self, what: str, caps: dict[str, Caps], before: dict[str, Tallies]) -> dict[str, Tallies]:
        return {name: Tallies(what, given, self._now_s, before.get(name)) for name, given in caps.items()}
