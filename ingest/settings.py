"""What an intake needs to know, and what it needs of the things around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from afstand.limits import ACK_INTERVAL_MS, CLOCK_AHEAD_MS_MAX, REPLAY_AFTER_MS
from ingest.devices import DeviceRecord
from ingest.health import Health
from ingest.journal import Append
from ingest.mqtt import MqttSettings
from ingest.store import EntryId, StoreUnavailableError

EVENTS: Final = "events"
FIXES: Final = "fixes"


class IntakeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one intake.

    `mqtt.client_id` must be another one for every intake and stay the same over restarts: the
    broker keeps what the intake missed under it. Alarms from devices that nobody registered go to
    `default_partition`. With `store_url` the journal is written over connections of the intake's
    own, which costs a fraction; without, through the store's client. `store_copies` replicas of the
    store must have a frame too before it is acknowledged.
    """

    mqtt: MqttSettings
    group: str = "afstand"
    default_partition: str = "p0"
    store_url: str | None = None
    store_ca_file: str | None = None
    store_copies: int = 0
    store_is_cluster: bool = False
    ack_interval_ms: int = ACK_INTERVAL_MS
    clock_ahead_ms_max: int = CLOCK_AHEAD_MS_MAX
    replay_after_ms: int = REPLAY_AFTER_MS


class Writer(Protocol):
    """What the intake needs of a journal; see `Journal.append_many`."""

    async def append_many(
        self, appends: Sequence[Append], also: Sequence[tuple[Any, ...]] = ()
    ) -> tuple[list[EntryId | StoreUnavailableError], list[Any]]:
        """Append entries and run commands in one write."""

    async def aclose(self) -> None:
        """Let go of what is the writer's own."""


class Devices(Protocol):
    """What the intake needs of a registry; see `Registry`."""

    find: Callable[[str], DeviceRecord | None]

    @property
    def generation(self) -> int:
        """A number that changes whenever a record does."""

    @property
    def broken(self) -> Mapping[str, str]:
        """The devices whose records cannot be used, and why."""

    def __len__(self) -> int:
        """The number of usable devices."""

    async def refresh(self) -> list[DeviceRecord]:
        """Read what has changed."""

    async def promote(self, device_id: str, boot: int, sequence: int, now_ms: int) -> bool:
        """Make the next key of a device its key."""


def new_health() -> Health:
    """Return the health object of an intake, with its parts."""
    return Health("registry", "store", EVENTS, FIXES)
