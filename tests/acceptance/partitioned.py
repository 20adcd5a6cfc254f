"""What the tests of services with several partitions have in common."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from afstand.embedded import Endpoint, free_port
from afstand.site import Site, TargetSpec, new_secret, write_config
from afstand.watch.envelope import decode_envelope
from alerting.book.types import IncidentChange, IncidentRecord
from firmware_contracts import Kind
from firmware_contracts.frames import read_header
from ingest.entries import Entry, EntryKind, FrameBatch
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.store import BEGINNING, EntryId, Store, StoreUnavailableError
from simulators.fleet import Fleet
from simulators.receivers import Kind as ReceiverKind
from simulators.receivers import Receiver
from tests.servers import MosquittoServer

FrameKey = tuple[str, int, int]
"""Device, boot, sequence."""

ROLES = ("intake", "watch-0", "watch-1", "notify")
PLAN = {
    "format": "afstand.plan/1",
    "id": "aware",
    "steps": [{"audience": "police", "targets": ["meldkamer"], "deadline_s": 3_600}],
    "acknowledgement_expires_s": 36_000,
}


async def until(done: Any, what: str, within_s: float = 60.0) -> None:
    try:
        async with asyncio.timeout(within_s):
            while True:
                try:
                    if await done():
                        return
                except StoreUnavailableError:
                    pass
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"not within {within_s} s: {what}") from None


async def entries_of(store: Store, partitions: Sequence[str]) -> dict[str, list[Entry]]:
    """The journals."""
    found: dict[str, list[Entry]] = {}
    for name in partitions:
        found[name], after = [], BEGINNING
        while entries := await Journal(store).read(name, after, 500):
            found[name] += entries
            after = entries[-1].id
    return found


def merged(entries: dict[str, list[Entry]]) -> list[Entry]:
    """The entries of all journals as those of one, in the order of their ids.

    Numbered anew: two journals may have the same id, and incidents are named after them.
    """
    ordered = sorted((one for part in entries.values() for one in part), key=lambda one: one.id)
    return [one._replace(id=EntryId(one.id.ms, number)) for number, one in enumerate(ordered)]


def frames_in(
    entries: dict[str, list[Entry]], names: dict[int, str]
) -> Iterator[tuple[str, EntryId, FrameKey]]:
    """Every frame of journals as often as it is there: journal, entry, and which frame it is."""
    for partition, part in entries.items():
        for entry in part:
            if entry.kind is EntryKind.FRAMES:
                for record in FrameBatch.read(entry.blob).records():
                    header = read_header(record.payload)
                    yield partition, entry.id, (names[record.handle], header.boot, header.sequence)


async def outputs_of(store: Store, partitions: Sequence[str]) -> list[Any]:
    """Everything that was decided."""
    found: list[Any] = []
    for name in partitions:
        after = BEGINNING
        while entries := await Outbox(store).read(name, after, 500):
            after = entries[-1].id
            for entry in entries:
                found += decode_envelope(entry.blob).outputs
    return found


def let_go(all_fleets: list[Fleet]) -> set[FrameKey]:
    """Every frame that a device made and keeps no more: it holds an acknowledgement."""
    gone: set[FrameKey] = set()
    for fleet in all_fleets:
        for name, carrier in fleet.carriers.items():
            device = carrier.device
            gone |= {(name, device.boot, n) for n in range(1, device.sequence + 1)}
            gone -= {(name, *frame.key) for frame in device.ring.frames()}
    return gone


async def meldkamer() -> tuple[Receiver, TargetSpec]:
    """The police, who hear of everything and acknowledge it."""
    secret = new_secret()
    receiver = Receiver("meldkamer", ReceiverKind.CAP, [secret], acknowledge_in_answer=True)
    target = TargetSpec(
        name="meldkamer", kind="cap", url=await receiver.start(), secret=secret,
        audiences=("police",), extra={"sender": "test@afstand.example"},
    )  # fmt: skip
    return receiver, target


def keep_events(all_fleets: Iterable[Fleet]) -> bool:
    """Whether a device keeps an event: it holds no acknowledgement of it."""
    return any(
        frame.kind is Kind.EVENT
        for fleet in all_fleets
        for carrier in fleet.carriers.values()
        for frame in carrier.device.ring.frames()
    )


def sites(
    folder: Path,
    url: str,
    brokers: Sequence[MosquittoServer],
    target: TargetSpec,
    partitions: Sequence[str],
    more: Mapping[str, str] | None = None,
    make: type[Site] = Site,
) -> list[Site]:
    """One configuration, and an intake more of the same group, at the last broker.

    It has a name of its own.
    """
    at = Endpoint("mosquitto", brokers[0].port, "5")
    first = write_config(folder, url, at, [target], snapshot_entries=100)
    file = first.config_file
    file.write_text(f"partitions = {msgspec.json.encode(partitions).decode()}\n" + file.read_text())
    (folder / "b").mkdir()
    other = {
        "AFSTAND_BROKER__PORT": str(brokers[-1].port),
        "AFSTAND_INTAKE__CLIENT_ID": "afstand-intake-2",
    }
    environ = {**first.environ, **(more or {})}
    second = make(folder / "b", file, environ | other, {"intake": free_port()})
    return [make(folder, file, environ, first.health_ports), second]


async def frames_of(
    store: Store, names: dict[int, str], partitions: Sequence[str]
) -> dict[FrameKey, set[str]]:
    """Every frame of the journals, and in which it stands."""
    found: dict[FrameKey, set[str]] = {}
    for partition, _, frame in frames_in(await entries_of(store, partitions), names):
        found.setdefault(frame, set()).add(partition)
    return found


async def incidents_opened(store: Store, partitions: Sequence[str]) -> list[str]:
    return [
        one.subject.removeprefix("person/")
        for one in await outputs_of(store, partitions)
        if isinstance(one, IncidentRecord) and one.change is IncidentChange.OPENED
    ]
