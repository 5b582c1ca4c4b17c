"""Route table: the immutable, hashed snapshot that the gateway serves from. It holds all that a request needs."""

from typing import Literal

import msgspec

from modelyard.core.assignment import FULL, position
from modelyard.core.digests import canonical_json, digest_bytes
from modelyard.core.errors import Corrupt
from modelyard.ports.limits import Key, Limits, Tenant
from modelyard.ports.release import Sampling
from modelyard.ports.serving import Breaker, Cache, Filter, Preference, Queue, Retries, Rule, Timeouts

__all__ = [
    "EXTERNAL",
    "BodyPolicy",
    "Key",
    "Price",
    "Role",
    "RouteTable",
    "RouteTableFile",
    "Service",
    "Tenant",
    "Variant",
    "decode_route_table",
    "encode_route_table",
]

Role = Literal["champion", "challenger", "shadow", "alternative"]
BodyPolicy = Literal["none", "hash", "masked", "full"]
# What the `release` of a variant begins with where it is none of ours; what follows digests how it was declared.
EXTERNAL = "external:"


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """Nano-dollars per million tokens."""

    input_nanousd: int = 0
    output_nanousd: int = 0


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """A release as the gateway sees it: where it runs, under which name, with which prompt, defaults and price.

    `name` is what rules, preferences and fallbacks call it. `engine` names the kind of engine, whose capability sheet
    says what it can do. `replicas` are further addresses that serve the same. `credential` names the environment
    variable of the gateway that holds the engine's key. `quality` in [0, 1] is what was measured, -1 where unknown.
    """

    release: str
    ref: str
    engine_url: str
    model: str
    system_prompt: str = ""
    sampling: Sampling = Sampling()
    price: Price = Price()
    name: str = ""
    engine: str = "openai"
    replicas: tuple[str, ...] = ()
    credential: str = ""
    quantization: str = ""
    quality: float = -1.0


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A public model name with its champion and, during a rollout, its challenger.

    The challenger answers the share `weight_bp` of the units (basis points), and while `shadow` is set it gets a
    copy of the others' requests and its answers go to the journal alone. `variants` answer where a rule or the
    preference says so, and, in the order of `fallbacks`, where the one that should answer cannot. Of the bodies that
    `body_policy` keeps, the share `body_share` is kept. `max_output_tokens` of 0 caps nothing.
    """

    name: str
    champion: Variant
    challenger: Variant | None = None
    weight_bp: int = 0
    shadow: bool = False
    salt: str = ""
    rollout_id: str = ""
    body_policy: BodyPolicy = "none"
    body_share: float = 1.0
    variants: tuple[Variant, ...] = ()
    rules: tuple[Rule, ...] = ()
    preference: Preference | None = None
    fallbacks: tuple[str, ...] = ()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    breaker: Breaker = Breaker()
    queue: Queue = Queue()
    hedge_after_s: float = 0.0
    max_output_tokens: int = 0
    filters: tuple[Filter, ...] = ()
    cache: Cache | None = None

    def assign(self, unit: str) -> tuple[Role, Variant, float]:
        """Who answers a unit, in which role, and with what probability this was so (the propensity)."""
        if self.challenger is None or self.weight_bp == 0:
            return "champion", self.champion, 1.0
        share = self.weight_bp / FULL
        if position(self.salt, unit) < self.weight_bp:
            return "challenger", self.challenger, share
        return "champion", self.champion, 1.0 - share


class RouteTable(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the gateway knows. `version` only grows."""

    version: int
    created_ms: int
    services: tuple[Service, ...] = ()
    keys: tuple[Key, ...] = ()
    tenants: tuple[Tenant, ...] = ()

    @property
    def digest(self) -> str:
        """The address of this snapshot, as this version of the code writes it."""
        return digest_bytes(canonical_json(self))


class RouteTableFile(msgspec.Struct, frozen=True, kw_only=True):
    """The table as it lies on disk; a reader refuses one whose digest does not match.

    The digest is that of the table's bytes in the file, so that a reader need not know every field of the writer.
    """

    digest: str
    table: msgspec.Raw


def encode_route_table(table: RouteTable) -> bytes:
    """The table as a file's bytes, with its digest. Write them with `core.files.write_atomically`."""
    body = canonical_json(table)
    return canonical_json(RouteTableFile(digest=digest_bytes(body), table=msgspec.Raw(body))) + b"\n"


def decode_route_table(data: bytes) -> RouteTable:
    """The table of a file's bytes, checked. Raises: Corrupt where it cannot be read or its digest does not match."""
    fix = "Publish the route table again; it is written by the control side, never by hand."
    try:
        file = msgspec.json.decode(data, type=RouteTableFile)
        if (seen := digest_bytes(bytes(file.table))) != file.digest:
            raise Corrupt(f"the route table's digest is {seen}", expected=file.digest, fix=fix)
        return msgspec.json.decode(file.table, type=RouteTable)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Corrupt(f"the route table cannot be read: {error}", fix=fix) from error
