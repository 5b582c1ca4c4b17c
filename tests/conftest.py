"""For all tests."""

import functools
import os
import signal
import ssl
from pathlib import Path
from typing import Any

import pytest
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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files with the longest tests go first: none of several processes is left alone with one at the end."""
    weights: dict[Path, int] = {}
    for item in items:
        weight = 2 if item.get_closest_marker("long") else 1 if item.get_closest_marker("slow") else 0
        weights[item.path] = max(weight, weights.get(item.path, 0))
    items.sort(key=lambda item: -weights[item.path])
