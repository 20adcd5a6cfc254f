"""What was erased is in no byte of the model's dumps and in no answer; everything else stays."""

import asyncio
import random
import struct
from collections.abc import Sequence

import msgspec
import pytest

from afstand.commands import (
    CaseErased,
    DecideOrder,
    DefineDevice,
    DefineOrder,
    DefinePerson,
    ProposeOrder,
    decode_command,
    define_zone,
)
from afstand.erasure.cases import read_room
from afstand.limits import SNAPSHOTS_KEPT
from afstand.watch.snapshots import Snapshot, Snapshots
from alerting.book.roles import Role as Desk
from alerting.book.types import CaseOwner, DefineCase, Disposition, Note, Rejected
from alerting.book.types import Role as BookRole
from console.api.app import ROUTES
from console.model.model import Model
from console.model.world import ProposalState
from firmware_contracts import EventCode
from geofence.orders import CircleShape, Role, Zone
from geofence.verdicts import OrderKind
from ingest.store import EntryId
from tests.afstand.journal import LAT_E7, LON_E7, METRE_E7, order
from tests.afstand.test_erasure import Told
from tests.conftest import run_seed
from tests.console.room import Room, folded

HOME_E7 = (LAT_E7 + 123_457, LON_E7 + 654_321)
HER_NORTH_M, EVAS_NORTH_M, HER_EAST_M = 7_000.0, 9_000.0, 77.7
HERS = ("title of hers", "rechtbank Oldtown", "09/123456", "desk of hers", "M. de Ree",
        "said at the school", "not now, said the judge", "wanted for hers", "school of his",
        "title of his")  # fmt: skip
EVAS = ("title of evas", "desk of evas", "said at the station")


def e7(north_m: float) -> int:
    return LAT_E7 + round(north_m * METRE_E7)


def forms(value_e7: int) -> list[bytes]:
    """Every form in which a place is written."""
    return [struct.pack("<i", value_e7), struct.pack(">i", value_e7), str(value_e7).encode(),
            f"{value_e7 / 1e7:.6f}"[:-1].encode()]  # fmt: skip


PLANTED = [one.encode() for one in HERS] + forms(e7(HER_NORTH_M)) + forms(HOME_E7[0])
KEPT = [one.encode() for one in EVAS]


def happen(room: Room) -> None:
    """Two cases of one wearer, each with orders, positions, and an alarm that was closed."""
    home = CircleShape(lat_e7=HOME_E7[0], lon_e7=HOME_E7[1], radius_m=150)
    contact = {"kind": OrderKind.CONTACT_BAN, "zone_ids": (), "radius_m": 300}
    hers = {**contact, "protected_ids": ("vera",), "title": HERS[0], "authority": HERS[1],
            "case_number": HERS[2]}  # fmt: skip
    evas = {**contact, "protected_ids": ("eva",), "title": EVAS[0]}
    for command in (
        DefinePerson(person_id="eva", role=Role.PROTECTED),
        DefineDevice(handle=3, device_id="victim-3", person_id="eva", role=Role.PROTECTED),
        define_zone(Zone(id="home", circle=home, name=HERS[8])),
        DefinePerson(person_id="jan", role=Role.WEARER),
        DefineCase(case_id="alone", wearer_id="jan"),
        DefineOrder(order=order(id="school", wearer_id="jan", zone_ids=("home",), title=HERS[9])),
        DefineOrder(order=order(id="hers", **hers)),
        DefineOrder(order=order(id="hers", version=2, **hers)),
        DefineOrder(order=order(id="evas", **evas)),
        DefineCase(case_id="case", wearer_id="wim", protected_ids=("vera",), contact=HERS[3],
                   owners=(CaseOwner(name=HERS[4], target="desk", side=BookRole.WEARER),)),
        DefineCase(case_id="second", wearer_id="wim", protected_ids=("eva",), contact=EVAS[1]),
        ProposeOrder(proposal_id="v-1", order=order(id="drawn", **hers),
                     by="anna", reason=HERS[7]),
        DecideOrder(proposal_id="v-1", by="bert", approved=False, reason=HERS[6]),
        ProposeOrder(proposal_id="v-2", order=order(id="evas-2", **evas),
                     by="anna", reason="for evas"),
    ):  # fmt: skip
        assert [one for one in room.command(command) if isinstance(one, Rejected)] == []
    for _ in range(5):
        room.journal.pass_s(10)
        room.frames(
            room.journal.fix("tag-1", 1, 3_000.0),
            room.journal.fix("victim-2", 2, HER_NORTH_M, east_m=HER_EAST_M),
            room.journal.fix("victim-3", 3, EVAS_NORTH_M),
        )
    pressed(room, "victim-2", 2, HERS[5])
    pressed(room, "victim-3", 3, EVAS[2])


