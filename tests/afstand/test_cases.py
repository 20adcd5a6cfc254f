"""The cases document.

All problems at once, each with its place; nothing written before all is good.
"""

import copy
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from afstand.cases import CasesError, check_cases, import_cases, partition_of_persons, read_cases
from afstand.commands import DefineDevice, DefineOrder, DefinePerson, DefineZone, decode_command
from geofence.verdicts import OrderKind
from ingest.devices import Contract
from ingest.store import EntryId

KEY = "00112233445566778899aabbccddeeff"
SQUARE = {
    "type": "Polygon",
    "coordinates": [[[4.4, 51.9], [4.41, 51.9], [4.41, 51.91], [4.4, 51.91], [4.4, 51.9]]],
}
PLAN = {
    "format": "afstand.plan/1",
    "id": "plan",
    "steps": [{"audience": "police", "targets": ["meldkamer"], "deadline_s": 60}],
}
GOOD: dict[str, Any] = {
    "format": "afstand.cases/1",
    "persons": [{"id": "wim", "role": "wearer"}, {"id": "vera", "role": "protected"}],
    "devices": [
        {"id": "tag-1", "person": "wim", "role": "wearer", "key": KEY},
        {"id": "vera.phone", "person": "vera", "role": "protected", "contract": "owntracks"},
        {"id": "loose-button", "role": "protected", "key": KEY},
    ],
    "zones": [
        {"id": "home", "geometry": SQUARE},
        {"id": "ring", "circle": {"lat_e7": 519200000, "lon_e7": 44800000, "radius_m": 300}},
    ],
    "orders": [
        {"id": "ban", "kind": "area-ban", "wearer_id": "wim", "zone_ids": ["home", "ring"],
         "valid_from_ms": 1, "plan_id": "plan"},
        {"id": "contact", "kind": "contact-ban", "wearer_id": "wim", "protected_ids": ["vera"],
         "radius_m": 500, "valid_from_ms": 1, "plan_id": "default"},
    ],
    "plans": [PLAN],
    "cases": [{"id": "case", "wearer": "wim", "protected": ["vera"], "plan": "plan"}],
}  # fmt: skip


def changed(path, value):
    document = copy.deepcopy(GOOD)
    at: Any = document
    for key in path[:-1]:
        at = at[key]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return msgspec.json.encode(document)


def problems(raw):
    with pytest.raises(CasesError) as caught:
        check_cases(raw, "file.json")
    return [(problem.place, problem.reason) for problem in caught.value.problems]


def test_a_good_document_is_taken():
    cases = check_cases(msgspec.json.encode(GOOD), "file.json")
    assert len(cases.orders) == len(cases.zones) == 2
    assert len(cases.devices) == 3


