"""The cases document.

Persons, devices, zones, orders and plans, from a file into the registry and the journal.

The whole document is checked before anything is written, and every problem is told with its place.
Then devices go to the registry (keys encrypted there, nowhere else) and definitions go to the
journal of the partition that watches the persons: everybody tied by an order or a case is in one
partition. Importing the same document again changes nothing but the journal's length.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from afstand.commands import (
    DefineDevice,
    DefineOrder,
    DefinePerson,
    DefineZone,
    JournalCommand,
    define_zone,
    encode_command,
)
from afstand.limits import (
    CASES_BYTES_AT_ONCE,
    CASES_BYTES_MAX,
    CASES_COMMANDS_AT_ONCE,
    JOURNAL_BLOB_BYTES_MAX,
)
from alerting.book.plans import BUILT_IN_PLANS, PlanError, parse_plan, rosters_of
from alerting.book.rosters import RosterError, parse_roster
from alerting.book.types import (
    CaseDevice,
    CaseOwner,
    DefineCase,
    DefinePlan,
    DefineRoster,
    VictimPolicy,
)
from alerting.book.types import Role as Side
from geofence.compiled import pack
from geofence.geojson import GeoJSONError
from geofence.orders import CircleShape, Id, Known, Order, Person, Role, Version, Zone, problems
from geofence.zones import build
from ingest.entries import EntryKind
from ingest.journal import Append, Journal
from ingest.registry import Contract, DeviceRecord, Registry
from ingest.registry import Role as DeviceRole
from ingest.store import StoreUnavailableError

CASES_FORMAT: Final = "afstand.cases/1"
_IMEI: Final = re.compile(r"[0-9]{15}", re.ASCII)
_KEY: Final = re.compile(r"[0-9a-fA-F]{32}")


class CasesProblem(msgspec.Struct, frozen=True):
    """One thing wrong with a cases document."""

    file: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.place}: {self.reason}"


class CasesError(ValueError):
    """The document cannot be used; nothing was written."""

    def __init__(self, problems: list[CasesProblem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class Device(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device and the key it shares with the service (32 hexadecimal digits.

    None for OwnTracks).
    """

    id: Id
    person: Id | None = None
    role: DeviceRole
    contract: Contract = Contract.EM1
    key: str = ""
    root_key: str = ""
    """Of which keys of later generations are made; a device that has none keeps its key."""
    enabled: bool = True


class ZoneEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A zone: a circle, or RFC 7946 GeoJSON here or in a file beside the document."""

    id: Id
    version: Version = 1
    name: str = ""
    geometry: msgspec.Raw = msgspec.Raw(b"")
    file: str = ""
    circle: CircleShape | None = None
    repairs: tuple[str, ...] = ()


class Owner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who answers for one side of a case, and the target at which tasks reach them."""

    name: str
    target: Id


