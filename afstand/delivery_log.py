"""The notifier's memory of what it delivered, in the store: a restart must not forget it.

It only saves copies: what is in it was journalled before, and what it lost is sent again under the
same key. So nothing waits for it for long, and a store that is away is an error for the caller to
count. Rows go away by themselves after DELIVERY_LOG_KEEP_S, longer than any target may keep a
delivery alive and than an outbox entry is given again.
"""

from typing import Final, NamedTuple

from afstand.limits import DELIVERY_LOG_KEEP_S
from afstand.outbox_source import partition_of_key
from alerting.book.types import ReceiptStatus
from alerting.notify.source import MemoryDeliveryLog
from ingest.store import Store, command

LOG_FORMAT: Final = "1"


class _Row(NamedTuple):
    target: str
    status: ReceiptStatus


def delivered_key(key: str) -> str:
    """The store's key of one delivery; the braces keep it on the node of its partition."""
    return f"delivered:{{{partition_of_key(key)}}}:{key}"


class StoreDeliveryLog:
    """The log of all notifiers of a store; what this one wrote itself it knows without asking."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._near = MemoryDeliveryLog()

    async def settled(self, key: str) -> ReceiptStatus | None:
        """What became of the delivery. Raises StoreUnavailableError."""
        near = await self._near.settled(key)
        if near is not None:
            return near
        row = await self._read(key)
        return row.status if row else None

    async def target_of(self, key: str) -> str | None:
        """The target of the delivery. Raises StoreUnavailableError."""
        near = await self._near.target_of(key)
        if near is not None:
            return near
        row = await self._read(key)
        return row.target if row else None

    async def note(self, key: str, target: str, status: ReceiptStatus) -> None:
        """Remember. Raises StoreUnavailableError, after which this process still remembers."""
        await self._near.note(key, target, status)
        row = f"{LOG_FORMAT} {status} {target}"
        await command(self._store, "SET", delivered_key(key), row, "EX", DELIVERY_LOG_KEEP_S)

    async def _read(self, key: str) -> _Row | None:
        raw = await command(self._store, "GET", delivered_key(key))
        if raw is None:
            return None
        version, _, rest = raw.decode("utf-8", "replace").partition(" ")
        status, _, target = rest.partition(" ")
        if version != LOG_FORMAT or status not in set(ReceiptStatus):
            return None  # of another program, or damaged: a copy is better than a miss
        return _Row(target, ReceiptStatus(status))
