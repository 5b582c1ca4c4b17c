"""Answers kept for one tenant and release: to equal deterministic requests and, where asked for, to like ones.

Knows nothing of connections, engines and limits: a request's fields in, an answer's bytes out.
"""

from modelyard.gateway.cache.answers import Hit, Kept
from modelyard.gateway.cache.caches import Caches, ServiceCache
from modelyard.gateway.cache.plan import Plan
from modelyard.gateway.cache.semantic import Embed

__all__ = ["Caches", "Embed", "Hit", "Kept", "Plan", "ServiceCache"]
