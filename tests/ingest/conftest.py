"""Servers that the tests of this package share."""

import pytest

from ingest.store import connect_store
from tests.servers import RedisServer


@pytest.fixture(scope="package")
def redis_server(tmp_path_factory):
    """One Redis with the shipped configuration."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def store(redis_server):
    """A client of an empty store."""
    client = connect_store(redis_server.url)
    await client.execute_command("FLUSHALL")
    yield client
    await client.aclose()
