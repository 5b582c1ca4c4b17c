"""Fixtures: one redis-server for a file of tests, empty at each."""

from collections.abc import Iterator

import pytest

from tests.gateway.limits.harness import RedisServer, serving_redis


@pytest.fixture(scope="module")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with serving_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_server(redis_process: RedisServer) -> RedisServer:
    if redis_process.process is None:
        redis_process.start()
    redis_process.flush()
    return redis_process
