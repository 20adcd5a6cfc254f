"""Who is watched, where: one or two groups of two persons, in one to three partitions.

A group is a wearer and a protected person with a device each, of one case, with an order about a
zone. What defines a group stands in the journal of the partition in which it begins.
"""

import contextlib
import functools
from typing import Any, Final, NamedTuple

import msgspec

from afstand.commands import (
    DefineDevice,
    DefineOrder,
    DefinePerson,
    JournalCommand,
    define_zone,
    encode_command,
)
from alerting.book.types import CaseDevice, DefineCase, DefinePlan
from geofence.orders import CircleShape, Zone
from geofence.orders import Role as PersonRole
from ingest.devices import Contract, DeviceRecord, Role
from ingest.registry import KeyBox, Registry
from tests.afstand.journal import LAT_E7, LON_E7, order

PARTITIONS: Final = ("p0", "p1", "p2")
KEY: Final = bytes(range(16))
BOX: Final = KeyBox(bytes(32))
PLAN: Final = {
    "format": "afstand.plan/1",
    "id": "plan",
    "steps": [
        {"audience": "police", "targets": ["meldkamer"], "deadline_s": 10,
         "fallback": ["meldkamer-sms"],
         "classes": ["panic", "proximity", "tamper", "area-breach"]},
        {"audience": "monitoring-centre", "targets": ["monitoring-centre"], "deadline_s": 10,
         "on": "missed"},
        {"audience": "protected-person", "targets": ["protected-device"], "needs": "delivered"},
        {"audience": "probation", "targets": ["reclassering"], "deadline_s": 15,
         "needs": "delivered"},
        {"audience": "shift-lead", "targets": ["shift-lead"], "deadline_s": 15,
         "classes": ["system"]},
    ],
    "acknowledgement_expires_s": 900,
}  # fmt: skip


class Group(NamedTuple):
    """Persons who are tied to each other, and so are always in one partition."""

    wearer: str
    protected: str
    tag: str
    button: str
    handles: tuple[int, int]  # of the two devices
    suffix: str  # of the ids of their case, order and zone
    begins_in: str

    @property
    def persons(self) -> tuple[str, str]:
        return self.wearer, self.protected

    @property
    def devices(self) -> tuple[str, str]:
        return self.tag, self.button

    @property
    def ids(self) -> frozenset[str]:
        """Whatever names them in a timer of the book."""
        of_case = (f"{kind}{self.suffix}" for kind in ("case", "ban"))
        return frozenset((*self.persons, *self.devices, *of_case))


GROUPS: Final = (
    Group("wim", "vera", "tag-1", "victim-2", (1, 2), "", "p0"),
    Group("piet", "anna", "tag-3", "victim-4", (3, 4), "-2", "p1"),
)


def groups_of(partitions: int) -> tuple[Group, ...]:
    """Who there is in a world of so many partitions."""
    return GROUPS[: min(2, partitions)]


def _zone(group: Group, radius_m: int) -> Zone:
    circle = CircleShape(lat_e7=LAT_E7, lon_e7=LON_E7, radius_m=radius_m)
    return Zone(id=f"zone{group.suffix}", circle=circle)


@functools.cache
def definitions(group: Group) -> tuple[bytes, ...]:
    """The commands that define a group."""
    wearer, protected = group.persons
    tag, button = group.devices
    terms = {"id": f"ban{group.suffix}", "wearer_id": wearer, "zone_ids": (f"zone{group.suffix}",)}
    commands: list[JournalCommand] = [
        DefinePerson(person_id=wearer, role=PersonRole.WEARER),
        DefinePerson(person_id=protected, role=PersonRole.PROTECTED),
        DefineDevice(
            handle=group.handles[0], device_id=tag, person_id=wearer, role=PersonRole.WEARER
        ),
        DefineDevice(
            handle=group.handles[1],
            device_id=button,
            person_id=protected,
            role=PersonRole.PROTECTED,
        ),
        DefinePlan(plan=msgspec.json.encode(PLAN)),
        DefineCase(
            case_id=f"case{group.suffix}",
            wearer_id=wearer,
            protected_ids=(protected,),
            devices=(
                CaseDevice(device_id=tag, person_id=wearer),
                CaseDevice(device_id=button, person_id=protected),
            ),
            plan_id="plan",
        ),
        define_zone(_zone(group, 300)),
        DefineOrder(order=order(**terms)),
    ]
    return tuple(encode_command(command) for command in commands)


@functools.cache
def in_the_way(group: Group) -> bytes:
    """Another zone by the name of the group's: a partition that knows it cannot take the group."""
    return encode_command(define_zone(_zone(group, 500)))


def device_records(groups: tuple[Group, ...]) -> list[DeviceRecord]:
    """Who may speak."""
    return [
        DeviceRecord(
            device_id=device, partition=group.begins_in, role=role, contract=Contract.EM1, key=KEY,
            person_id=person,
        )
        for group in groups
        for device, person, role in zip(
            group.devices, group.persons, (Role.WEARER, Role.PROTECTED), strict=True
        )
    ]  # fmt: skip


class _Recorder:
    """A store that only notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def execute_command(self, *args: Any) -> Any:
        self.asked.append(args)
        return range(1, 1 + (len(args) - 8) // 2)


@functools.cache
def registry_commands(groups: tuple[Group, ...]) -> tuple[tuple[Any, ...], ...]:
    """The commands that register the devices, sealed once."""
    recorder = _Recorder()
    putting = Registry(recorder, BOX).put_many(device_records(groups))  # type: ignore[arg-type]
    with contextlib.suppress(StopIteration):
        putting.send(None)
    return tuple(recorder.asked)
