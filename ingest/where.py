"""Which server holds a key: always the one, or the node of a cluster that has its slot now.

For the connections of our own, which the general client does not route. The map of a cluster is the
general client's; whoever meets a fault says that it is stale, and it is read again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

import msgspec
import redis.exceptions
from redis.asyncio.cluster import RedisCluster

from afstand.limits import STORE_NODE_PATIENCE_S
from ingest.resp import Address, parse_address
from ingest.store import StoreUnavailableError, connect_store


class Where(Protocol):
    """Says where a key is."""

    async def of(self, key: str) -> Address:
        """Return the address of the server that takes writes to a key.

        Raises StoreUnavailableError.
        """
        ...

    def stale(self) -> None:
        """Say that a server did not do what it was asked: it may not be the one any more."""
        ...

    async def aclose(self) -> None:
        """Close what it has open."""
        ...


class OneServer:
    """Everything is in one place."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def of(self, key: str) -> Address:  # noqa: ARG002 - see Where
        """See `Where`."""
        return self._address

    def stale(self) -> None:
        """See `Where`: there is no other."""

    async def aclose(self) -> None:
        """See `Where`."""


class ClusterMap:
    """The slots of a cluster, read again in the background when something is wrong with them.

    Who asks meanwhile is given the old ones: no partition waits for the trouble of another. `base`
    has what is the same for every node: user, password, TLS.
    """

    def __init__(self, cluster: RedisCluster, base: Address) -> None:
        self._cluster = cluster
        self._base = base
        self._known = False
        self._reading: asyncio.Task[None] | None = None

    async def of(self, key: str) -> Address:
        """See `Where`."""
        try:
            if not self._known:
                await self._cluster.initialize()
                self._known = True
            node = self._cluster.get_node_from_key(key)
        except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailableError(f"cluster: {type(error).__name__}: {error}") from error
        if node is None:
            raise StoreUnavailableError(f"cluster: nobody has the slot of {key}")
        return msgspec.structs.replace(self._base, host=str(node.host), port=int(node.port))

    def stale(self) -> None:
        """See `Where`."""
        if self._known and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(redis.exceptions.RedisError, OSError, TimeoutError):
            await self._cluster.nodes_manager.initialize()
            return
        await asyncio.sleep(STORE_NODE_PATIENCE_S / 4)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._cluster.aclose()


def where_is(url: str, *, cluster: bool) -> Where:
    """Return what knows where the keys of a store are."""
    address = parse_address(url)
    if not cluster:
        return OneServer(address)
    # A node that hangs is passed over soon, when the map is read.
    client = connect_store(url, cluster=True, timeout_s=STORE_NODE_PATIENCE_S)
    assert isinstance(client, RedisCluster)
    return ClusterMap(client, address)
