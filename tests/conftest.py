"""For all tests."""

import functools
import os
import signal
import ssl
from typing import Any

from httpx._transports import default

# Who runs the tests in the background may have them ignore Ctrl+C, and so would every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

_make_context = default.create_ssl_context


@functools.cache
def _usual_context(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    return _make_context()


def _ssl_context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    if (verify, cert, trust_env) == (True, None, True):
        return _usual_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    return _make_context(verify, cert, trust_env)


# Every `httpx.get` makes a client, and each of them reads the certificates of the world: longer than most requests.
default.create_ssl_context = _ssl_context
