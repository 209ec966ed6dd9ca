"""Both stores, one after the other, behind one fixture: what holds for one must hold for the other."""

from __future__ import annotations

import pytest
import redis

from shared.store import Store
from shared.store.memory import MemoryStore
from shared.store.redis import RedisStore


@pytest.fixture(params=["redis", "memory"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore()
    url = request.getfixturevalue("redis_server")
    redis.Redis.from_url(url).flushall()
    return RedisStore(url)
