"""The kill switch over Redis: what is stopped there is read twice a second, and stays so while Redis is down."""

import asyncio
import contextlib
import logging
from typing import Any

from modelyard.core.errors import MissingExtra
from modelyard.gateway.guards.kills import Kills
from modelyard.ports.kills import REDIS_KEY, decode_fields

_EVERY_S = 0.5
_TIMEOUT_S = 2.0

logger = logging.getLogger(__name__)


class RemoteKills:
    """Reads the hash of kills into `kills`. `url` may hold a password: it is never logged."""

    def __init__(self, url: str, kills: Kills) -> None:
        try:
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError as error:
            raise MissingExtra("redis", "redis") from error
        self._redis: Any = Redis.from_url(url, retry=Retry(NoBackoff(), 0))  # the next look is the retry
        self._kills = kills
        self._fails = False

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            while True:
                await self._read()
                await asyncio.sleep(_EVERY_S)
        finally:
            with contextlib.suppress(Exception):
                await self._redis.aclose()

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                found = decode_fields(await self._redis.hgetall(REDIS_KEY))
        except Exception as error:
            if not self._fails:
                logger.error("kills cannot be read from Redis (%s): those known stay", type(error).__name__)
            self._fails = True
            with contextlib.suppress(Exception):
                await self._redis.connection_pool.disconnect()
            return
        self._fails = False
        self._kills.merge(found.kills, found.lifts)
