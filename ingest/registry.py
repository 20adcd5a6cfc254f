"""The device registry.

Who may speak, under which handle and key, and to which partition it belongs.

Keys are encrypted at rest with AES-256-GCM under a master key that comes from a file or the
environment and is never stored; the device's id is authenticated with the key, so that a stored key
cannot be moved to another device. A handle is given once to an id and stays its own for ever: a
device is disabled, never deleted, because the journal speaks of handles.

Every write raises one version counter, in the same script as the write. Readers poll it and fetch
what has changed since. A phone (contract `owntracks`) is registered under the id
`owntracks_id(user, device)`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from afstand.limits import REGISTRY_DEVICES_MAX, REGISTRY_WRITE_MAX
from ingest.devices import (
    Contract,
    DeviceRecord,
    RegistryError,
    Role,
    check_record,
    owntracks_id,
    promoted,
)
from ingest.store import (
    REGISTRY_CHANGES_KEY,
    REGISTRY_DEVICES_KEY,
    REGISTRY_HANDLES_KEY,
    REGISTRY_NEXT_HANDLE_KEY,
    REGISTRY_VERSION_KEY,
    Store,
    command,
)

__all__ = [
    "MASTER_KEY_VARIABLE",
    "Contract",
    "DeviceRecord",
    "KeyBox",
    "Registry",
    "RegistryError",
    "Role",
    "owntracks_id",
    "read_master_key",
]

MASTER_KEY_VARIABLE: Final = "AFSTAND_REGISTRY_KEY"
RECORD_VERSION: Final = 1
ROOTED_VERSION: Final = 2
_FIELDS_OF_1: Final = 7
_NONCE_BYTES: Final = 12
_KEY_ID_BYTES: Final = 4


class _Stored(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: int
    partition: str
    role: Role
    contract: Contract
    person_id: str
    enabled: bool
    sealed_key: bytes
    # From version 2 on, which is written only of a device that has a root key.
    sealed_root: bytes = b""
    generation: int = 0
    next_generation: int = 0
    next_nonce: bytes = b""
    sealed_former: bytes = b""
    former_before: tuple[int, int] = (0, 0)
    former_until_ms: int = 0


def read_master_key(path: Path | None = None, environ: Mapping[str, str] | None = None) -> bytes:
    """Return the 32-byte master key.

    The file when one is given, else the variable `AFSTAND_REGISTRY_KEY`. Both hold base64.

    Raises RegistryError (which never quotes what it read).
    """
    if path is not None:
        source = str(path)
        try:
            text = path.read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise RegistryError(
                f"master key: {source} cannot be read ({type(error).__name__})"
            ) from None
    else:
        source = MASTER_KEY_VARIABLE
        text = (os.environ if environ is None else environ).get(MASTER_KEY_VARIABLE, "")
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        raise RegistryError(f"master key: {source} is not base64") from None
    if len(key) != 32:
        raise RegistryError(f"master key: {source} holds {len(key)} bytes, 32 needed")
    return key


class KeyBox:
    """Seals and opens device keys.

    Seals under `current`; opens under any of the keys it was given (rotation).
    """

    def __init__(self, current: bytes, *older: bytes) -> None:
        for key in (current, *older):
            if len(key) != 32:
                raise RegistryError(f"a master key has 32 bytes, not {len(key)}")
        self._current = _key_id(current)
        self._ciphers = {_key_id(key): AESGCM(key) for key in (*older, current)}

    def seal(self, device_id: str, key: bytes) -> bytes:
        """Return key id, nonce, ciphertext and tag of `key`, bound to the device."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._current].encrypt(nonce, key, device_id.encode("ascii"))
        return self._current + nonce + sealed

    def open(self, device_id: str, sealed: bytes) -> bytes:
        """Return the key of `device_id`.

        Raises RegistryError when it was sealed for another device or under another master key.
        """
        cipher = self._ciphers.get(sealed[:_KEY_ID_BYTES])
        if cipher is None:
            raise RegistryError(
                f"device {device_id}: its key is sealed under an unknown master key"
            )
        nonce = sealed[_KEY_ID_BYTES : _KEY_ID_BYTES + _NONCE_BYTES]
        try:
            return cipher.decrypt(
                nonce, sealed[_KEY_ID_BYTES + _NONCE_BYTES :], device_id.encode("ascii")
            )
        except (InvalidTag, ValueError):
            raise RegistryError(f"device {device_id}: its sealed key does not open") from None


