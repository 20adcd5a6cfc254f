"""Where deliveries come from, and the memory of those that are done: protocols and their records.

The outbox is a Redis stream with a consumer group; this package knows neither. An adapter gives its
entries as `OutboxEntry` and takes acknowledgements back.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import msgspec

from afstand.limits import NOTIFY_LOG_KEYS_MAX
from alerting.book.types import Output, ReceiptStatus


class OutboxEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a partition's outbox.

    `outputs` in their order: decoded, or each still as its own msgpack (bytes or msgspec.Raw), so
    that one that cannot be read harms no other. `fault` says that the entry could not be taken
    apart at all; it then has no outputs.
    """

    partition: str
    entry_id: str
    outputs: tuple[Output | bytes | msgspec.Raw, ...] = ()
    fault: str = ""
    redelivered: bool = False
    """It was given before, to this consumer or another, and not acknowledged."""

    @property
    def entry_key(self) -> str:
        """What the idempotency keys of its outputs begin with (DESIGN section 2, rule 1)."""
        return f"{self.partition}-{self.entry_id}"

    def key_of(self, index: int) -> str:
        """Give the idempotency key of one output."""
        return f"{self.entry_key}-{index}"


class OutboxSource(Protocol):
    """The consumer group's side of the outboxes."""

    async def take(self, count_max: int) -> Sequence[OutboxEntry]:
        """Give up to `count_max` entries, waiting for the first for a while; may give none.

        After a start it gives first what this consumer had and did not acknowledge. An entry that
        is not acknowledged must be given again after a restart, to this consumer or another.
        """
        ...

    async def acknowledge(self, entries: Sequence[OutboxEntry]) -> None:
        """Never give these again: everything in them is settled and journalled."""
        ...


class DeliveryLog(Protocol):
    """What is settled, by key: the notifier looks here before it tries again.

    It only saves duplicates. Losing it, or failing to reach it, sends a message twice under the
    same key and never loses one.
    """

    async def settled(self, key: str) -> ReceiptStatus | None:
        """Give what became of the delivery, once its receipt is journalled; None before."""
        ...

    async def target_of(self, key: str) -> str | None:
        """Give the target of a delivery that was settled not long ago; None when not known."""
        ...

    async def note(self, key: str, target: str, status: ReceiptStatus) -> None:
        """Remember what became of a delivery. Called after its receipt is in the journal."""
        ...


class MemoryDeliveryLog:
    """The log of one process: enough to stop retries, forgotten at a restart."""

    def __init__(self, keys_max: int = NOTIFY_LOG_KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._entries: OrderedDict[str, tuple[str, ReceiptStatus]] = OrderedDict()

    async def settled(self, key: str) -> ReceiptStatus | None:
        """Give what became of the delivery."""
        entry = self._entries.get(key)
        return entry[1] if entry else None

    async def target_of(self, key: str) -> str | None:
        """Give the target of the delivery."""
        entry = self._entries.get(key)
        return entry[0] if entry else None

    async def note(self, key: str, target: str, status: ReceiptStatus) -> None:
        """Remember, and forget the oldest beyond the bound."""
        self._entries[key] = (target, status)
        self._entries.move_to_end(key)
        while len(self._entries) > self._keys_max:
            self._entries.popitem(last=False)
