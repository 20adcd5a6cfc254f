"""What the tests of services with several partitions have in common."""

import asyncio
from collections.abc import Sequence
from typing import Any

from afstand.watch.envelope import decode_envelope
from ingest.outbox import Outbox
from ingest.store import BEGINNING, Store, StoreUnavailableError
from simulators.fleet import Fleet

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