def _key_id(master: bytes) -> bytes:
    return hashlib.sha256(b"afstand registry key id" + master).digest()[:_KEY_ID_BYTES]


# One script, so that a handle, a record and the version that announces it appear together.
# KEYS: devices, handles, changes, version, next-handle. ARGV: id, record, id, record ... Returns
# the handles.
_PUT = """
local version = redis.call('INCR', KEYS[4])
local handles = {}
for i = 1, #ARGV, 2 do
  local handle = redis.call('HGET', KEYS[2], ARGV[i])
  if not handle then
    handle = redis.call('INCR', KEYS[5])
    redis.call('HSET', KEYS[2], ARGV[i], handle)
  end
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('ZADD', KEYS[3], version, ARGV[i])
  handles[#handles + 1] = tonumber(handle)
end
return handles
"""
_PUT_KEYS: Final = (
    REGISTRY_DEVICES_KEY,
    REGISTRY_HANDLES_KEY,
    REGISTRY_CHANGES_KEY,
    REGISTRY_VERSION_KEY,
    REGISTRY_NEXT_HANDLE_KEY,
)


class Registry:
    """The registry as this process knows it.

    Complete after `load_all`, kept up to date by `refresh`.
    """

    def __init__(self, store: Store, box: KeyBox) -> None:
        self._store = store
        self._box = box
        self._devices: dict[str, DeviceRecord] = {}
        self._by_handle: dict[int, DeviceRecord] = {}
        # Give the device with an id, enabled or not; called for every message.
        self.find: Callable[[str], DeviceRecord | None] = self._devices.get
        self.version = 0
        self.generation = 0  # raised whenever a record here changes
        self.broken: dict[str, str] = {}  # device id -> why its record cannot be used

    def __len__(self) -> int:
        return len(self._devices)

    def __iter__(self) -> Iterator[DeviceRecord]:
        return iter(self._devices.values())

    def by_handle(self, handle: int) -> DeviceRecord | None:
        """Return the device with this handle, enabled or not."""
        return self._by_handle.get(handle)

    async def put(self, record: DeviceRecord) -> DeviceRecord:
        """Write one device and return it with its handle. See `put_many`."""
        return (await self.put_many([record]))[0]

    async def put_many(self, records: Sequence[DeviceRecord]) -> list[DeviceRecord]:
        """Write devices, new or changed, and return them with their handles.

        `handle` of an argument is ignored.

        Raises RegistryError before anything is written, and StoreUnavailableError (writing the same
        again is harmless).
        """
        for record in records:
            check_record(record)
        if len(self._devices) + len(records) > REGISTRY_DEVICES_MAX:
            raise RegistryError(f"more than {REGISTRY_DEVICES_MAX} devices")
        written: list[DeviceRecord] = []
        for start in range(0, len(records), REGISTRY_WRITE_MAX):
            part = records[start : start + REGISTRY_WRITE_MAX]
            args: list[Any] = []
            for record in part:
                args += (record.device_id, self._encode(record))
            handles = await command(self._store, "EVAL", _PUT, len(_PUT_KEYS), *_PUT_KEYS, *args)
            for record, handle in zip(part, handles, strict=True):
                device = msgspec.structs.replace(record, handle=int(handle))
                self._remember(device)
                written.append(device)
        return written

    async def promote(self, device_id: str, boot: int, sequence: int, now_ms: int) -> bool:
        """Make the next key of a device its key; its frame (boot, sequence) was under it.

        False when that was done before. Raises StoreUnavailableError.
        """
        await self.refresh()
        record = self._devices.get(device_id)
        if record is None or not record.next_generation:
            return False
        await self.put(promoted(record, boot, sequence, now_ms))
        return True

    async def load_all(self) -> int:
        """Read every device.

        Returns how many. A record that cannot be used is in `broken` and its device stays unknown.
        """
        version = (
            await self._stored_version()
        )  # first: what changes meanwhile is read again by `refresh`
        handles = dict(await self._scan(REGISTRY_HANDLES_KEY))
        for device_id, raw in await self._scan(REGISTRY_DEVICES_KEY):
            self._take(device_id, raw, handles.get(device_id))
        self.version = version
        return len(self._devices)

    async def refresh(self) -> list[DeviceRecord]:
        """Read what has changed since the last `load_all` or `refresh`, and return it.

        One GET when nothing has.
        """
        version = await self._stored_version()
        if version == self.version:
            return []
        if version < self.version:  # another store, or one that lost its data
            self.generation += 1
            self._devices.clear()
            self._by_handle.clear()
            self.broken.clear()
            await self.load_all()
            return list(self)
        since = f"({self.version}"
        ids = await command(self._store, "ZRANGEBYSCORE", REGISTRY_CHANGES_KEY, since, "+inf")
        changed: list[DeviceRecord] = []
        for start in range(0, len(ids), REGISTRY_WRITE_MAX):
            part = ids[start : start + REGISTRY_WRITE_MAX]
            records = await command(self._store, "HMGET", REGISTRY_DEVICES_KEY, *part)
            handles = await command(self._store, "HMGET", REGISTRY_HANDLES_KEY, *part)
            for device_id, raw, handle in zip(part, records, handles, strict=True):
                device = self._take(device_id, raw, handle)
                if device is not None:
                    changed.append(device)
        self.version = version
        return changed

    async def _stored_version(self) -> int:
        return int(await command(self._store, "GET", REGISTRY_VERSION_KEY) or 0)

    async def _scan(self, key: str) -> list[tuple[bytes, bytes]]:
        pairs: dict[bytes, bytes] = {}
        cursor = 0
        while True:
            answer = await command(self._store, "HSCAN", key, cursor, "COUNT", 2000)
            cursor = int(answer[0])
            pairs.update(answer[1])
            if cursor == 0:
                return list(pairs.items())

    def _encode(self, record: DeviceRecord) -> bytes:
        def sealed(key: bytes) -> bytes:
            return self._box.seal(record.device_id, key) if key else b""

        stored = _Stored(
            RECORD_VERSION,
            record.partition,
            record.role,
            record.contract,
            record.person_id,
            record.enabled,
            sealed(record.key),
        )
        if not record.root:
            return msgspec.msgpack.encode(msgspec.structs.astuple(stored)[:_FIELDS_OF_1])
        rooted = msgspec.structs.replace(
            stored,
            version=ROOTED_VERSION,
            sealed_root=sealed(record.root),
            generation=record.generation,
            next_generation=record.next_generation,
            next_nonce=record.next_nonce,
            sealed_former=sealed(record.former_key),
            former_before=record.former_before,
            former_until_ms=record.former_until_ms,
        )
        return msgspec.msgpack.encode(rooted)

    def _take(self, raw_id: bytes, raw: bytes | None, handle: bytes | None) -> DeviceRecord | None:
        device_id = raw_id.decode("ascii", "replace")
        try:
            device = self._decode(device_id, raw, handle)
        except (RegistryError, msgspec.MsgspecError, ValueError) as error:
            self.broken[device_id] = str(error)
            self._forget(device_id)
            return None
        self.broken.pop(device_id, None)
        self._remember(device)
        return device

    def _decode(self, device_id: str, raw: bytes | None, handle: bytes | None) -> DeviceRecord:
        if raw is None or handle is None:
            raise RegistryError(f"device {device_id}: record or handle missing")
        stored = msgspec.msgpack.decode(raw, type=_Stored)
        if stored.version not in (RECORD_VERSION, ROOTED_VERSION):
            raise RegistryError(f"device {device_id}: record version {stored.version}")
        device = DeviceRecord(
            device_id=device_id,
            partition=stored.partition,
            role=stored.role,
            contract=stored.contract,
            key=self._opened(device_id, stored.sealed_key),
            person_id=stored.person_id,
            enabled=stored.enabled,
            handle=int(handle),
            root=self._opened(device_id, stored.sealed_root),
            generation=stored.generation,
            next_generation=stored.next_generation,
            next_nonce=stored.next_nonce,
            former_key=self._opened(device_id, stored.sealed_former),
            former_before=stored.former_before,
            former_until_ms=stored.former_until_ms,
        )
        check_record(device)
        return device

    def _opened(self, device_id: str, sealed: bytes) -> bytes:
        return self._box.open(device_id, sealed) if sealed else b""

    def _remember(self, device: DeviceRecord) -> None:
        self.generation += 1
        self._devices[device.device_id] = device
        self._by_handle[device.handle] = device

    def _forget(self, device_id: str) -> None:
        self.generation += 1
        device = self._devices.pop(device_id, None)
        if device is not None:
            self._by_handle.pop(device.handle, None)
