"""`afstand partitions`: how many are where, and a move to another one while people are watched.

The move itself is in the journals (`afstand.watch.moving`): from one entry on the persons belong to
the other partition, whatever becomes of this command. What is left to do then is to tell the
intakes, by the registry, so that frames take the short way. Doing it again is harmless.
"""

import argparse
import sys
from collections import Counter

import msgspec

from afstand.commands import MovePersons, TakeGroup, decode_command
from afstand.config import Config
from afstand.limits import MOVE_WAIT_S_MAX, WATCH_READ_ENTRIES_MAX
from afstand.roles import open_store
from afstand.tools import command_and_answer
from afstand.watch.envelope import decode_envelope
from alerting.book.types import Defined, Output, Rejected
from ingest.devices import DeviceRecord
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.registry import KeyBox, Registry
from ingest.store import EntryId, Store


class MoveError(Exception):
    """Nobody moved, or not all is done yet; the message says which, and what to do."""


async def run(config: Config, options: argparse.Namespace) -> int:
    """Run one of the commands."""
    async with open_store(config) as store:
        registry = Registry(store, KeyBox(config.master_key()))
        await registry.load_all()
        if options.what == "list":
            counts = Counter(device.partition for device in registry)
            for partition in config.partitions:
                print(f"{partition:16} {counts[partition]} devices")
            return 0
        try:
            moved = await move(
                store, registry, config.partitions, options.person, options.to, options.by
            )
        except MoveError as error:
            print(error, file=sys.stderr)
            return 1
    print(f"{len(moved)} devices are in {options.to}: {', '.join(sorted(moved))}")
    return 0


async def move(
    store: Store, registry: Registry, partitions: tuple[str, ...], person: str, to: str, by: str
) -> list[str]:
    """Move a person and everybody tied to them; the devices that moved. Raises MoveError."""
    if to not in partitions:
        raise MoveError(f"no partition {to}; there are {', '.join(partitions)}")
    mine = [device for device in registry if device.person_id == person]
    if not mine:
        raise MoveError(f"no device of a person {person}")
    source = mine[0].partition
    if source == to:
        raise MoveError(f"{person} is in {to} already")
    before = await Outbox(store).last_id(to)
    said = MovePersons(person_ids=(person,), to=to, by=by)
    outputs = await command_and_answer(store, source, said)
    if outputs is None:
        raise MoveError(f"no watch of {source} answered; ask again, which is harmless")
    move_id = _left(outputs, to)
    group = await _arrived(store, to, move_id, before)
    await registry.refresh()
    moving = [device for device in registry if _is_of(device, group)]
    await registry.put_many([msgspec.structs.replace(device, partition=to) for device in moving])
    return [device.device_id for device in moving]


def _left(outputs: list[Output], to: str) -> str:
    for output in outputs:
        if isinstance(output, Rejected) and output.what == "move":
            raise MoveError(f"refused: {output.reason}: {output.detail}")
        if isinstance(output, Defined) and output.what == "left":
            return output.ref.removeprefix(f"{to}/")
    raise MoveError("the watch did not understand; are all watches of this version?")


async def _arrived(store: Store, to: str, move_id: str, after: EntryId) -> TakeGroup:
    """Wait until the other partition has the group, and give the entry that says who is in it."""
    for _ in range(round(MOVE_WAIT_S_MAX / 0.25)):
        for entry in await Outbox(store).read(to, after, WATCH_READ_ENTRIES_MAX, 250):
            after = entry.id
            for output in decode_envelope(entry.blob).outputs:
                if isinstance(output, Rejected) and output.ref == move_id:
                    raise MoveError(f"{to} refused the group, it goes back: {output.detail}")
                if isinstance(output, Defined) and (output.what, output.ref) == (
                    "arrived",
                    move_id,
                ):
                    (said,) = await Journal(store).read(to, entry.id.before(), 1)
                    command = decode_command(said.blob)
                    assert isinstance(command, TakeGroup)
                    return command
    raise MoveError(
        f"they left, and no watch of {to} has answered yet; what comes of them waits for it."
        " Ask again, which is harmless"
    )


def _is_of(device: DeviceRecord, group: TakeGroup) -> bool:
    return device.person_id in group.persons or device.device_id in group.devices
