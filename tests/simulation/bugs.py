"""Bugs put in on purpose, to see that they are found. They exist in tests alone."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final
from unittest import mock

import msgspec

from afstand.watch import frames
from afstand.watch.moving import Moving as WatchMoving
from afstand.watch.replica import Replica
from alerting.book import moving, tables
from geofence import moving as engine_moving
from ingest import resp
from ingest.checks import Accept
from ingest.feed import Feed
from ingest.outbox import Appended, Outbox
from ingest.store import EntryId, StoreUnavailableError


@contextlib.contextmanager
def ack_before_write() -> Iterator[None]:
    """The intake acknowledges to the broker what it has only taken."""
    hold = Feed._hold

    def early(self: Feed, accept: Accept, message: Any) -> None:
        hold(self, accept, message)
        self._acknowledge([message], [])

    with mock.patch.object(Feed, "_hold", early):
        yield


@contextlib.contextmanager
def ack_after_failure() -> Iterator[None]:
    """The intake takes a write that failed for one that was done."""
    append_many = resp.RespWriter.append_many

    async def bold(self: Any, appends: Any, also: Any = ()) -> Any:
        try:
            return await append_many(self, appends, also)
        except StoreUnavailableError:
            return [EntryId(1, 0)] * len(appends), [b"1-0"] * len(also)

    with mock.patch.object(resp.RespWriter, "append_many", bold):
        yield


@contextlib.contextmanager
def dedup_off() -> Iterator[None]:
    """The fold takes every copy of a frame for a new one."""

    def new(*_: Any) -> bool:
        return True

    with (
        mock.patch.object(frames.Devices, "is_new", new),
        mock.patch.object(frames.Devices, "is_new_event", new),
    ):
        yield


@contextlib.contextmanager
def lost_timer() -> Iterator[None]:
    """The book forgets one in three of the deadlines that it sets for the steps of a plan."""
    keep = tables.Timers.set
    calls = 0

    def forgetful(self: Any, name: str, due_ms: int) -> None:
        nonlocal calls
        calls += 1
        keep(self, name, due_ms + (10**12 if calls % 3 == 0 else 0))

    with mock.patch.object(tables.Timers, "set", forgetful):
        yield


@contextlib.contextmanager
def unknown_taken_for_done() -> Iterator[None]:
    """A watch takes an append whose answer never came for one that was done."""
    append = Outbox.append

    async def bold(self: Outbox, partition: str, entry_id: EntryId, blob: bytes) -> Appended:
        try:
            return await append(self, partition, entry_id, blob)
        except StoreUnavailableError:
            return Appended.ACCEPTED

    with mock.patch.object(Outbox, "append", bold):
        yield


@contextlib.contextmanager
def receipt_before_delivery() -> Iterator[None]:
    """The notifier takes a target that does not answer for one that has the message."""
    from alerting.notify import driver
    from alerting.notify.delivery import Outcome, OutcomeStatus

    send = driver.LaneDriver._send_now

    async def bold(self: Any, delivery: Any, now_ms: int) -> Outcome:
        outcome = await send(self, delivery, now_ms)
        if outcome.status is OutcomeStatus.RETRY:
            return Outcome(status=OutcomeStatus.DELIVERED)
        return outcome

    with mock.patch.object(driver.LaneDriver, "_send_now", bold):
        yield


@contextlib.contextmanager
def group_without_its_timers() -> Iterator[None]:
    """A partition takes a group and forgets what is due about it."""
    take = moving.take

    def forgetful(state: Any, raw: bytes) -> None:
        group = msgspec.msgpack.decode(raw, type=moving.BookGroup)
        group.rows.timers.clear()
        take(state, msgspec.msgpack.encode(group))

    with mock.patch.object(moving, "take", forgetful):
        yield


@contextlib.contextmanager
def forgotten_before_taken() -> Iterator[None]:
    """A replica lets go of what another partition is to get when the store does not answer."""
    pass_on = Replica._pass_on

    async def forgetful(self: Any) -> None:
        await pass_on(self)
        self._passing.clear()

    with mock.patch.object(Replica, "_pass_on", forgetful):
        yield


@contextlib.contextmanager
def group_without_its_evidence() -> Iterator[None]:
    """A partition takes orders and forgets what it was told of how they are kept."""
    with mock.patch.object(engine_moving, "_copy_order", return_value=None):
        yield


@contextlib.contextmanager
def group_without_what_was_seen() -> Iterator[None]:
    """A partition takes a group's devices and does not know which frames counted before."""
    take = frames.Devices.take

    def forgetful(self: Any, dumped: Any, row_of: Any) -> None:
        take(self, msgspec.structs.replace(dumped, seen=[], presses=[]), row_of)

    with mock.patch.object(frames.Devices, "take", forgetful):
        yield


@contextlib.contextmanager
def late_frames_not_passed_on() -> Iterator[None]:
    """A partition drops what still comes in of somebody who left."""
    split = WatchMoving.split

    def careless(self: Any, batch: Any) -> Any:
        return split(self, batch)[0], []

    with mock.patch.object(WatchMoving, "split", careless):
        yield


BUGS: Final[dict[str, Callable[[], contextlib.AbstractContextManager[None]]]] = {
    bug.__name__: bug
    for bug in (
        ack_before_write,
        ack_after_failure,
        dedup_off,
        lost_timer,
        unknown_taken_for_done,
        receipt_before_delivery,
        group_without_its_timers,
        forgotten_before_taken,
        group_without_its_evidence,
        group_without_what_was_seen,
        late_frames_not_passed_on,
    )
}
