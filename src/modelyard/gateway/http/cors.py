"""Which web pages may call: the allowed origins, the answer to a preflight, the headers of every other answer."""

from collections.abc import Sequence

from modelyard.gateway.http.message import Request

_MAX_AGE_S = 600


class Cors:
    """The answers to browsers for a set of origins (`https://app.example.com`), or for `*`."""

    def __init__(self, origins: Sequence[str], *, exposed: Sequence[str] = ()) -> None:
        self._any = "*" in origins
        shown = f"access-control-expose-headers: {', '.join(exposed)}\r\n" if exposed else ""
        varies = "" if self._any else "vary: origin\r\n"
        self._blocks = {
            origin.encode(): f"access-control-allow-origin: {origin}\r\n{varies}{shown}".encode() for origin in origins
        }
        self._others = self._blocks[b"*"] if self._any else varies.encode()

    def block(self, request: Request) -> bytes:
        """The header lines of an answer to this request."""
        return self._blocks.get(request.headers.get(b"origin", b""), self._others)

    def preflight(self, request: Request) -> bytes | None:
        """The header lines that answer a preflight, beside `block`'s; None for any other request."""
        headers = request.headers
        if request.method != "OPTIONS" or b"origin" not in headers:
            return None
        if b"access-control-request-method" not in headers:
            return None
        if not self._any and headers[b"origin"] not in self._blocks:
            return b""
        # What the browser asks for is said back, because a star does not cover `authorization`.
        asked = headers.get(b"access-control-request-headers", b"*")
        return (
            b"access-control-allow-methods: GET, POST, OPTIONS\r\n"
            b"access-control-allow-headers: %b\r\naccess-control-max-age: %d\r\n" % (asked, _MAX_AGE_S)
        )