def pressed(room: Room, device: str, handle: int, words: str) -> str:
    """An alarm that somebody wrote about and that two people closed."""
    incident_id = open_by(room, device, handle)
    room.command(Note(incident_id=incident_id, by="op-1", text=words))
    closed(room, incident_id)
    return incident_id


def open_by(room: Room, device: str, handle: int) -> str:
    room.journal.pass_s(5)
    room.frames(room.journal.event(device, handle, EventCode.PANIC))
    return room.only_incident().incident_id


def closed(room: Room, incident_id: str) -> None:
    room.close(incident_id, Disposition.HANDLED)
    assert room.model.incidents.open_rows() == []


def erasure(room: Room, category: str, case_id: str = "case") -> CaseErased:
    """As the eraser says it, by the journal."""
    commands = [decode_command(one.blob) for one in room.journal.entries if one.kind == "command"]
    cases = asyncio.run(read_room(Told(commands)))
    case, records = cases.cases[case_id], category == "records"
    return CaseErased(
        case_id=case_id, category=category, persons=cases.persons_gone(case, category),
        zones=cases.zones_of(case) if records else (), forget_case=records,
        orders=cases.orders_gone(case) if records else (),
        by="b", authority="a", keys=(), proof="p",
    )  # fmt: skip


def refused(outputs: Sequence[object]) -> list[str]:
    return [one.detail for one in outputs if isinstance(one, Rejected)]


def answers(site, ids: list[str]) -> bytes:
    """All that the API gives to look at, about everything there is or was."""
    now_ms = site.link.now_ms()
    asked = f"?reason=court%20asked%20by%20phone&fromMs={now_ms - 60_000}&toMs={now_ms}"
    known = {"case_id": ["case", "alone", "second"], "order_id": ["hers", "evas", "ban", "school"],
             "zone_id": ["home", "zone"], "device_id": ["tag-1", "victim-2", "victim-3"],
             "person_id": ["wim", "vera", "eva"], "proposal_id": ["v-1", "v-2"],
             "incident_id": ids, "command_id": ["p-1-0"]}  # fmt: skip
    found = []
    clients = [site.as_role(role, f"{role}-9") for role in (Desk.SHIFT_LEAD, Desk.AUDITOR)]
    paths = []
    for route in ROUTES:
        if route.method != "GET" or route.stream or "oidc" in route.path:
            continue
        names = [name for name in known if f"{{{name}}}" in route.path]
        paths += (
            [route.path.replace(f"{{{names[0]}}}", one) for one in known[names[0]]]
            if names else [route.path]
        )  # fmt: skip
    paths.append("/v1/incidents?state=all")
    for client in clients:
        for path in paths:
            at = path if "?" in path or not path.endswith(("positions", "replay")) else path + asked
            answer = client.get(at)
            assert answer.status_code < 500, at
            if not path.startswith("/v1/consultations"):  # a log of its own, with a term of its own
                found.append(answer.content)
    return b"\0".join(found)


def there(raw: bytes, words: list[bytes]) -> list[bytes]:
    return [one for one in words if one in raw]


