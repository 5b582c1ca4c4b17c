"""Subjects: whose limits a request counts against, prepared once a route table, with the accounts that outlive it."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from modelyard.gateway.limits.calendar import Calendar
from modelyard.ports.limits import Limits, Tenant
from modelyard.ports.routes import Key, RouteTable

MAX_USERS = 100_000
UNLIMITED = 1 << 62
_NO_LIMITS = Limits()
_MAX_LOOKS = 16
_KINDS = {b"t": "tenant", b"k": "key", b"s": "service", b"u": "user"}


def user_scope(tenant: str, user: str) -> bytes:
    """The scope of a tenant's user. `user` is the text that goes to `Interaction.user`."""
    return b"u:%b:%b" % (tenant.encode(), blake2b(user.encode(), digest_size=16).hexdigest().encode())


class Account:
    """What a scope has used so far. `used` holds what is spent and what is reserved, `spent` the former alone.

    `due_s` is when the next request of an even stream would come (GCRA); tokens are those of this minute and the last.
    """

    __slots__ = (
        "day",
        "day_spent",
        "day_used",
        "due_s",
        "in_flight",
        "minute",
        "month",
        "month_spent",
        "month_used",
        "scope",
        "tokens",
        "tokens_before",
    )

    def __init__(self, scope: bytes, calendar: Calendar) -> None:
        self.scope = scope
        self.due_s = 0.0
        self.minute = calendar.minute
        self.day = calendar.day
        self.month = calendar.month
        self.tokens = self.tokens_before = self.in_flight = 0
        self.day_used = self.day_spent = self.month_used = self.month_spent = 0

    def turn(self, calendar: Calendar) -> None:
        """Come to the calendar's minute, day and month."""
        self.tokens_before = self.tokens if calendar.minute == self.minute + 1 else 0
        self.tokens = 0
        self.minute = calendar.minute
        if self.day != calendar.day:
            self.day = calendar.day
            self.day_used = self.day_spent = 0
        if self.month != calendar.month:
            self.month = calendar.month
            self.month_used = self.month_spent = 0

    def forgettable(self, calendar: Calendar) -> bool:
        """Whether a new account in this one's place would allow nothing more."""
        if self.in_flight or self.due_s > calendar.look():
            return False
        if self.minute != calendar.minute:
            self.turn(calendar)
        return not (self.tokens or self.tokens_before or self.day_used or self.month_used)


