"""A request as the server gives it to its handler, and what a handler is."""

from typing import TYPE_CHECKING, Any, Protocol

from modelyard.gateway.errors import Refusal

if TYPE_CHECKING:
    from modelyard.gateway.http.reply import Reply


class Request:
    """A request. `path` is unquoted and without the query; header names are in lower case.

    `started_s` is the monotonic time at which the first byte of its head was read, `peer` the client's address.
    Repeated headers are joined by a comma where HTTP lets them be lists; where it does not, the request is refused.
    `context` is the handler's own.
    """

    __slots__ = (
        "body",
        "closes",
        "context",
        "headers",
        "is_http_1_0",
        "method",
        "path",
        "peer",
        "query",
        "refusal",
        "started_s",
    )

    def __init__(self, peer: str, started_s: float) -> None:
        self.method = ""
        self.path = ""
        self.query = b""
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.peer = peer
        self.started_s = started_s
        self.closes = False
        self.is_http_1_0 = False
        self.refusal: Refusal | None = None
        self.context: Any = None


class Handler(Protocol):
    """What answers requests. No method may block; each is called on the loop's thread."""

    def admit(self, request: Request) -> None:
        """Look at the head, before the body is read. It may hold nothing for the request, which may never arrive whole.

        Raises: Refusal, which is then the answer, in place of `100 Continue` where the client waits for that.
        """

    def handle(self, request: Request, reply: "Reply") -> None:
        """Answer a whole request, at once or by keeping `reply`. Raises: Refusal, while `reply` has not started."""

    def failed(self, refusal: Refusal, request: Request | None) -> bytes:
        """The JSON body for a refusal. `refusal.headers` go with the answer; they may be added to here."""
