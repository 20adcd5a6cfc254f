"""The Redis (or Valkey) connection, stream ids, key names, and the error of a failing store.

The client never repeats a command by itself. A repeated `XADD *` would journal a batch twice and a
repeated `XADD id` would be refused as if another replica had written it; whoever sent the command
decides what an unknown outcome means.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

import redis.exceptions
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from afstand.limits import STORE_CONNECT_TIMEOUT_S, STORE_TIMEOUT_S

_ENTRY_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")


class StoreUnavailableError(Exception):
    """The store did not do, or did not confirm, what was asked; what happened is unknown.

    Readers try again. A writer of the journal writes again (copies are harmless); a writer of an
    outbox first reads `last_id`.
    """


class EntryId(NamedTuple):
    """Id of a stream entry.

    `ms` is the server's clock when the entry was written: the time the fold lives in.
    """

    ms: int
    seq: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    @classmethod
    def parse(cls, text: str | bytes) -> EntryId:
        """Read `ms-seq`; raises ValueError for anything else."""
        found = _ENTRY_ID.fullmatch(
            text.decode("ascii", "replace") if isinstance(text, bytes) else text
        )
        if found is None:
            raise ValueError(f"not a stream id: {text!r}")
        return cls(int(found[1]), int(found[2]))

    def next(self) -> EntryId:
        """Return the smallest id that is greater."""
        return EntryId(self.ms, self.seq + 1)

    def before(self) -> EntryId:
        """Return an id that is smaller and behind every other smaller one; `0-0` for itself."""
        if self.seq:
            return EntryId(self.ms, self.seq - 1)
        return EntryId(self.ms - 1, 2**63 - 1) if self.ms else self


BEGINNING = EntryId(0, 0)


class Pipeline(Protocol):
    """What is used of a redis pipeline: commands queue up and go out in one write."""

    def execute_command(self, *args: Any) -> Any: ...  # noqa: D102 redis's own name
    async def execute(self, raise_on_error: bool = True) -> list[Any]: ...  # noqa: D102 redis's own signature


class Store(Protocol):
    """What is used of `redis.asyncio.Redis` and of `RedisCluster`.

    One client per role, shared by its tasks.
    """

    def execute_command(self, *args: Any) -> Awaitable[Any]: ...  # noqa: D102 redis's own name
    def pipeline(self, transaction: bool = ...) -> Any: ...  # noqa: D102 redis's own signature
    async def aclose(self) -> None: ...  # noqa: D102 redis's own name


def connect_store(url: str, *, cluster: bool = False, timeout_s: float = STORE_TIMEOUT_S) -> Store:
    """Return a client for `redis://`, `rediss://` or `unix://`.

    Nothing is sent until the first command.

    `timeout_s` bounds every answer, so it must be longer than the longest blocking read.
    """
    options: dict[str, Any] = {
        "protocol": 2,  # the two shape answers differently; everything here reads the older
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": timeout_s,
        "socket_connect_timeout": STORE_CONNECT_TIMEOUT_S,
        "decode_responses": False,
    }
    made = RedisCluster.from_url(url, **options) if cluster else Redis.from_url(url, **options)
    client: Store = made
    return client


_UNAVAILABLE = (redis.exceptions.RedisError, OSError, TimeoutError)


async def command(store: Store, *args: Any) -> Any:
    """Send one command.

    Raises StoreUnavailableError for every failure, an error answer included.
    """
    try:
        return await store.execute_command(*args)
    except _UNAVAILABLE as error:
        raise StoreUnavailableError(f"{args[0]}: {type(error).__name__}: {error}") from error


async def pipeline(store: Store, fill: Callable[[Pipeline], None]) -> list[Any]:
    """Send many commands in one write.

    An element of the result is an answer or an exception (that command alone failed).

    Raises StoreUnavailableError when the connection failed, after which any of the commands may
    have been done.
    """
    try:
        pipe = store.pipeline(transaction=False)
        fill(pipe)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
    except _UNAVAILABLE as error:
        raise StoreUnavailableError(f"pipeline: {type(error).__name__}: {error}") from error
    return answers


# Braces are the cluster's hash tag: a partition's streams live on one node, the registry's keys on
# one node.
def journal_key(partition: str) -> str:
    """Return the key of a partition's journal."""
    return f"journal:{{{partition}}}"


def outbox_key(partition: str) -> str:
    """Return the key of a partition's outbox."""
    return f"outbox:{{{partition}}}"


def snapshot_key(partition: str) -> str:
    """Return the key of a partition's snapshot."""
    return f"snapshot:{{{partition}}}"


QUARANTINE_KEY = "quarantine"
REGISTRY_DEVICES_KEY = "{registry}:devices"
REGISTRY_HANDLES_KEY = "{registry}:handles"
REGISTRY_CHANGES_KEY = "{registry}:changes"
REGISTRY_VERSION_KEY = "{registry}:version"
REGISTRY_NEXT_HANDLE_KEY = "{registry}:next-handle"