def test_what_was_erased_is_in_no_dump_and_no_answer_and_the_other_case_stays(site, tmp_path):
    room = site.room
    happen(room)
    site.services.debug = False
    ids = list(room.model.incidents.closed)
    assert len(ids) == 2
    dumps = Snapshots(tmp_path / "dumps", "console")
    dumps.write(Snapshot(EntryId(1, 0), "test", room.model.dump()))
    assert len(there(room.model.dump(), PLANTED)) > len(HERS)  # the search finds what there is
    before = answers(site, ids)
    unseen = [HERS[3].encode(), HERS[4].encode()]  # whom to call is in no answer
    words = [one.encode() for one in HERS]
    assert there(before, words) == [one for one in words if one not in unseen]
    assert there(before, forms(e7(HER_NORTH_M)))

    room.journal.pass_s(60)
    assert refused(room.command(erasure(room, "positions"))) == []
    positions = room.model.positions
    assert (positions.last(2), positions.track(2)) == (None, [])
    assert positions.last(1) is not None
    assert len(positions.track(3)) == 5
    assert room.model.log_of("vera") == []
    assert "panic" in [one.what for one in room.model.log_of("eva")]
    assert room.model.world.cases.keys() == {"case", "alone", "second"}
    assert list(room.model.incidents.closed) == ids

    assert refused(room.command(erasure(room, "records"))) == []
    assert there(room.model.dump(), [one.encode() for one in HERS]) == [
        one.encode()
        for one in HERS[8:]  # his, of the case that is alone
    ]
    assert refused(room.command(erasure(room, "records", "alone"))) == []
    dump, after = room.model.dump(), answers(site, ids)
    assert there(dump, PLANTED) == []
    assert there(after, PLANTED) == []
    assert there(dump, KEPT) == KEPT
    assert there(after, KEPT) == [KEPT[0], KEPT[2]]
    world = room.model.world
    assert (list(world.cases), world.cases_of_person["wim"]) == (["second"], ("second",))
    assert "vera" not in world.cases_of_person
    for order_id, zone_ids in (("hers", ()), ("school", ("home",))):
        left = world.order(order_id)
        assert left is not None
        assert (left.order.title, left.order.valid_to_ms) == ("", 1)
        assert left.order.zone_ids == zone_ids
    assert world.zone("home") is None
    assert world.zone("zone") is not None
    assert {one.proposal_id: one.state for one in world.proposals.values()} == {
        "v-2": ProposalState.PROPOSED
    }
    assert list(room.model.incidents.rows) == ids[1:]
    for at in range(SNAPSHOTS_KEPT):
        dumps.write(Snapshot(EntryId(room.journal.now_ms + at, 0), "test", room.model.dump()))
    kept = [dumps.read(path).state for path in dumps.candidates()]
    assert len(kept) == SNAPSHOTS_KEPT
    assert [there(one, PLANTED) for one in kept] == [[]] * SNAPSHOTS_KEPT

    # What happens to her from now on is kept again.
    room.frames(room.journal.fix("victim-2", 2, 8_000.0))
    assert len(room.model.positions.track(2)) == 1


@pytest.mark.parametrize("open_then", [False, True])
def test_an_erasure_is_the_same_whichever_stream_is_read_first(open_then):
    """Also one that the watch refused: that takes nothing but positions."""
    draw = random.Random(run_seed() + 3)
    room = Room()
    happen(room)
    room.command(erasure(room, "positions"))
    incident_id = open_by(room, "victim-2", 2) if open_then else ""
    said = refused(room.command(erasure(room, "records")))
    assert said == ([f"incident {incident_id} of vera is open"] if open_then else [])
    room.journal.pass_s(60)
    later = pressed(room, "victim-3", 3, "later") if not open_then else ""
    assert ("case" in room.model.world.cases) == open_then
    assert bool(there(room.model.dump(), [HERS[0].encode()])) == open_then
    room.frames(room.journal.fix("victim-2", 2, 8_000.0))
    streams = [room.journal_inputs, room.outbox_inputs]
    whole = msgspec.msgpack.decode(room.model.dump())
    for first, second in (streams, streams[::-1]):
        again = folded([*first, *second])
        assert msgspec.msgpack.decode(again.dump()) == whole
    for _ in range(5):
        left = [list(one) for one in streams]
        model = Model()
        while any(left):
            stream = draw.choice([one for one in left if one])
            for one in stream[: draw.randint(1, 9)]:
                model.fold(one)
                del stream[0]
            model = Model.load_dump(model.dump())
        assert msgspec.msgpack.decode(model.dump()) == whole

    if open_then:  # told again when nothing is open any more
        closed(room, incident_id)
        assert refused(room.command(erasure(room, "records"))) == []
        assert there(room.model.dump(), [one.encode() for one in HERS[:8]]) == []
    else:
        assert later in room.model.incidents.rows


def test_of_a_device_that_another_person_has_now_only_what_was_before_goes():
    room = Room()
    happen(room)
    room.command(DefineDevice(handle=2, device_id="victim-2", person_id="eva", role=Role.PROTECTED))
    room.journal.pass_s(30)
    room.frames(room.journal.fix("victim-2", 2, EVAS_NORTH_M))
    assert len(room.model.positions.track(2)) == 6
    room.command(erasure(room, "positions"))
    (point,) = room.model.positions.track(2)
    last = room.model.positions.last(2)
    assert last is not None
    assert point.lat_e7 == last.lat_e7 == e7(EVAS_NORTH_M)
