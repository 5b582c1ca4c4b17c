"""The pooled HTTP/1.1 client for engines, on httptools. Knows nothing of models: bytes out, a head and bytes back."""

from modelyard.gateway.upstream.connection import Connection
from modelyard.gateway.upstream.origin import Origin, parse_origin
from modelyard.gateway.upstream.pool import Pool

__all__ = ["Connection", "Origin", "Pool", "parse_origin"]
