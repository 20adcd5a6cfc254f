"""One message to one target: what a channel is handed, and what it makes of it."""

from enum import StrEnum
from typing import Final, Protocol

import msgspec

from alerting.book.types import AlarmClass, DeviceCommand, Notice, Priority, Purpose

LANE_COMMANDS: Final = "device-commands"
"""The lane of commands to devices. Commands name a device and no target."""

# Panic, proximity and tamper go before everything else (DESIGN section 7), then what the alarm book
# calls critical.
_CLASS_RANK: Final = {AlarmClass.PANIC: 0, AlarmClass.PROXIMITY: 1, AlarmClass.TAMPER: 2}
_PRIORITY_RANK: Final = {
    Priority.CRITICAL: 3,
    Priority.HIGH: 4,
    Priority.MEDIUM: 5,
    Priority.LOW: 6,
}
_COMMAND_RANK: Final = 4
_DRILL_RANK: Final = 6
_LATER_RANK: Final = 7
_LATER: Final = (Purpose.WITHDRAWN, Purpose.TEST, Purpose.EXPLANATION, Purpose.HISTORY)
_IN_ORDER: Final = (Purpose.UPDATE, Purpose.WITHDRAWN)


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message on its way to one target.

    `key` is its idempotency key, the same in every attempt and after every restart.
    """

    key: str
    target: str
    """The name of the lane: the target of a notice, LANE_COMMANDS for a command."""
    body: Notice | DeviceCommand
    rank: int
    """0 goes first."""
    urgent: bool
    group: str | None
    """What belongs together inside a lane: an incident, and on devices the device as well."""
    in_order: bool
    """Waits, for a bounded time, until earlier deliveries of its group are settled: a withdrawal
    makes no sense before its alarm. What alerts never waits.
    """
    at_ms: int
    expires_ms: int | None = None
    """After this it must not be sent any more."""
    redelivered: bool = False
    """The outbox gave it before: it may have been delivered already."""


class OutcomeStatus(StrEnum):
    """What became of one attempt."""

    DELIVERED = "delivered"
    ACKNOWLEDGED = "acknowledged"
    """Delivered, and somebody there has taken it on."""
    REFUSED = "refused"
    """The target does not want this message: trying it again would change nothing."""
    FAILED = "failed"
    """The message cannot be sent at all."""
    RETRY = "retry"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one attempt, and why."""

    status: OutcomeStatus
    detail: str = ""
    by: str = ""
    retry_after_ms: int | None = None
    """The target asked to be left alone this long."""
    reached_target: bool | None = True
    """The target itself answered and is well, whatever it said of this message. False: it did not,
    which counts against its circuit. None: it was not asked.
    """


class Channel(Protocol):
    """A way to reach one target: one channel serves one lane."""

    async def send(self, delivery: Delivery, now_ms: int) -> Outcome:
        """Make one attempt. Raises RenderError for a message that cannot be put into form."""
        ...


class RenderError(Exception):
    """The delivery cannot be put into the form of its channel; no retry will help."""


def delivery_of_notice(key: str, notice: Notice, *, redelivered: bool = False) -> Delivery:
    """Give the delivery of a notice, with its place in the order of its lane."""
    base = _CLASS_RANK.get(notice.alarm_class, _PRIORITY_RANK[notice.priority])
    alerts = notice.purpose not in _LATER
    if not alerts:
        base = _LATER_RANK
    elif notice.drill:
        base = _DRILL_RANK
    return Delivery(
        key=key,
        target=notice.target,
        body=notice,
        rank=base,
        urgent=alerts and not notice.drill and notice.alarm_class in _CLASS_RANK,
        group=f"{notice.incident_id}/{notice.subject_device_id or ''}",
        in_order=notice.purpose in _IN_ORDER,
        at_ms=notice.at_ms,
        redelivered=redelivered,
    )


def delivery_of_command(key: str, command: DeviceCommand, *, redelivered: bool = False) -> Delivery:
    """Give the delivery of a command to a device."""
    return Delivery(
        key=key,
        target=LANE_COMMANDS,
        body=command,
        rank=_COMMAND_RANK,
        urgent=False,
        group=None,
        in_order=False,
        at_ms=command.at_ms,
        expires_ms=command.expires_ms,
        redelivered=redelivered,
    )
