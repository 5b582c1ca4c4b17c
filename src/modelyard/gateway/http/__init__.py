"""An HTTP/1.1 server for one synchronous handler: see `Handler`, `Request`, `Reply` and `Server`."""

from modelyard.gateway.http.cors import Cors
from modelyard.gateway.http.message import Handler, Request
from modelyard.gateway.http.reply import Reply
from modelyard.gateway.http.server import HttpSettings, Server, run
from modelyard.gateway.http.sockets import bind, bind_all
from modelyard.gateway.http.tls import Tls
from modelyard.gateway.http.workers import supervise

__all__ = [
    "Cors",
    "Handler",
    "HttpSettings",
    "Reply",
    "Request",
    "Server",
    "Tls",
    "bind",
    "bind_all",
    "run",
    "supervise",
]
