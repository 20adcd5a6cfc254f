"""Servers that the tests of this package share."""

import pytest
from hypothesis import settings

from ingest.bulk import warm_up
from ingest.store import connect_store
from tests.servers import RedisServer

# On a busy machine an example may take any time; how long a test takes is the report's to say.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture(scope="package", autouse=True)
def compiled():
    """The kernels, compiled before any test waits for it."""
    warm_up()


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