@pytest.mark.parametrize(
    ("path", "value", "place", "reason"),
    [
        (("format",), "afstand.cases/2", "format", "Invalid"),
        (("persons", 1, "role"), "judge", "persons[1].role", "Invalid enum value"),
        (("persons", 1, "id"), "wim", "persons[1].id", "stands twice"),
        (("devices", 0, "person"), "nobody", "devices[0].person", "no person nobody"),
        (("devices", 0, "key"), "12", "devices[0].key", "32 hexadecimal digits"),
        (("devices", 0, "role"), "protected", "devices[0].role", "wim is a wearer"),
        (("devices", 1, "key"), KEY, "devices[1].key", "has none"),
        (("zones", 0, "geometry"), {"type": "Point", "coordinates": [4, 52]}, "zones[0]", "area"),
        (("zones", 0, "geometry", "coordinates", 0, 2), [400, 51.91], "zones[0]", ""),
        (("zones", 0, "geometry"), None, "zones[0]", "one of geometry, file and circle"),
        (("orders", 0, "wearer_id"), "nobody", "orders[0]", "unknown-wearer"),
        (("orders", 0, "zone_ids"), ["nowhere"], "orders[0]", "unknown-zone"),
        (("orders", 0, "plan_id"), "none", "orders[0]", "no plan none"),
        (("orders", 1, "protected_ids"), ["wim"], "orders[1]", "wearer-protected-from-self"),
        (("orders", 1, "radius_m"), -3, "orders[1]", "Expected"),
        (("orders", 1, "radios"), 3, "orders[1]", "unknown field"),
        (("plans", 0, "steps"), [], "plans[0]", "too-many"),
        (("cases", 0, "wearer"), "vera", "cases[0].wearer", "no wearer vera"),
        (("cases", 0, "protected"), ["wim"], "cases[0].protected", "no protected person wim"),
        (("cases", 0, "plan"), "none", "cases[0].plan", "no plan none"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(path, value, place, reason):
    found = problems(changed(path, value))
    assert any(p.startswith(place) and reason in r for p, r in found), found


def test_all_problems_are_told_at_once():
    document = copy.deepcopy(GOOD)
    document["devices"][0]["key"] = "x"
    document["orders"][0]["wearer_id"] = "nobody"
    document["cases"][0]["plan"] = "none"
    assert len(problems(msgspec.json.encode(document))) == 3


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff\xfe", b'{"format": 1}'])
def test_what_is_no_document_is_one_clear_problem(raw):
    assert len(problems(raw)) == 1


def test_a_name_that_stands_twice_in_a_geometry_is_refused():
    raw = msgspec.json.encode(GOOD).replace(b'"type":"Polygon"', b'"type":"Point","type":"Polygon"')
    assert any("zones[0]" in place for place, _ in problems(raw))


def test_a_zone_in_a_file_lies_beside_the_document(tmp_path):
    document = copy.deepcopy(GOOD)
    document["zones"][0] = {"id": "home", "file": "home.geojson"}
    (tmp_path / "cases.json").write_bytes(msgspec.json.encode(document))
    with pytest.raises(CasesError, match=r"zones\[0\].file: cannot be read"):
        read_cases(tmp_path / "cases.json")
    (tmp_path / "home.geojson").write_bytes(msgspec.json.encode(SQUARE))
    assert len(read_cases(tmp_path / "cases.json").zones) == 2
    document["zones"][0]["file"] = "../home.geojson"
    (tmp_path / "cases.json").write_bytes(msgspec.json.encode(document))
    with pytest.raises(CasesError, match="beside the document"):
        read_cases(tmp_path / "cases.json")


def test_who_is_tied_by_an_order_is_in_one_partition():
    document: dict[str, Any] = {"format": "afstand.cases/1", "persons": [], "orders": []}
    for n in range(60):
        document["persons"] += [
            {"id": f"w{n}", "role": "wearer"},
            {"id": f"p{n}", "role": "protected"},
        ]
        document["orders"].append(
            {"id": f"o{n}", "kind": "contact-ban", "wearer_id": f"w{n}", "valid_from_ms": 1,
             "protected_ids": [f"p{n}", f"p{(n + 1) % 3}"], "radius_m": 500, "plan_id": "default"}
        )  # fmt: skip
    document["orders"][:3] = [
        o | {"protected_ids": [o["protected_ids"][0]]} for o in document["orders"][:3]
    ]
    cases = check_cases(msgspec.json.encode(document), "f")
    where = partition_of_persons(cases, ("a", "b", "c"))
    for order in cases.orders:
        assert {where[one] for one in order.protected_ids} == {where[order.wearer_id]}
    assert partition_of_persons(cases, ("a", "b", "c")) == where


class _Registry:
    def __init__(self):
        self.devices = {}

    def __iter__(self):
        return iter(self.devices.values())

    def find(self, device_id):
        return self.devices.get(device_id)

    async def put_many(self, records):
        made = [msgspec.structs.replace(r, handle=n) for n, r in enumerate(records, 1)]
        self.devices |= {record.device_id: record for record in made}
        return made


class _Journal:
    def __init__(self):
        self.commands = []

    async def append_many(self, appends, also=()):
        self.commands += [(a.partition, decode_command(a.blob)) for a in appends]
        return [EntryId(1, n) for n in range(len(appends))], []


async def test_definitions_are_journalled_before_what_refers_to_them():
    journal: Any = _Journal()
    registry: Any = _Registry()
    cases = check_cases(msgspec.json.encode(GOOD), "file.json")
    done = await import_cases(cases, registry, journal, ("0",))
    assert (done.persons, done.devices, done.zones, done.orders) == (2, 3, 2, 2)
    kinds = [type(command) for _, command in journal.commands]
    assert kinds.index(DefineOrder) > max(
        n for n, kind in enumerate(kinds) if kind in (DefinePerson, DefineDevice, DefineZone)
    )
    devices = [c for _, c in journal.commands if isinstance(c, DefineDevice)]
    assert [(d.handle, d.device_id) for d in devices] == [
        (1, "tag-1"), (2, "vera.phone"), (3, "loose-button"),
    ]  # fmt: skip
    assert KEY not in repr(journal.commands)


def test_the_example_of_the_documentation_is_a_good_document(tmp_path):
    text = (Path(__file__).parents[2] / "docs/orders.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (tmp_path / "home.geojson").write_bytes(msgspec.json.encode(SQUARE))
    (tmp_path / "cases.json").write_text(example)
    cases = read_cases(tmp_path / "cases.json")
    assert [order.id for order in cases.orders] == ["ban-1"]
    assert {kind.value for kind in OrderKind} == set(
        re.findall(r"^\| `([a-z-]+-(?:ban|order))`", text, re.MULTILINE)
    )


def test_the_example_of_the_tracker_page_is_a_cases_document():
    page = Path(__file__).parent.parent.parent / "docs" / "device-makers" / "teltonika.md"
    (example,) = re.findall(r"```json\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    (device,) = check_cases(example.encode(), "example").devices
    assert device.contract is Contract.TELTONIKA


def _pair(order_id: str, wearer: str, protected: str) -> dict[str, Any]:
    return {"id": order_id, "kind": "contact-ban", "wearer_id": wearer, "valid_from_ms": 1,
            "protected_ids": [protected], "radius_m": 500, "plan_id": "default"}  # fmt: skip


def _tied(*pairs: tuple[str, str]) -> dict[str, Any]:
    """A document in which each pair is tied by a contact ban; everybody has a device."""
    wearers = dict.fromkeys(wearer for wearer, _ in pairs)
    victims = dict.fromkeys(victim for _, victim in pairs)
    both = [(one, "wearer") for one in wearers] + [(one, "protected") for one in victims]
    return {
        "format": "afstand.cases/1",
        "persons": [{"id": one, "role": role} for one, role in both],
        "devices": [
            {"id": f"d-{one}", "person": one, "role": role, "contract": "em1", "key": "ab" * 16}
            for one, role in both
        ],
        "orders": [_pair(f"o-{a}-{b}", a, b) for a, b in pairs],
        "plans": GOOD["plans"],
    }


async def test_who_is_in_a_partition_stays_and_whoever_is_tied_to_them_joins():
    journal: Any = _Journal()
    registry: Any = _Registry()
    names = tuple("abcdefgh")

    async def put(*pairs: tuple[str, str]) -> None:
        cases = check_cases(msgspec.json.encode(_tied(*pairs)), "f")
        await import_cases(cases, registry, journal, names)

    def partition(person: str) -> str:
        return registry.devices[f"d-{person}"].partition

    for n in range(12):
        await put((f"w{n}", f"v{n}"))
    before = {n: partition(f"w{n}") for n in range(12)}
    assert len(set(before.values())) > 3
    # `a...` sorts first and would lead a group by itself elsewhere.
    for n in range(12):
        await put((f"w{n}", f"v{n}"), (f"a{n}", f"v{n}"))
        assert {partition(f"{kind}{n}") for kind in "wva"} == {before[n]}


async def test_an_import_that_ties_persons_of_two_partitions_is_refused_and_writes_nothing():
    journal: Any = _Journal()
    registry: Any = _Registry()
    names = tuple("abcdefgh")
    for n in range(12):
        cases = check_cases(msgspec.json.encode(_tied((f"w{n}", f"v{n}"))), "f")
        await import_cases(cases, registry, journal, names)
    first = registry.devices["d-w0"].partition
    other = next(n for n in range(12) if registry.devices[f"d-w{n}"].partition != first)
    written, devices = len(journal.commands), dict(registry.devices)
    cases = check_cases(msgspec.json.encode(_tied(("w0", "v0"), ("w0", f"v{other}"))), "f")
    with pytest.raises(CasesError, match=f"different partitions: .*v{other}"):
        await import_cases(cases, registry, journal, names)
    document = _tied(("w0", "v0"))
    document["devices"][0]["id"] = f"d-w{other}"  # the bracelet of somebody elsewhere
    with pytest.raises(CasesError, match=f"d-w{other}: of w{other} in partition"):
        await import_cases(
            check_cases(msgspec.json.encode(document), "f"), registry, journal, names
        )
    assert (len(journal.commands), registry.devices) == (written, devices)
