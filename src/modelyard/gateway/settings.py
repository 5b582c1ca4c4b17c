"""What a gateway's process is told when it starts."""

from pathlib import Path
from typing import Literal

import msgspec

from modelyard.gateway.exchange.shadow import MAX_IN_FLIGHT
from modelyard.gateway.recording.journal import SEGMENT_BYTES


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the gateway listens, what it reads and writes, and its limits. `redis_url` may hold a password."""

    table: Path
    journal: Path
    host: str = "127.0.0.1"
    port: int = 8700
    workers: int = 1
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    cors: tuple[str, ...] = ()
    redis_url: str = ""
    on_redis_down: Literal["local", "open", "closed"] = "local"
    log_format: Literal["text", "json"] = "text"
    drain_s: float = 30.0
    max_body_bytes: int = 10 << 20
    max_shadows: int = MAX_IN_FLIGHT
    segment_bytes: int = SEGMENT_BYTES