class Owners(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most one owner for each side."""

    wearer: Owner | None = None
    protected: Owner | None = None


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who belongs together, what the protected person is told, and who answers for it.

    `contact`: the fixed contact of the protected person.
    """

    id: Id
    wearer: Id | None = None
    protected: tuple[Id, ...] = ()
    plan: Id | None = None
    victim_policy: VictimPolicy = VictimPolicy.TELL
    owners: Owners = Owners()
    contact: str = ""
    risk_class: Annotated[int, msgspec.Meta(ge=0, le=3)] = 0
    review_weeks: Annotated[int, msgspec.Meta(ge=0, le=52)] = 10


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    format: Literal["afstand.cases/1"]
    persons: tuple[Person, ...] = ()
    devices: tuple[Device, ...] = ()
    zones: tuple[ZoneEntry, ...] = ()
    orders: tuple[msgspec.Raw, ...] = ()
    rosters: tuple[msgspec.Raw, ...] = ()
    plans: tuple[msgspec.Raw, ...] = ()
    cases: tuple[Case, ...] = ()


class Cases(NamedTuple):
    """A document that was checked."""

    persons: tuple[Person, ...]
    devices: tuple[Device, ...]
    zones: tuple[DefineZone, ...]
    orders: tuple[Order, ...]
    rosters: tuple[bytes, ...]
    plans: tuple[bytes, ...]
    cases: tuple[Case, ...]


class Imported(NamedTuple):
    """What an import wrote."""

    persons: int
    devices: int
    zones: int
    orders: int
    plans: int
    cases: int
    partitions: tuple[str, ...]


def read_cases(path: Path) -> Cases:
    """Read and check a file. Raises CasesError with all problems."""
    try:
        if path.stat().st_size > CASES_BYTES_MAX:
            raise CasesError([CasesProblem(str(path), "-", f"more than {CASES_BYTES_MAX} bytes")])
        raw = path.read_bytes()
    except OSError as error:
        raise CasesError([CasesProblem(str(path), "-", f"cannot be read: {error}")]) from None
    return check_cases(raw, str(path), path.parent)


def check_cases(raw: bytes, name: str, folder: Path | None = None) -> Cases:
    """Check a document.

    `folder`: where the zones' files are, None for none. Raises CasesError with all problems.
    """
    try:
        document = msgspec.json.decode(raw, type=Document)
    except msgspec.MsgspecError as error:
        reason, _, place = str(error).partition(" - at `$")
        raise CasesError([CasesProblem(name, place.strip("`.") or "-", reason)]) from None
    checker = _Checker(name, document, folder)
    return checker.check()


class _OnlyId(msgspec.Struct):
    id: str = ""


class _Checker:
    """Collects the problems of one document."""

    def __init__(self, name: str, document: Document, folder: Path | None) -> None:
        self._name = name
        self._document = document
        self._folder = folder
        self._problems: list[CasesProblem] = []

    def check(self) -> Cases:
        document = self._document
        for place in ("persons", "devices", "zones", "cases"):
            self._unique(place, [entry.id for entry in getattr(document, place)])
        self._check_devices()
        zones = [
            zone for index, entry in enumerate(document.zones) if (zone := self._zone(index, entry))
        ]
        orders = [
            order for index, one in enumerate(document.orders) if (order := self._order(index, one))
        ]
        self._unique("orders", [order.id for order in orders])
        self._check_orders(orders)
        rosters = self._rosters()
        plans = self._plans(rosters)
        self._check_cases(self._plan_ids())
        if self._problems:
            raise CasesError(self._problems)
        return Cases(
            document.persons,
            document.devices,
            tuple(zones),
            tuple(orders),
            tuple(rosters.values()),
            tuple(plans.values()),
            document.cases,
        )

    def _wrong(self, place: str, reason: str) -> None:
        self._problems.append(CasesProblem(self._name, place, reason))

    def _unique(self, place: str, ids: list[str]) -> None:
        for index, one in enumerate(ids):
            if one in ids[:index]:
                self._wrong(f"{place}[{index}].id", f"{one} stands twice")

    def _roles(self) -> dict[str, Role]:
        return {person.id: person.role for person in self._document.persons}

    def _check_devices(self) -> None:
        roles = self._roles()
        for index, device in enumerate(self._document.devices):
            place = f"devices[{index}]"
            if device.person is not None and device.person not in roles:
                self._wrong(f"{place}.person", f"no person {device.person}")
            elif device.person is not None and roles[device.person].value != device.role.value:
                self._wrong(f"{place}.role", f"{device.person} is a {roles[device.person].value}")
            if device.contract is Contract.EM1 and not _KEY.fullmatch(device.key):
                self._wrong(f"{place}.key", "must be 32 hexadecimal digits")
            if device.root_key and not _KEY.fullmatch(device.root_key):
                self._wrong(f"{place}.root_key", "must be 32 hexadecimal digits")
            if device.contract is not Contract.EM1 and (device.key or device.root_key):
                self._wrong(f"{place}.key", f"a device of contract {device.contract} has none")
            if device.contract is Contract.TELTONIKA and not _IMEI.fullmatch(device.id):
                self._wrong(f"{place}.id", "a tracker's id is its IMEI, 15 digits")

    def _zone(self, index: int, entry: ZoneEntry) -> DefineZone | None:
        """Compile a zone: the check that it is one, and what saves the watch from doing it."""
        place = f"zones[{index}]"
        if [bool(bytes(entry.geometry)), bool(entry.file), entry.circle is not None].count(
            True
        ) != 1:
            self._wrong(place, "must have one of geometry, file and circle")
            return None
        zone = Zone(
            id=entry.id,
            version=entry.version,
            name=entry.name,
            circle=entry.circle,
            repairs=entry.repairs,
        )
        if entry.circle is not None:
            return define_zone(zone)
        raw = bytes(entry.geometry) or self._zone_file(place, entry.file)
        if not raw:
            return None
        try:
            # Read strictly from the text itself: a parsed object no longer shows a name that stands
            # twice.
            grid = build(raw, entry.repairs)
        except GeoJSONError as error:
            self._wrong(f"{place}.geometry", str(error))
            return None
        # The same shape, written otherwise, is the same zone.
        source = msgspec.json.encode(msgspec.json.decode(raw))
        made = DefineZone(zone=zone, compiled=pack(msgspec.structs.replace(grid, source=source)))
        size = len(encode_command(made))
        if size > JOURNAL_BLOB_BYTES_MAX:
            reason = f"{size} bytes with what it compiles to; at most {JOURNAL_BLOB_BYTES_MAX}"
            self._wrong(f"{place}.geometry", reason)
        return made

    def _zone_file(self, place: str, name: str) -> bytes:
        if self._folder is None:
            self._wrong(f"{place}.file", "files are not read here")
            return b""
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder.resolve()):
            self._wrong(f"{place}.file", "must lie beside the document")
            return b""
        try:
            return path.read_bytes() or b" "
        except OSError as error:
            self._wrong(f"{place}.file", f"cannot be read: {error.strerror}")
            return b""

    def _order(self, index: int, raw: msgspec.Raw) -> Order | None:
        try:
            return msgspec.json.decode(raw, type=Order)
        except msgspec.MsgspecError as error:
            reason, _, place = str(error).partition(" - at `$")
            self._wrong(f"orders[{index}]{place.rstrip('`')}", reason)
            return None

    def _check_orders(self, orders: list[Order]) -> None:
        known = Known(self._roles(), {zone.id: zone for zone in self._document.zones})
        plans = self._plan_ids()
        for index, order in enumerate(orders):
            for problem in problems(order, known):
                self._wrong(
                    f"orders[{index}] ({order.id}).{problem.field}",
                    f"{problem.reason}: {problem.detail}",
                )
            if order.plan_id not in plans:
                self._wrong(f"orders[{index}] ({order.id}).plan_id", f"no plan {order.plan_id}")

    def _plan_ids(self) -> set[str]:
        """The plans of the document, right or wrong, and those that always exist."""
        named = {plan.id for plan in BUILT_IN_PLANS}
        for raw in self._document.plans:
            with contextlib.suppress(msgspec.MsgspecError):
                named.add(msgspec.json.decode(raw, type=_OnlyId).id)
        return named

    def _rosters(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for index, raw in enumerate(self._document.rosters):
            try:
                roster = parse_roster(bytes(raw))
            except RosterError as error:
                self._wrong(f"rosters[{index}]", str(error))
                continue
            if roster.id in found:
                self._wrong(f"rosters[{index}].id", f"{roster.id} stands twice")
            found[roster.id] = bytes(raw)
        return found

    def _plans(self, rosters: dict[str, bytes]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for index, raw in enumerate(self._document.plans):
            try:
                plan = parse_plan(bytes(raw))
            except PlanError as error:
                self._wrong(f"plans[{index}]", str(error))
                continue
            if plan.id in found:
                self._wrong(f"plans[{index}].id", f"{plan.id} stands twice")
            found[plan.id] = bytes(raw)
            for roster in rosters_of(plan):
                if roster not in rosters:
                    self._wrong(f"plans[{index}]", f"no roster {roster}")
        return found

    def _check_cases(self, plans: set[str]) -> None:
        roles = self._roles()
        for index, case in enumerate(self._document.cases):
            place = f"cases[{index}]"
            if case.wearer is not None and roles.get(case.wearer) is not Role.WEARER:
                self._wrong(f"{place}.wearer", f"no wearer {case.wearer}")
            for person in case.protected:
                if roles.get(person) is not Role.PROTECTED:
                    self._wrong(f"{place}.protected", f"no protected person {person}")
            if case.plan is not None and case.plan not in plans:
                self._wrong(f"{place}.plan", f"no plan {case.plan}")


# --- partitions ---------------------------------------------------------------------------------


class _Groups:
    """Who is tied to whom: union-find over ids."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._parent = {one: one for one in ids}

    def root(self, one: str) -> str:
        while self._parent[one] != one:
            self._parent[one] = self._parent[self._parent[one]]
            one = self._parent[one]
        return one

    def tie(self, ids: Iterable[str]) -> None:
        first, *rest = list(ids) or [""]
        for other in rest:
            low, high = sorted((self.root(first), self.root(other)))
            self._parent[high] = low


def partition_of_persons(
    cases: Cases, partitions: tuple[str, ...], known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The partition of every person: all who are tied by an order or a case are in one.

    Who is in a partition already (`known`) stays there, and who is tied to them joins them. Raises
    CasesError when that would tie persons of two partitions: neither could be moved without leaving
    behind what the partition knows of them.
    """
    known = known or {}
    groups = _Groups(person.id for person in cases.persons)
    for order in cases.orders:
        groups.tie([order.wearer_id, *order.protected_ids])
    for case in cases.cases:
        groups.tie([*([case.wearer] if case.wearer else []), *case.protected])
    there: dict[str, dict[str, str]] = {}
    for person in cases.persons:
        if person.id in known:
            there.setdefault(groups.root(person.id), {}).setdefault(known[person.id], person.id)
    problems = [
        CasesProblem(
            "registry",
            "partitions",
            "tied by this document, but in different partitions: "
            + ", ".join(f"{person} ({partition})" for partition, person in found.items())
            + "; `afstand partitions move` brings them together",
        )
        for found in there.values()
        if len(found) > 1
    ]
    if problems:
        raise CasesError(problems)
    return {
        person.id: next(iter(there.get(root := groups.root(person.id), {})), "")
        or spread(root, partitions)
        for person in cases.persons
    }


def _known_partitions(
    cases: Cases, registry: Registry, partitions: tuple[str, ...]
) -> dict[str, str]:
    """Where the persons of the registry's devices are. Raises CasesError.

    A device that has been in one partition and would go to another is refused as well.
    """
    known = {device.person_id: device.partition for device in registry if device.person_id}
    where = partition_of_persons(cases, partitions, known)
    problems = []
    for device in cases.devices:
        before = registry.find(device.id)
        if before is None or device.person is None or not before.person_id:
            continue
        if before.partition != where[device.person]:
            problems.append(
                CasesProblem(
                    "registry",
                    f"devices.{device.id}",
                    f"of {before.person_id} in partition {before.partition}; "
                    f"{device.person} is in {where[device.person]}",
                )
            )
    if problems:
        raise CasesError(problems)
    return where


def spread(name: str, partitions: tuple[str, ...]) -> str:
    """A partition for a name: the same on every machine and after every restart."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return partitions[int.from_bytes(digest, "big") % len(partitions)]


# --- writing ------------------------------------------------------------------------------------


async def import_cases(
    cases: Cases, registry: Registry, journal: Journal, partitions: tuple[str, ...]
) -> Imported:
    """Write a checked document.

    Definitions are journalled in the order in which they refer to one another. Raises CasesError,
    before anything is written, for what would tie persons of two partitions.
    """
    where = _known_partitions(cases, registry, partitions)
    records = await registry.put_many(
        [_with_known_keys(_record(device, where, partitions), registry) for device in cases.devices]
    )
    written: list[str] = []
    for partition in partitions:
        commands = list(_commands(cases, records, where, partition))
        if not commands:
            continue
        written.append(partition)
        await _append_all(journal, partition, commands)
    return Imported(
        len(cases.persons),
        len(cases.devices),
        len(cases.zones),
        len(cases.orders),
        len(cases.plans),
        len(cases.cases),
        tuple(written),
    )


async def _append_all(journal: Journal, partition: str, commands: list[JournalCommand]) -> None:
    """Append in order, many in one write. After StoreUnavailableError: import again.

    A write is bounded in bytes too: what comes at once, the watch reads at once, and fixes wait.
    """
    part: list[Append] = []
    size = 0
    for command in commands:
        blob = encode_command(command)
        if part and (len(part) == CASES_COMMANDS_AT_ONCE or size + len(blob) > CASES_BYTES_AT_ONCE):
            await _append(journal, part)
            part, size = [], 0
        part.append(Append(partition, EntryKind.COMMAND, blob))
        size += len(blob)
    if part:
        await _append(journal, part)


async def _append(journal: Journal, part: list[Append]) -> None:
    written, _ = await journal.append_many(part)
    for answer in written:
        if isinstance(answer, StoreUnavailableError):
            raise answer


def _record(device: Device, where: dict[str, str], partitions: tuple[str, ...]) -> DeviceRecord:
    partition = where[device.person] if device.person else spread(device.id, partitions)
    return DeviceRecord(
        device_id=device.id,
        partition=partition,
        role=device.role,
        contract=device.contract,
        key=bytes.fromhex(device.key),
        root=bytes.fromhex(device.root_key),
        person_id=device.person or "",
        enabled=device.enabled,
    )


def _with_known_keys(record: DeviceRecord, registry: Registry) -> DeviceRecord:
    """Keep the keys of a device that has got another since: the document has its first one."""
    known = registry.find(record.device_id)
    if known is None or not (known.generation or known.next_nonce):
        return record
    if record.root and record.root != known.root:
        return record  # another device under the old name
    return msgspec.structs.replace(
        record,
        root=known.root,
        key=known.key,
        generation=known.generation,
        next_generation=known.next_generation,
        next_nonce=known.next_nonce,
        former_key=known.former_key,
        former_before=known.former_before,
        former_until_ms=known.former_until_ms,
    )


def _commands(
    cases: Cases, records: list[DeviceRecord], where: dict[str, str], partition: str
) -> Iterable[JournalCommand]:
    here = {person for person, at in where.items() if at == partition}
    orders = [order for order in cases.orders if order.wearer_id in here]
    devices = [record for record in records if record.partition == partition]
    if not here and not devices:
        return
    for person in cases.persons:
        if person.id in here:
            yield DefinePerson(person_id=person.id, role=person.role)
    for record in devices:
        yield DefineDevice(
            handle=record.handle,
            device_id=record.device_id,
            person_id=record.person_id or None,
            role=Role(record.role.value),
            enabled=record.enabled,
        )
    for roster in cases.rosters:
        yield DefineRoster(roster=roster)
    for plan in cases.plans:
        yield DefinePlan(plan=plan)
    for case in cases.cases:
        members = ([case.wearer] if case.wearer else []) + list(case.protected)
        if members and members[0] in here:
            yield _define_case(case, members, devices)
    zone_ids = {zone_id for order in orders for zone_id in order.zone_ids}
    for define in cases.zones:
        if define.zone.id in zone_ids:
            yield define
    for order in orders:
        yield DefineOrder(order=order)


def _define_case(case: Case, members: list[str], devices: list[DeviceRecord]) -> DefineCase:
    return DefineCase(
        case_id=case.id,
        wearer_id=case.wearer,
        protected_ids=case.protected,
        devices=tuple(
            CaseDevice(device_id=device.device_id, person_id=device.person_id)
            for device in devices
            if device.person_id in members
        ),
        plan_id=case.plan,
        victim_policy=case.victim_policy,
        owners=tuple(
            CaseOwner(name=owner.name, target=owner.target, side=side)
            for side, owner in (
                (Side.WEARER, case.owners.wearer),
                (Side.PROTECTED, case.owners.protected),
            )
            if owner is not None
        ),
        contact=case.contact,
        risk_class=case.risk_class,
        review_weeks=case.review_weeks,
    )


def dump_json(document: dict[str, Any]) -> bytes:
    """A cases document as the bytes of a file."""
    return msgspec.json.encode(document)
