"""Alarms: tenants that spend faster than they should. For one process: each gateway sees what passes through it."""

import logging
from collections.abc import Callable
from math import ceil
from time import monotonic

from modelyard.core.money import format_usd
from modelyard.gateway.errors import Refusal
from modelyard.ports.limits import SpendAlarm
from modelyard.ports.routes import RouteTable

_BUCKETS = 12
_BUCKET_S = 5

logger = logging.getLogger(__name__)


class Alarm:
    """What one tenant spent in the last minute, to 5 seconds. `rings` while that is above what it may spend."""

    __slots__ = ("_bucket", "_buckets", "_now_s", "_total", "num_rung", "rings", "setting", "tenant")

    def __init__(self, tenant: str, setting: SpendAlarm, now_s: Callable[[], float]) -> None:
        self.tenant = tenant
        self.setting = setting
        self.rings = False
        self.num_rung = 0
        self._now_s = now_s
        self._buckets = [0] * _BUCKETS
        self._bucket = int(now_s() // _BUCKET_S)
        self._total = 0

    def admit(self) -> None:
        """Raises: Refusal (429) where the tenant's traffic is stopped."""
        if self.rings and self.nanousd_per_minute() > self.setting.nanousd_per_minute and self.setting.action == "stop":
            wait_s = self._falls_in_s()
            limit = format_usd(self.setting.nanousd_per_minute)
            message = f"The tenant '{self.tenant}' spent {format_usd(self._total)} in a minute, and may spend {limit}:"
            message += f" its traffic is stopped. Try again in {ceil(wait_s)} s, or ask an operator to lift the stop."
            retry = ((b"retry-after", b"%d" % ceil(wait_s)),)
            raise Refusal(429, "spend_alarm", message, headers=retry, labels=("tenant", "spend_alarm"))

    def spend(self, cost_nanousd: int) -> None:
        """Count what a request cost, where it is settled."""
        self._turn()
        self._buckets[self._bucket % _BUCKETS] += cost_nanousd
        self._total += cost_nanousd
        if self._total > self.setting.nanousd_per_minute and not self.rings:
            self.rings = True
            self.num_rung += 1
            then = "its traffic is stopped" if self.setting.action == "stop" else "its traffic goes on"
            limit = format_usd(self.setting.nanousd_per_minute)
            logger.error("%s spends %s a minute, above %s: %s", self.tenant, format_usd(self._total), limit, then)

    def nanousd_per_minute(self) -> int:
        """What was spent in the last minute."""
        self._turn()
        return self._total

    def lift(self) -> None:
        """A person lets the traffic through again: counting begins anew."""
        self._buckets = [0] * _BUCKETS
        self._total = 0
        self._quieten("lifted by a person")

    def _turn(self) -> None:
        bucket = int(self._now_s() // _BUCKET_S)
        for passed in range(self._bucket + 1, min(bucket, self._bucket + _BUCKETS) + 1):
            self._total -= self._buckets[passed % _BUCKETS]
            self._buckets[passed % _BUCKETS] = 0
        self._bucket = bucket
        if self.rings and self._total <= self.setting.nanousd_per_minute:
            self._quieten("the rate fell")

    def _quieten(self, why: str) -> None:
        if self.rings:
            self.rings = False
            logger.warning("the spend alarm of %s is over: %s", self.tenant, why)

    def _falls_in_s(self) -> float:
        """Seconds until the last minute holds no more than allowed, if nothing is spent meanwhile."""
        above = self._total - self.setting.nanousd_per_minute
        for age in range(1, _BUCKETS + 1):
            above -= self._buckets[(self._bucket + age) % _BUCKETS]
            if above <= 0:
                return (self._bucket + age) * _BUCKET_S - self._now_s()
        return float(_BUCKETS * _BUCKET_S)


class Alarms:
    """The alarms of all tenants that have one. What was spent outlives the route table."""

    def __init__(self, now_s: Callable[[], float] = monotonic) -> None:
        self._now_s = now_s
        self._tenants: dict[str, Alarm] = {}

    def take_table(self, table: RouteTable) -> None:
        """Prepare for a new route table."""
        before = self._tenants
        self._tenants = {}
        for tenant in table.tenants:
            if tenant.spend_alarm is not None:
                alarm = before.get(tenant.name) or Alarm(tenant.name, tenant.spend_alarm, self._now_s)
                alarm.setting = tenant.spend_alarm
                self._tenants[tenant.name] = alarm

    def of(self, tenant: str) -> Alarm | None:
        """The alarm of a tenant, None where it has none. Keep it with the tenant until the next table."""
        return self._tenants.get(tenant)

    def lift(self, tenant: str) -> bool:
        """Lift a tenant's stop; False where it has no alarm."""
        alarm = self._tenants.get(tenant)
        if alarm is not None:
            alarm.lift()
        return alarm is not None

    def all(self) -> tuple[Alarm, ...]:
        """Every alarm, for the metrics: `tenant`, `rings`, `num_rung`, `nanousd_per_minute()`."""
        return tuple(self._tenants.values())
