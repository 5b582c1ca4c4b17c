"""Origin: where an engine listens."""

from urllib.parse import urlsplit

import msgspec

from modelyard.core.errors import InvalidInput


class Origin(msgspec.Struct, frozen=True):
    """Host, port, and whether TLS is spoken there."""

    host: str
    port: int
    tls: bool

    @property
    def name(self) -> str:
        """Host and port, for records."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """As the Host header says it."""
        return self.name.removesuffix(":443" if self.tls else ":80")


def parse_origin(url: str) -> tuple[Origin, str]:
    """An engine's base URL as its origin and path prefix; a `/v1` at its end is left off. Raises: InvalidInput."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        parts, port = urlsplit(""), 0
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise InvalidInput(f"'{url}' is no engine URL", expected="something like http://127.0.0.1:8000")
    return Origin(parts.hostname, port, parts.scheme == "https"), parts.path.rstrip("/").removesuffix("/v1")
