"""What a project file says about the gateway as a whole: where it listens, and who may use how much of it."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from modelyard.core.money import nanousd
from modelyard.datasets.section import Section
from modelyard.datasets.synthesis.price import Dollars
from modelyard.ports.limits import Caps, Limits, SpendAlarm, Tenant

Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=0)]


def _check_host(host: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.-]+", host):
        raise ValueError("a host is a name or an IPv4 address; IPv6 addresses such as '::1' are not supported yet")
    return host


def _check_variable(name: str) -> str:
    """A secret written here by mistake is not repeated in the message."""
    if name and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        raise ValueError(
            "expected the name of an environment variable of the gateway, such as VENDOR_KEY: the value itself stays "
            "out of the project file"
        )
    return name


def _check_origin(origin: str) -> str:
    parts = urlsplit(origin)
    if origin != "*" and (parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}"):
        raise ValueError("an origin is '*', or a scheme, a host and a port alone, such as https://app.example.com")
    return origin


Host = Annotated[str, AfterValidator(_check_host)]
Variable = Annotated[str, AfterValidator(_check_variable)]
Origin = Annotated[str, AfterValidator(_check_origin)]


class LimitsConfig(Section):
    """What may be used. 0 is no limit; money is in dollars, written as text; days and months are those of UTC."""

    requests_per_minute: Count = 0
    burst: Count = Field(0, description="Requests at once before the rate holds; 0 is a tenth of a minute's worth.")
    tokens_per_minute: Count = Field(0, description="Of prompt and answer together.")
    concurrency: Count = Field(0, description="Requests in flight.")
    daily_usd: Dollars = "0"
    monthly_usd: Dollars = "0"

    def limits(self) -> Limits:
        """As the route table has them."""
        return Limits(
            **self.model_dump(exclude={"daily_usd", "monthly_usd"}),
            daily_nanousd=nanousd(self.daily_usd),
            monthly_nanousd=nanousd(self.monthly_usd),
        )


class CapsConfig(Section):
    """What one agent may use in one session or trace. 0 is no limit."""

    calls: Count = 0
    tokens: Count = 0
    usd: Dollars = "0"
    repeats: Count = Field(0, description="How often the same call may come in a row.")

    def caps(self) -> Caps:
        """As the route table has them."""
        return Caps(**self.model_dump(exclude={"usd"}), cost_nanousd=nanousd(self.usd))


class SpendAlarmConfig(Section):
    """What happens when a tenant spends faster than this."""

    usd_per_minute: Dollars
    action: Literal["alarm", "stop"] = Field("alarm", description="Tell, or stop the tenant's traffic.")

    def alarm(self) -> SpendAlarm:
        """As the route table has it."""
        return SpendAlarm(nanousd_per_minute=nanousd(self.usd_per_minute), action=self.action)


class TenantConfig(Section):
    """A group of keys: limits for all of them together, for each user, for each session and each trace."""

    limits: LimitsConfig = LimitsConfig()
    user_limits: LimitsConfig = LimitsConfig()
    session: CapsConfig = CapsConfig()
    trace: CapsConfig = CapsConfig()
    spend_alarm: SpendAlarmConfig | None = None
    priority: int = Field(0, ge=-100, le=100, description="Where an engine is full, lower ones are shed first.")

    def tenant(self, name: str) -> Tenant:
        """As the route table has it."""
        return Tenant(
            name=name,
            limits=self.limits.limits(),
            user_limits=self.user_limits.limits(),
            session_caps=self.session.caps(),
            trace_caps=self.trace.caps(),
            spend_alarm=self.spend_alarm.alarm() if self.spend_alarm else None,
            priority=self.priority,
        )


class TlsConfig(Section):
    """A certificate with its chain, and its key: PEM files, beside the project file or by absolute paths."""

    certificate: str
    key: str


class CorsConfig(Section):
    """Which pages in browsers may call the gateway. A key in a page is a key for everyone who reads the page."""

    origins: tuple[Origin, ...] = Field(min_length=1)


class GatewayConfig(Section):
    """Where callers reach the services."""

    host: Host = "127.0.0.1"
    port: Port = Field(8700, description="0 takes any free port.")
    journal_keep: float = Field(
        7, ge=0, description="Days after which journal segments that are in the records are removed; 0 for never."
    )
    workers: int = Field(1, ge=1, le=256, description="Processes that answer on the same port.")
    tls: TlsConfig | None = None
    cors: CorsConfig | None = None
    redis: Variable = Field("", description="The environment variable with the URL of a Redis that shares limits.")
    on_redis_down: Literal["local", "open", "closed"] = Field(
        "local", description="Limits meanwhile: kept by each gateway for itself, not kept, or every request refused."
    )

    def flags(self, root: Path) -> list[str]:
        """What the gateway's process is told beyond host and port: whatever is not as it is by default."""
        said = ["--workers", str(self.workers)] if self.workers > 1 else []
        if self.tls:
            said += ["--tls-certificate", str(root / self.tls.certificate), "--tls-key", str(root / self.tls.key)]
        for origin in self.cors.origins if self.cors else ():
            said += ["--cors", origin]
        if self.redis:
            said += ["--redis", self.redis, "--on-redis-down", self.on_redis_down]
        return said

    @model_validator(mode="after")
    def _check_redis(self) -> Self:
        if "on_redis_down" in self.model_fields_set and not self.redis:
            raise ValueError("on_redis_down needs a Redis: add `redis: NAME_OF_AN_ENVIRONMENT_VARIABLE`")
        return self