class Subject:
    """A scope with its limits as numbers to compare with; where there is none, one that nothing reaches.

    `burst` is how many requests may come at once.
    """

    __slots__ = (
        "account",
        "arguments",
        "burst",
        "concurrency",
        "daily",
        "has_money",
        "interval_s",
        "limits",
        "monthly",
        "scope",
        "slack_s",
        "tokens",
        "who",
    )

    def __init__(self, scope: bytes, who: str, limits: Limits, account: Account) -> None:
        self.scope = scope
        self.who = who
        self.limits = limits
        self.account = account
        rate = limits.requests_per_minute
        self.interval_s = 60.0 / rate if rate else 0.0
        # A hair of slack, so that a rounding error does not refuse what is due exactly now.
        self.burst = limits.burst or max(1, rate // 10)
        self.slack_s = (self.burst - 1) * self.interval_s + 1e-9 if rate else float("inf")
        self.tokens = limits.tokens_per_minute or UNLIMITED
        self.concurrency = limits.concurrency or UNLIMITED
        self.daily = limits.daily_nanousd or UNLIMITED
        self.monthly = limits.monthly_nanousd or UNLIMITED
        self.has_money = bool(limits.daily_nanousd or limits.monthly_nanousd)
        self.arguments: tuple[bytes, ...] = ()

    @property
    def kind(self) -> str:
        """Whose limits these are, as a word."""
        return _KINDS[self.scope[:1]]


class Users:
    """The users of one tenant that has limits for each, by the text of the body's `user`.

    The one used last is at the end. Beyond the bound those go that have nothing running or used; where all have,
    further users share one account.
    """

    __slots__ = ("_crowd", "_known", "_limits", "_subjects", "_tenant")

    def __init__(self, subjects: "Subjects", tenant: Tenant, before: "Users | None") -> None:
        self._subjects = subjects
        self._tenant = tenant.name
        self._limits = tenant.user_limits
        self._known: OrderedDict[str, Subject] = before._known if before else OrderedDict()
        self._crowd: Subject | None = None

    def find(self, user: str) -> Subject:
        """The subject of a user."""
        subject = self._known.get(user)
        if subject is None or subject.limits is not self._limits:
            return self._meet(user)
        self._known.move_to_end(user)
        return subject

    @property
    def have_budgets(self) -> bool:
        """Whether what a user spends counts."""
        return bool(self._limits.daily_nanousd or self._limits.monthly_nanousd)

    def _meet(self, user: str) -> Subject:
        """A user that is new, back after a while, or known by the limits of an older table."""
        scope = user_scope(self._tenant, user)
        if scope not in self._subjects.accounts and not self._make_room():
            if self._crowd is None:
                self._crowd = self._subjects.make(b"u:%b" % self._tenant.encode(), self._name(None), self._limits)
            return self._crowd
        subject = self._known[user] = self._subjects.make(scope, self._name(user), self._limits)
        self._known.move_to_end(user)
        return subject

    def _make_room(self) -> bool:
        if self._subjects.num_users < self._subjects.max_users:
            return True
        for _ in range(min(_MAX_LOOKS, len(self._known))):
            user, subject = self._known.popitem(last=False)
            if subject.account.forgettable(self._subjects.calendar):
                self._subjects.forget(subject.account)
                return True
            self._known[user] = subject
        return False

    def _name(self, user: str | None) -> str:
        named = "further users" if user is None else f"user '{user if len(user) <= 64 else user[:61] + '...'}'"
        return f"{named} of tenant '{self._tenant}'"


class Subjects:
    """All subjects of a route table. Only those with a limit are there, so what has none costs nothing.

    Accounts stay when a new table comes. At most `max_users` users are held apart, over all tenants.
    """

    def __init__(self, calendar: Calendar | None = None, *, max_users: int = MAX_USERS) -> None:
        self.calendar = calendar or Calendar()
        self.max_users = max_users
        self.num_users = 0
        self.accounts: dict[bytes, Account] = {}
        self.tenants: dict[str, Subject] = {}
        self.keys: dict[str, Subject] = {}
        self.services: dict[str, Subject] = {}
        self.users: dict[str, Users] = {}

    def take_table(self, table: RouteTable) -> None:
        """Prepare the subjects of a new route table. Call where the table is swapped, in the same step."""
        tenants, keys, services = table.tenants, table.keys, table.services
        self.tenants = self._prepare(b"t", "tenant", ((tenant.name, tenant.limits) for tenant in tenants))
        self.keys = self._prepare_keys(keys)
        self.services = self._prepare(b"s", "service", ((service.name, service.limits) for service in services))
        limited = [tenant for tenant in tenants if tenant.user_limits != _NO_LIMITS]
        self.users = {tenant.name: Users(self, tenant, self.users.get(tenant.name)) for tenant in limited}
        self._forget_unnamed()

    def of(self, tenant: str, key: str, service: str, user: str = "") -> tuple[Subject, ...]:
        """The subjects that a request counts against; none where nothing is limited.

        Where there is no user in it, keep the answer with the key and service: it holds until the next table.
        """
        found = [self.tenants.get(tenant), self.keys.get(key), self.services.get(service)]
        if user and (users := self.users.get(tenant)):
            found.append(users.find(user))
        return tuple(subject for subject in found if subject is not None)

    def budgets_of(self, tenant: str, key: str, service: str, user: str) -> list[bytes]:
        """The scopes with a budget that an entry of the journal counts against."""
        found = (self.tenants.get(tenant), self.keys.get(key), self.services.get(service))
        scopes = [subject.scope for subject in found if subject is not None and subject.has_money]
        users = self.users.get(tenant)
        if user and users and users.have_budgets:
            scopes.append(user_scope(tenant, user))
        return scopes

    def make(self, scope: bytes, who: str, limits: Limits) -> Subject:
        """A subject with its scope's account."""
        return Subject(scope, who, limits, self.account(scope))

    def account(self, scope: bytes) -> Account:
        """The account of a scope, opened where there is none."""
        account = self.accounts.get(scope)
        if account is None:
            account = self.accounts[scope] = Account(scope, self.calendar)
            self.num_users += scope.startswith(b"u:")
        return account

    def forget(self, account: Account) -> None:
        """Close an account."""
        del self.accounts[account.scope]
        self.num_users -= account.scope.startswith(b"u:")

    def _prepare(self, kind: bytes, what: str, named: Iterable[tuple[str, Limits]]) -> dict[str, Subject]:
        return {
            name: self.make(b"%b:%b" % (kind, name.encode()), f"{what} '{name}'", limits)
            for name, limits in named
            if limits != _NO_LIMITS
        }

    def _prepare_keys(self, keys: Iterable[Key]) -> dict[str, Subject]:
        """A key and the one it was rotated from use one account, so that neither grace nor rotation doubles a limit."""
        known = {key.id: key for key in keys}
        made = {}
        for key in known.values():
            if key.limits == _NO_LIMITS:
                continue
            first = _first_of(key, known)
            made[key.id] = subject = self.make(b"k:%b" % first.encode(), f"key '{key.id}'", key.limits)
            # The journal may name a predecessor that is revoked by now.
            if key.replaces and key.replaces not in known:
                made[key.replaces] = subject
        return made

    def _forget_unnamed(self) -> None:
        """Close the accounts that no table names any more and nothing is in."""
        named = {subject.scope for index in (self.tenants, self.keys, self.services) for subject in index.values()}
        tenants = tuple(b"u:%b:" % name.encode() for name in self.users)
        for scope in self.accounts.keys() - named:
            account = self.accounts[scope]
            if not (tenants and scope.startswith(tenants)) and account.forgettable(self.calendar):
                self.forget(account)


def _first_of(key: Key, known: Mapping[str, Key]) -> str:
    """The id that a key's line of rotations began with, as far back as the table tells."""
    seen = {key.id}
    while key.replaces and key.replaces not in seen:
        seen.add(key.replaces)
        before = known.get(key.replaces)
        if before is None or before.tenant != key.tenant:
            return key.replaces if before is None else key.id
        key = before
    return key.id


def needs_redis(table: RouteTable) -> str:
    """What in a table cannot hold over several gateways or worker processes without Redis; empty where all can."""
    named = [f"tenant '{t.name}'" for t in table.tenants if t.limits != _NO_LIMITS or t.user_limits != _NO_LIMITS]
    named += [f"key '{key.id}'" for key in table.keys if key.limits != _NO_LIMITS]
    named += [f"service '{service.name}'" for service in table.services if service.limits != _NO_LIMITS]
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""
    return f"the limits of {', '.join(named[:5])}{more}" if named else ""
