"""A seeded network between a device and a server in one process.

Loss, delay, duplicates, reordering, outages.
"""

from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Generic, TypeVar

import msgspec
import numpy as np

T = TypeVar("T")


class Outage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No message passes from `from_ms` up to `to_ms`."""

    from_ms: int
    to_ms: int


class NetworkSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How bad a network is.

    The delay is `delay_ms` plus an exponential of mean `spread_ms`, drawn per copy, which also
    reorders. A chance is 0 to 1.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    delay_ms: int = 50
    spread_ms: int = 100
    outages: tuple[Outage, ...] = ()

    def up(self, t_ms: int) -> bool:
        """Whether messages pass at all at an instant."""
        return not any(outage.from_ms <= t_ms < outage.to_ms for outage in self.outages)

    def next_change_ms(self, t_ms: int) -> int | None:
        """Return the first edge of an outage after an instant."""
        edges = [edge for outage in self.outages for edge in (outage.from_ms, outage.to_ms)]
        return min((edge for edge in edges if edge > t_ms), default=None)


@dataclass(slots=True)
class Network(Generic[T]):
    """One direction of one link: what is put in comes out later, more than once, or never."""

    spec: NetworkSpec
    rng: np.random.Generator
    lost: int = 0
    duplicated: int = 0
    _queue: list[tuple[int, int, T]] = field(default_factory=list)
    _count: int = 0

    def put(self, item: T, now_ms: int) -> None:
        """Send one message."""
        uniform, again = self.rng.random(2).tolist()
        delays = self.rng.exponential(self.spec.spread_ms, 2) if self.spec.spread_ms else (0.0, 0.0)
        if uniform < self.spec.loss or not self.spec.up(now_ms):
            self.lost += 1
            return
        copies = 2 if again < self.spec.duplicate else 1
        self.duplicated += copies - 1
        for delay in delays[:copies]:
            self._count += 1
            heappush(self._queue, (now_ms + self.spec.delay_ms + int(delay), self._count, item))

    def take(self, now_ms: int) -> list[T]:
        """Return what has arrived by now, in order of arrival."""
        arrived = []
        while self._queue and self._queue[0][0] <= now_ms:
            arrived.append(heappop(self._queue)[2])
        return arrived

    def next_arrival_ms(self) -> int | None:
        """Return when the next message arrives."""
        return self._queue[0][0] if self._queue else None
