"""What the tests of services with several partitions have in common."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from afstand.embedded import Endpoint, free_port
from afstand.site import Site, TargetSpec, new_secret, write_config
from afstand.watch.envelope import decode_envelope
from alerting.book.types import IncidentChange, IncidentRecord
from firmware_contracts import Kind
from firmware_contracts.frames import read_header
from ingest.entries import EntryKind, FrameBatch
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.store import BEGINNING, Store, StoreUnavailableError
from simulators.fleet import Fleet
from simulators.receivers import Kind as ReceiverKind
from simulators.receivers import Receiver
from tests.servers import MosquittoServer

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


def let_go(all_fleets: list[Fleet]) -> set[tuple[str, int, int]]:
    """Every frame that a device made and keeps no more: it holds an acknowledgement."""
    gone: set[tuple[str, int, int]] = set()
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
    broker: MosquittoServer,
    target: TargetSpec,
    partitions: Sequence[str],
    **more: str,
) -> list[Site]:
    """One configuration, and an intake more of the same group, under a name of its own."""
    at = Endpoint("mosquitto", broker.port, "5")
    first = write_config(folder, url, at, [target], snapshot_entries=100)
    file = first.config_file
    file.write_text(f"partitions = {msgspec.json.encode(partitions).decode()}\n" + file.read_text())
    (folder / "b").mkdir()
    other = {"AFSTAND_INTAKE__CLIENT_ID": "afstand-intake-2"}
    environ = first.environ | more
    second = Site(folder / "b", file, environ | other, {"intake": free_port()})
    return [Site(folder, file, environ, first.health_ports), second]


async def frames_of(
    store: Store, names: dict[int, str], partitions: Sequence[str]
) -> dict[tuple[str, int, int], set[str]]:
    """Every frame of the journals, and in which it stands."""
    found: dict[tuple[str, int, int], set[str]] = {}
    for partition in partitions:
        after = BEGINNING
        while entries := await Journal(store).read(partition, after, 500):
            after = entries[-1].id
            for entry in entries:
                if entry.kind is EntryKind.FRAMES:
                    for record in FrameBatch.read(entry.blob).records():
                        header = read_header(record.payload)
                        frame = (names[record.handle], header.boot, header.sequence)
                        found.setdefault(frame, set()).add(partition)
    return found


async def incidents_opened(store: Store, partitions: Sequence[str]) -> list[str]:
    return [
        one.subject.removeprefix("person/")
        for one in await outputs_of(store, partitions)
        if isinstance(one, IncidentRecord) and one.change is IncidentChange.OPENED
    ]
