"""What the server itself refuses, and how the client is told."""

from modelyard.gateway.errors import Refusal


def malformed(what: str) -> Refusal:
    """Bytes that are no HTTP/1.1 request, or one that two servers could read in two ways."""
    return Refusal(400, "bad_request", f"This is not a request in HTTP/1.1: {what}. Send one as RFC 9112 says.")


def spoke_tls() -> Refusal:
    """The first bytes of TLS."""
    return Refusal(400, "tls_on_plain_port", "This port speaks HTTP and was spoken to in TLS. Use an http:// address.")


def repeated(name: bytes) -> Refusal:
    """A header that may be there once, twice."""
    return malformed(f"there is more than one '{name.decode('latin-1')}' header")


def unknown_version(version: str) -> Refusal:
    """HTTP, but neither 1.0 nor 1.1."""
    return Refusal(505, "http_version", f"This is HTTP/{version}. Use HTTP/1.1.")


def late(what: str, seconds: float) -> Refusal:
    """A client that sends too slowly."""
    return Refusal(408, "request_timeout", f"The {what} was not there after {seconds:g} s. Send the request faster.")


def large_body(max_bytes: int) -> Refusal:
    """More body than allowed."""
    size = f"{max_bytes >> 20} MiB" if max_bytes >= 1 << 20 else f"{max_bytes} bytes"
    return Refusal(413, "body_too_large", f"The body is larger than {size}. Send less at once.")


def large_head(max_bytes: int, max_headers: int) -> Refusal:
    """More head than allowed."""
    message = f"The head has more than {max_bytes} bytes or {max_headers} headers. Send fewer or shorter headers."
    return Refusal(431, "head_too_large", message)


def crowded() -> Refusal:
    """More connections than allowed."""
    message = "The gateway has as many connections as it takes. Use fewer, or try again in a second."
    return Refusal(503, "too_many_connections", message, headers=((b"retry-after", b"1"),))


def broken() -> Refusal:
    """A handler that failed."""
    return Refusal(500, "internal_error", "The gateway failed. Its log tells more.")
