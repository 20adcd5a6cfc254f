"""Commands: every change that a person or an import makes, as entries of the journal.

What a command defines (persons, devices, zones, orders, plans) is known to the watch by the journal
alone, so a replay knows it too. A command says what; when it counts is the journal's time of its
entry.
"""

from typing import Any, Final

import msgspec

from alerting.book.types import Command as BookCommand
from geofence.compiled import CompiledZone, pack
from geofence.orders import Order, Role, Zone
from geofence.zones import Circle, build

COMMAND_FORMAT: Final = 1


class DefinePerson(msgspec.Struct, frozen=True, kw_only=True, tag="define-person"):
    """A wearer or a protected person."""

    person_id: str
    role: Role


class DefineDevice(msgspec.Struct, frozen=True, kw_only=True, tag="define-device"):
    """A registered device.

    `handle` is the registry's number for it, which frames are journalled under.

    Defining a device again takes back that it was set aside. Keys are in the registry alone.
    """

    handle: int
    device_id: str
    person_id: str | None
    role: Role
    enabled: bool = True


class DefineZone(msgspec.Struct, frozen=True, kw_only=True, tag="define-zone"):
    """A zone, or a new version of one, which counts from this entry on.

    `compiled` is what the zone compiles to, so that no replica has to (`define_zone`); the zone
    then goes without its geometry. Without it the watch compiles while everything else waits.
    """

    zone: Zone
    compiled: CompiledZone | None = None


def define_zone(zone: Zone) -> DefineZone:
    """Compile a zone and give its command. Raises geojson.GeoJSONError for a bad shape."""
    shape: Any = zone.geometry
    if zone.circle is not None:
        shape = Circle(zone.circle.lat_e7, zone.circle.lon_e7, zone.circle.radius_m * 1000)
    plain = msgspec.structs.replace(zone, geometry=None)
    return DefineZone(zone=plain, compiled=pack(build(shape, zone.repairs)))


class DefineOrder(msgspec.Struct, frozen=True, kw_only=True, tag="define-order"):
    """An order, or a new version of one."""

    order: Order


class ProposeOrder(msgspec.Struct, frozen=True, kw_only=True, tag="propose-order"):
    """An order, with the zones it brings along, put before a second person.

    Nothing of it counts before it is approved. `compiled`: one for each zone, as in DefineZone;
    or none at all.
    """

    proposal_id: str
    order: Order
    zones: tuple[Zone, ...] = ()
    compiled: tuple[CompiledZone, ...] = ()
    by: str
    reason: str = ""


class DecideOrder(msgspec.Struct, frozen=True, kw_only=True, tag="decide-order"):
    """A second person approves a proposed order, or anybody declines it."""

    proposal_id: str
    by: str
    approved: bool
    reason: str = ""


class HandOverShift(msgspec.Struct, frozen=True, kw_only=True, tag="hand-over-shift"):
    """One shift gives the room to the next. `incidents`: those that were spoken about.

    It changes no alarm; it is evidence of who had the room.
    """

    by: str
    to: str
    text: str = ""
    incidents: tuple[str, ...] = ()


class HoldCase(msgspec.Struct, frozen=True, kw_only=True, tag="hold-case"):
    """A legal hold: nothing of the case is erased while it lasts.

    `authority`: who ordered it (a court, a prosecutor, a complaint's committee), with its number.
    """

    case_id: str
    by: str
    authority: str
    reason: str


class LiftHold(msgspec.Struct, frozen=True, kw_only=True, tag="lift-hold"):
    """The end of the legal hold of a case."""

    case_id: str
    by: str
    authority: str
    reason: str


class CaseErased(msgspec.Struct, frozen=True, kw_only=True, tag="case-erased"):
    """A case was erased in one category: the watches forget these persons and zones as well.

    `persons` and `orders` are those of no other case that is kept. An order is said as what is left
    of it: who and which kind, without its terms. `keys`: the SHA-256 of the number of each key that
    was destroyed. `proof`: the SHA-256 of the signed record.
    """

    case_id: str
    category: str
    persons: tuple[str, ...]
    zones: tuple[str, ...] = ()
    orders: tuple[Order, ...] = ()
    forget_case: bool = False
    """The alarm book forgets it too: owners, counters, reminders."""
    by: str
    authority: str
    keys: tuple[str, ...]
    proof: str


class MovePersons(msgspec.Struct, frozen=True, kw_only=True, tag="move-persons"):
    """Let persons, and all who are tied to them, go to another partition from this entry on.

    Refused while one of them has an open incident.
    """

    person_ids: tuple[str, ...]
    to: str
    by: str
    reason: str = ""


class TakeGroup(msgspec.Struct, frozen=True, kw_only=True, tag="take-group"):
    """Go on with a group of persons that another partition let go; written by its watches.

    `move_id` names the entry at which they left `source`. Without `engine` it only asks whether the
    group came. `back`: the other partition could not take it.
    """

    move_id: str
    source: str
    persons: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    engine: bytes = b""
    book: bytes = b""
    frames: bytes = b""
    back: bool = False


KeepCommand = HoldCase | LiftHold | CaseErased
MoveCommand = MovePersons | TakeGroup
RoomCommand = ProposeOrder | DecideOrder | HandOverShift
Definition = DefinePerson | DefineDevice | DefineZone | DefineOrder
JournalCommand = Definition | RoomCommand | KeepCommand | MoveCommand | BookCommand


class CommandError(ValueError):
    """A command entry that cannot be read; the message is safe to show."""


def encode_command(command: JournalCommand) -> bytes:
    """The blob of a `command` entry."""
    return msgspec.msgpack.encode((COMMAND_FORMAT, command))


_DECODER: Final = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw])
_BODY: Final[msgspec.msgpack.Decoder[JournalCommand]] = msgspec.msgpack.Decoder(JournalCommand)


def decode_command(blob: bytes) -> JournalCommand:
    """The reverse of `encode_command`. Raises CommandError."""
    try:
        version, body = _DECODER.decode(blob)
        if version != COMMAND_FORMAT:
            raise CommandError(f"command of format {version}; this program reads {COMMAND_FORMAT}")
        return _BODY.decode(body)
    except msgspec.MsgspecError as error:
        raise CommandError(f"not a command: {error}") from None
