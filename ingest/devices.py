"""What is known of a device. No input or output here."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

import msgspec

from afstand.limits import FORMER_KEY_MS_MAX
from firmware_contracts.keys import derive_key

KEY_BYTES: Final = 16
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_IMEI: Final = re.compile(r"[0-9]{15}", re.ASCII)
_PARTITION: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")


class Role(StrEnum):
    """Whose device it is."""

    WEARER = "wearer"
    PROTECTED = "protected"


class Contract(StrEnum):
    """What the device speaks."""

    EM1 = "em1"
    OWNTRACKS = "owntracks"
    TELTONIKA = "teltonika"


class RegistryError(ValueError):
    """A record, or a master key, that cannot be used."""


class DeviceRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One device.

    `handle` 0 = not given yet; `key` is 16 bytes for `em1` and empty for the others. `root` is the
    key of which later generations are made, empty for a device without one. While a device is asked
    for a new key, `next_generation` and `next_nonce` make it; after it, `former_key` counts for
    frames numbered before `former_before` (boot, sequence) until `former_until_ms`.
    """

    device_id: str
    partition: str
    role: Role
    contract: Contract = Contract.EM1
    key: bytes = b""
    person_id: str = ""
    enabled: bool = True
    handle: int = 0
    root: bytes = b""
    generation: int = 0
    next_generation: int = 0
    next_nonce: bytes = b""
    former_key: bytes = b""
    former_before: tuple[int, int] = (0, 0)
    former_until_ms: int = 0

    @property
    def next_key(self) -> bytes:
        """The key that the device was asked to take; empty when it was not asked."""
        if not self.next_generation:
            return b""
        return derive_key(self.root, self.device_id, self.next_generation, self.next_nonce)

    def __repr__(self) -> str:
        return (
            f"DeviceRecord({self.device_id!r}, handle={self.handle},"
            f" partition={self.partition!r}, role={self.role.value},"
            f" contract={self.contract.value}, enabled={self.enabled})"  # never the key
        )


def owntracks_id(user: str, device: str) -> str:
    """Return the registry id of a phone that publishes on `owntracks/{user}/{device}`.

    The id is `{user}.{device}`. The user has no full stop, so that no two phones share an id; that
    none speaks for a monitor is seen to by the record's contract. Raises RegistryError.
    """
    name = f"{user}.{device}"
    if not user or "." in user or not device or _ID.fullmatch(name) is None:
        raise RegistryError(f"not the names of an OwnTracks topic: {user!r}, {device!r}")
    return name


def check_partition(partition: str) -> str:
    """Return `partition` when it may be part of a key: `[A-Za-z0-9_-]{1,32}`. Raises ValueError."""
    if _PARTITION.fullmatch(partition) is None:
        raise ValueError(f"not a partition name: {partition!r}")
    return partition


def check_record(record: DeviceRecord) -> None:
    """Raise RegistryError when a record cannot be one."""
    name = record.device_id
    if _ID.fullmatch(name) is None:
        raise RegistryError(f"not a device id: {name!r}")
    if record.contract is Contract.TELTONIKA and _IMEI.fullmatch(name) is None:
        raise RegistryError(f"device {name}: a tracker's id is its IMEI, 15 digits")
    if record.person_id and _ID.fullmatch(record.person_id) is None:
        raise RegistryError(f"device {name}: not a person id: {record.person_id!r}")
    try:
        check_partition(record.partition)
    except ValueError as error:
        raise RegistryError(f"device {name}: {error}") from None
    wanted = KEY_BYTES if record.contract is Contract.EM1 else 0
    if len(record.key) != wanted:
        raise RegistryError(f"device {name}: a key of {len(record.key)} bytes, {wanted} needed")
    for key in (record.root, record.next_nonce, record.former_key):
        if key and (len(key) != KEY_BYTES or not wanted):
            raise RegistryError(
                f"device {name}: a root key, nonce or former key that cannot be one"
            )
    if bool(record.next_generation) != bool(record.next_nonce and record.root):
        raise RegistryError(f"device {name}: a next generation without root key or nonce")


def with_next_key(record: DeviceRecord, nonce: bytes) -> DeviceRecord:
    """Return the record of a device that is asked for the key of its next generation.

    A device that was asked before and has not been heard since is asked for the same again: it may
    have obeyed, and then no other key than that one opens what it says. Raises RegistryError for a
    device without a root key.
    """
    if not record.root:
        raise RegistryError(f"device {record.device_id}: it has no root key")
    if record.next_generation:
        return record
    return msgspec.structs.replace(record, next_generation=record.generation + 1, next_nonce=nonce)


def promoted(record: DeviceRecord, boot: int, sequence: int, now_ms: int) -> DeviceRecord:
    """Return the record of a device whose frame (boot, sequence) came under its next key first."""
    return msgspec.structs.replace(
        record,
        key=record.next_key,
        generation=record.next_generation,
        next_nonce=b"",
        next_generation=0,
        former_key=record.key,
        former_before=(boot, sequence),
        former_until_ms=now_ms + FORMER_KEY_MS_MAX,
    )
