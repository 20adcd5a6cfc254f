"""A console on a port of this machine over a room in memory, in this event loop: for browsers."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import msgspec

from afstand.commands import (
    DefineDevice,
    DefineOrder,
    DefinePerson,
    DefineZone,
    JournalCommand,
)
from afstand.tail import wall_ms
from alerting.book.roles import Role as Who
from alerting.book.types import CaseDevice, DefineCase, DefinePlan, Output
from console.ports import PartHealth
from console.server import serving
from console.settings import Settings
from firmware_contracts import EventCode
from firmware_contracts.frames import encode_fixes, fix_records
from geofence.orders import CircleShape, Order, Role, Zone
from geofence.verdicts import OrderKind
from ingest.entries import FrameFlag, FrameRecord, LaneCode
from tests.afstand.journal import KEY, LAT_E7, LON_E7, METRE_E7
from tests.console.room import PARTITION
from tests.console.site import ConsoleSite
from tests.servers import free_port

PEOPLE = {
    "bram": (11, Role.WEARER), "anna": (12, Role.PROTECTED), "cees": (13, Role.WEARER),
    "dirk": (14, Role.WEARER), "evert": (15, Role.WEARER), "fleur": (16, Role.PROTECTED),
}  # fmt: skip
PLAN = {
    "format": "afstand.plan/1",
    "id": "partnergeweld",
    "title": "Partnergeweld",
    "steps": [
        {"audience": "police", "targets": ["meldkamer"], "deadline_s": 60,
         "classes": ["panic", "proximity", "tamper", "area-breach"]},
        {"audience": "monitoring-centre", "targets": ["centrale"], "deadline_s": 90},
        {"audience": "probation", "targets": ["reclassering"], "deadline_s": 600,
         "needs": "delivered"},
        {"audience": "shift-lead", "targets": ["dienstleiding"], "on": "missed", "of": 0,
         "deadline_s": 120},
    ],
    "acknowledgement_expires_s": 900,
}  # fmt: skip


def place(east_m: float, north_m: float) -> tuple[int, int]:
    """Latitude and longitude x 1e7 of a place east and north of the middle."""
    lat = LAT_E7 + round(north_m * METRE_E7)
    return lat, LON_E7 + round(east_m * METRE_E7 / math.cos(math.radians(51.92)))


def definitions(now_ms: int) -> Iterable[JournalCommand]:
    """Six people, three cases, a contact ban, an area ban, a location order."""
    for name, (handle, role) in PEOPLE.items():
        yield DefinePerson(person_id=name, role=role)
        yield DefineDevice(handle=handle, device_id=f"tag-{name}", person_id=name, role=role)
    yield DefinePlan(plan=msgspec.json.encode(PLAN))
    for wearer, protected in (("bram", ("anna",)), ("cees", ()), ("dirk", ()), ("evert", ()),
                              (None, ("fleur",))):  # fmt: skip
        members = [one for one in (wearer, *protected) if one]
        yield DefineCase(
            case_id=f"zaak-{members[0]}",
            wearer_id=wearer,
            protected_ids=protected,
            devices=tuple(CaseDevice(device_id=f"tag-{m}", person_id=m) for m in members),
            plan_id="partnergeweld",
        )
    lat, lon = place(-1_800, 300)
    circle = CircleShape(lat_e7=lat, lon_e7=lon, radius_m=250)
    yield DefineZone(zone=Zone(id="winkelstraat", name="Winkelstraat", circle=circle))
    lat, lon = place(900, -1_900)
    circle = CircleShape(lat_e7=lat, lon_e7=lon, radius_m=60)
    yield DefineZone(zone=Zone(id="woning-dirk", name="Woning", circle=circle))
    since: dict[str, Any] = {"valid_from_ms": now_ms - 10**9, "signed_at_ms": now_ms - 10**9,
             "served_at_ms": now_ms - 10**9, "valid_to_ms": now_ms + 5 * 10**9,
             "plan_id": "partnergeweld", "risk_class": 1,
             "authority": "Rechtbank Rotterdam"}  # fmt: skip
    yield DefineOrder(order=Order(
        id="contactverbod-bram", kind=OrderKind.CONTACT_BAN, wearer_id="bram",
        protected_ids=("anna",), radius_m=500, warning_m=1_000, time_to_contact_s=120,
        title="Contactverbod 500 m", case_number="10-123456-26", **since))  # fmt: skip
    yield DefineOrder(order=Order(
        id="gebiedsverbod-cees", kind=OrderKind.AREA_BAN, wearer_id="cees", buffer_m=150,
        zone_ids=("winkelstraat",), title="Gebiedsverbod", **since))  # fmt: skip
    yield DefineOrder(order=Order(
        id="locatiegebod-dirk", kind=OrderKind.LOCATION_ORDER, wearer_id="dirk", buffer_m=20,
        zone_ids=("woning-dirk",), title="Locatiegebod", **since))  # fmt: skip


class LiveSite(ConsoleSite):
    """A room whose time is the machine's. What happens is said with `fix`, `event`, `command`."""

    def __init__(self, folder: Path, *, settings: Settings | None = None, since_s: int = 0) -> None:
        super().__init__(folder, settings=settings, with_definitions=False)
        self.journal = self.room.journal
        self.journal.now_ms = wall_ms() - since_s * 1000
        self.url = ""
        self.port = 0
        self.link.now_ms = lambda: max(wall_ms(), self.journal.now_ms)  # type: ignore[method-assign]
        for command in definitions(self.journal.now_ms):
            self.room.command(command)

    def at(self, ago_s: float = 0.0) -> None:
        """Set the journal's time; it never runs backwards."""
        self.journal.now_ms = max(self.journal.now_ms, wall_ms() - round(ago_s * 1000))

    def command(self, command: JournalCommand) -> list[Output]:
        self.at()
        outputs = self.room.command(command)
        self.hub.definitions += 1
        self.hub.wake()
        return outputs

    def frames(self, *records: FrameRecord) -> list[Output]:
        outputs = self.room.frames(*records)
        self.hub.wake()
        return outputs

    def fix(self, person: str, east_m: float, north_m: float, *, speed_m_s: float = 0.0,
            heading: float = 0.0, accuracy_m: float = 6.0) -> FrameRecord:  # fmt: skip
        """A frame with one fix of the present time."""
        row = fix_records(1)
        row["lat_e7"], row["lon_e7"] = place(east_m, north_m)
        row["accuracy_dm"] = round(accuracy_m * 10)
        row["speed_cm_s"] = round(speed_m_s * 100)
        row["heading_cdeg"] = round(heading * 100)
        row["mechanism"] = 1
        row["battery_pct"] = 64
        device = f"tag-{person}"
        raw = encode_fixes(
            device, KEY, boot=1, sequence=self.journal.next_sequence(device),
            device_time_ms=self.journal.now_ms, records=row,
        )  # fmt: skip
        handle = PEOPLE[person][0]
        return FrameRecord(handle, LaneCode.FIX, FrameFlag.AUTHENTICATED, self.journal.now_ms, raw)

    def event(self, person: str, code: EventCode) -> list[Output]:
        """An event of the device of a person, now."""
        self.at()
        return self.frames(self.journal.event(f"tag-{person}", PEOPLE[person][0], code))

    def approach(self, *, from_m: float = 1_900.0, to_m: float = 420.0, for_s: int = 900) -> None:
        """The last minutes: bram walks towards anna; the others are where they were."""
        self.at(for_s)
        steps = for_s // 10
        for step in range(steps + 1):
            self.at(for_s - step * 10)
            share = step / steps
            far = from_m + (to_m - from_m) * share
            walk = (from_m - to_m) / for_s
            self.frames(
                self.fix("bram", -far * 0.8, -far * 0.6, speed_m_s=walk, heading=53.1),
                self.fix("anna", 12 * math.sin(step / 5), 8 * math.cos(step / 5), accuracy_m=9),
                self.fix("cees", -2_400 + 700 * share, 500 - 250 * share, speed_m_s=0.8),
                self.fix("dirk", 1_000, -1_500),
                self.fix("evert", 2_200, 1_400),
            )  # fmt: skip

    async def keep_ticking(self) -> None:
        """As a replica does in quiet times: timers fire."""
        while True:
            await asyncio.sleep(0.25)
            self.at()
            self.room.take(self.journal.tick())
            self.hub.wake()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve while the block runs; gives the address. Again: on the same port."""
        self.port = self.port or free_port()
        async with serving(self.app, "127.0.0.1", self.port):
            self.url = f"http://127.0.0.1:{self.port}"
            yield self.url

    def healthy(self) -> None:
        """Every part gives its sign of life."""
        parts = (f"watch {PARTITION}", "intake", "notify", "store")
        self.hub.set_health({name: PartHealth(part=name) for name in parts})

    def without_watch(self) -> None:
        """No sign of life of the watch from now on, as the follower of the store would say it."""
        said = PartHealth(part=f"watch {PARTITION}", code="silent", since_ms=self.link.now_ms())
        self.hub.set_health({said.part: said})

    def people(self) -> None:
        """Accounts for a browser, all with the same password and second factor."""
        for name, role in (
            ("jan", Who.OPERATOR), ("piet", Who.OPERATOR), ("lead", Who.SHIFT_LEAD),
            ("vera-t", Who.SUPERVISOR), ("audit", Who.AUDITOR),
        ):  # fmt: skip
            self.account(name, role)
