"""`afstand devices`: which there are, a new key for one, and the first contact with a new one."""

import argparse
import asyncio
import os
import sys
import time
from typing import Final

import aiomqtt
import numpy as np

from afstand.config import Config
from afstand.limits import KEY_ORDER_S_MAX, REGISTRY_POLL_MS, WATCH_READ_ENTRIES_MAX
from afstand.roles import mqtt_client, open_store
from firmware_contracts import CommandCode, EventCode, cmd_topic
from firmware_contracts.batch import decode_batch
from firmware_contracts.frames import encode_command
from firmware_contracts.keys import NONCE_BYTES, key_command_text
from ingest.devices import Contract, DeviceRecord, RegistryError, with_next_key
from ingest.entries import EntryKind, FrameBatch
from ingest.journal import Journal
from ingest.registry import KeyBox, Registry
from ingest.store import EntryId, Store

ANSWERS: Final = (EventCode.COMMAND_DONE, EventCode.COMMAND_REFUSED, EventCode.COMMAND_EXPIRED)
ID_BASE: Final = 2**30  # apart from the ids that the alarm book counts
POLL_S: Final = 0.25


class DevicesError(Exception):
    """It cannot be done; the message says why."""


async def run(config: Config, options: argparse.Namespace) -> int:
    """Run one of the commands."""
    async with open_store(config) as store:
        registry = Registry(store, KeyBox(config.master_key()))
        await registry.load_all()
        try:
            if options.what == "list":
                return _list(registry)
            record = _keyed(registry, options.device)
            talk = Talk(config, store, record)
            if options.what == "provision":
                await talk.command(
                    CommandCode.PROFILE, options.moving, options.rest, wait_s=options.wait
                )
            return await _rotate(registry, talk, options.wait)
        except (DevicesError, RegistryError) as error:
            print(error, file=sys.stderr)
            return 1


def _list(registry: Registry) -> int:
    for record in sorted(registry, key=lambda one: one.device_id):
        key = "no key"
        if record.contract is Contract.EM1:
            key = f"key {record.generation}" if record.root else "one key"
            if record.next_generation:
                key += f", asked for {record.next_generation}"
        state = "enabled" if record.enabled else "disabled"
        person = record.person_id or "-"
        print(
            f"{record.device_id:24} {record.contract.value:9} {state:8} {record.role.value:9} "
            f"{person:16} {record.partition:4} {key}"
        )
    return 0


def _keyed(registry: Registry, device_id: str) -> DeviceRecord:
    record = registry.find(device_id)
    if record is None:
        raise DevicesError(f"no device {device_id}")
    if record.contract is not Contract.EM1:
        raise DevicesError(f"{device_id} has no key")
    return record


async def _rotate(registry: Registry, talk: "Talk", wait_s: float) -> int:
    """Ask a device for its next key, and wait until it is heard under it."""
    asked = with_next_key(talk.record, os.urandom(NONCE_BYTES))
    if asked is not talk.record:
        asked = await registry.put(asked)
        # Every intake must know the key before the device may use it.
        await asyncio.sleep(2 * REGISTRY_POLL_MS / 1000)
    generation = asked.next_generation
    text = key_command_text(asked.next_nonce)
    await talk.command(CommandCode.KEY, generation, text=text, wait_s=0)
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        await registry.refresh()
        record = registry.find(asked.device_id)
        if record is not None and record.generation >= generation:
            print(f"{asked.device_id}: has key {generation}")
            return 0
        await asyncio.sleep(POLL_S)
    raise DevicesError(
        f"{asked.device_id}: asked for key {generation}, not heard under it yet; it counts when it"
        " comes, and asking again is harmless"
    )


class Talk:
    """Commands to one device, and its answers as they come into the journal."""

    def __init__(self, config: Config, store: Store, record: DeviceRecord) -> None:
        self.record = record
        self._config = config
        self._store = store
        self._next_id = ID_BASE + int(time.time()) % ID_BASE

    async def command(
        self, code: CommandCode, arg1: int, arg2: int = 0, *, text: str = "", wait_s: float
    ) -> None:
        """Send a command; with `wait_s` wait for its answer. DevicesError unless it is DONE."""
        now_ms = time.time_ns() // 1_000_000
        self._next_id += 1
        frame = encode_command(
            self.record.device_id,
            self.record.key,
            command_id=self._next_id,
            expires_ms=now_ms + KEY_ORDER_S_MAX * 1000,
            code=code,
            arg1=arg1,
            arg2=arg2,
            text=text,
            server_time_ms=now_ms,
        )
        try:
            async with mqtt_client(self._config, f"afstand-devices-{os.getpid()}") as client:
                await client.publish(cmd_topic(self.record.device_id), frame, qos=1)
        except (aiomqtt.MqttError, OSError) as error:
            raise DevicesError(f"the broker does not take the command: {error}") from None
        if wait_s:
            answer = await self._answer(self._next_id, EntryId(now_ms - 1, 0), wait_s)
            if answer != EventCode.COMMAND_DONE:
                said = "did not answer" if answer is None else answer.name
                raise DevicesError(f"{self.record.device_id}: {code.name}: {said}")
            print(f"{self.record.device_id}: {code.name} done")

    async def _answer(self, command_id: int, after: EntryId, wait_s: float) -> EventCode | None:
        journal = Journal(self._store)
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            entries = await journal.read(self.record.partition, after, WATCH_READ_ENTRIES_MAX)
            for entry in entries:
                after = entry.id
                if entry.kind is EntryKind.FRAMES:
                    answer = self._answer_in(FrameBatch.read(entry.blob), command_id)
                    if answer is not None:
                        return answer
            if not entries:
                await asyncio.sleep(POLL_S)
        return None

    def _answer_in(self, batch: FrameBatch, command_id: int) -> EventCode | None:
        mine = np.flatnonzero(batch.handles == self.record.handle)
        events = decode_batch(batch.payload, batch.offsets[mine], batch.lengths[mine]).events
        for code, value in zip(events.code.tolist(), events.value.tolist(), strict=True):
            if value == command_id and code in ANSWERS:
                return EventCode(code)
        return None
