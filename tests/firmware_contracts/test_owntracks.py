"""OwnTracks: the published verdicts, the schema itself as an oracle, and everything hostile."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afstand.limits import OWNTRACKS_BYTES_MAX, OWNTRACKS_DEPTH_MAX
from firmware_contracts import Fault, FrameError, fault_of
from firmware_contracts.batch import DecodedFixes
from firmware_contracts.owntracks import (
    Ignored,
    IgnoredReason,
    OwnTracksFix,
    owntracks_to_columns,
    read_owntracks,
)
from tests.firmware_contracts.samples import joined
from tests.firmware_contracts.schema import Schema

PLACE = {"_type": "location", "lat": 51.9225, "lon": 4.47917, "tst": 1_760_000_000}
FIX = OwnTracksFix(
    time_ms=1_760_000_000_000,
    lat_e7=519_225_000,
    lon_e7=44_791_700,
    accuracy_dm=65_535,
    speed_cm_s=65_535,
    heading_cdeg=65_535,
    battery_pct=255,
    altitude_m=-32_768,
    trigger="",
)


def read(message: Any) -> list[OwnTracksFix | Ignored]:
    return read_owntracks(json.dumps(message).encode())


def fault(payload: bytes) -> Fault:
    with pytest.raises(FrameError) as caught:
        read_owntracks(payload)
    return caught.value.fault


# --- the published verdicts ---------------------------------------------------------------------


@pytest.fixture(scope="session")
def published(data: Path) -> Path:
    return data / "conformance" / "owntracks"


def test_the_published_verdicts(published):
    """FC-091, FC-092: every valid file gives fixes or reasons, every invalid one a fault."""
    verdicts = json.loads((published / "expected.json").read_text())
    assert len(verdicts) == 60
    found, faults = {}, []
    for name in verdicts:
        payload = (published / "test" / name).read_bytes()
        try:
            results = read_owntracks(payload)
        except FrameError as error:
            found[name] = "invalid"
            faults.append(error.fault)
        else:
            found[name] = "valid"
            assert results
            assert all(isinstance(one, OwnTracksFix | Ignored) for one in results)
    assert found == verdicts
    assert set(faults) == {Fault.BAD_JSON, Fault.BAD_SCHEMA}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("array-nothing.json", [IgnoredReason.EMPTY_PAYLOAD]),
        ("array-empty.json", [IgnoredReason.EMPTY_ARRAY]),
        ("array-one.json", [IgnoredReason.IMPLAUSIBLE_TIME]),
        ("array.json", [IgnoredReason.IMPLAUSIBLE_TIME, IgnoredReason.LAST_WILL]),
        ("e.json", [IgnoredReason.ENCRYPTED]),
        ("transition.json", [IgnoredReason.TRANSITION]),
        ("location-short.json", [442_213_890, 66_463_500]),
        ("location-5s.json", [534_307_220, 51_121_260]),
        ("l2.json", [530_266_760, 95_435_610]),
    ],
)
def test_what_published_files_give(published, name, wanted):
    """FC-092, FC-093."""
    results = read_owntracks((published / "test" / name).read_bytes())
    if isinstance(results[0], OwnTracksFix):
        assert [results[0].lat_e7, results[0].lon_e7] == wanted
    else:
        assert [one.reason for one in results if isinstance(one, Ignored)] == wanted


# --- the schema as an oracle --------------------------------------------------------------------

TYPES = [
    "beacon", "card", "cmd", "configuration", "location", "lwt", "request", "status", "steps",
    "transition", "waypoint", "waypoints", "encrypted", "dump", "",
]  # fmt: skip
UUIDS = ["91e8a556-ce69-482d-a29a-170139864873", "91E8A556ce69482da29a170139864873", "x"]
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -1, 1000.0, 1_760_000_000, 52.1, 181]),
)  # fmt: skip
ODD = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.text(max_size=3), st.just([]), st.just({}), st.just(["a"])
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "_type": st.sampled_from(TYPES),
    "action": st.sampled_from(["dump", "response", "waypoints", "setConfiguration", "run", ""]),
    "lat": NUMBERS,
    "lon": NUMBERS,
    "tst": st.one_of(NUMBERS, st.integers(0, 2**40)),
    "ntours": NUMBERS,
    "request": st.sampled_from(["tour", "tours", "untour", "tour1"]),
    "tours": st.one_of(st.just([]), st.just([1, "a"])),
    "uuid": st.sampled_from(UUIDS),
    "response": ODD,
    "face": st.sampled_from(["", "YWJj", "YQ==", "YQ====", "a b", "a=b", "YWJj\n"]),
    "name": st.text(max_size=3),
    "data": st.sampled_from(["YWJj", "!", ""]),
    "distance": NUMBERS,
    "floorsdown": NUMBERS,
    "floorsup": NUMBERS,
    "from": NUMBERS,
    "steps": NUMBERS,
    "to": NUMBERS,
    "acc": NUMBERS,
    "vel": NUMBERS,
    "cog": NUMBERS,
    "batt": NUMBERS,
    "alt": NUMBERS,
    "t": st.sampled_from(["u", "c", "!"]),
    "event": st.sampled_from(["enter", "leave", "stay"]),
    "wtst": NUMBERS,
}
# In a location these are held to the type of the schema's own $defs, which message.json does not.
HELD = ("acc", "vel", "cog", "batt", "alt", "t")
NEEDED = {
    "location": ["lat", "lon", "tst"],
    "lwt": ["tst"],
    "steps": ["from", "steps", "to", "tst"],
    "transition": ["acc", "event", "lat", "lon", "tst", "wtst"],
    "cmd": ["action"],
    "request": ["request", "uuid"],
    "encrypted": ["data"],
}


@st.composite
def messages(draw) -> Any:
    """Messages near the edge of validity: what is needed is mostly there and mostly right."""
    kind = draw(VALUES["_type"])
    names = [name for name in NEEDED.get(kind, []) if draw(st.integers(0, 7))]
    names += draw(st.lists(st.sampled_from(list(VALUES)), max_size=4))
    message = {"_type": kind}
    for name in names:
        odd = name not in HELD and draw(st.integers(0, 9)) == 0
        message[name] = draw(ODD if odd else VALUES[name])
    return message


BASES: list[dict[str, Any]] = [
    {"_type": "lwt", "tst": 1},
    {"_type": "cmd", "action": "dump"},
    {"_type": "cmd", "action": "response", "request": "tours", "response": 1},
    {"_type": "request", "request": "untour", "uuid": UUIDS[0]},
    {"_type": "steps", "from": 1, "steps": 2, "to": 3, "tst": 4},
    {"_type": "transition", "acc": 1, "event": "enter", "lat": 1, "lon": 2, "tst": 3, "wtst": 4},
    PLACE,
    *({"_type": kind} for kind in ("beacon", "card", "configuration", "request", "waypoints")),
]
PROBES: list[Any] = [
    None, True, 0, -1, 1.0, 1.5, "", "x", "YWJj", "dump", "response", "untour", [], ["a"], {},
]  # fmt: skip


@pytest.mark.slow
def test_every_name_missing_or_odd_is_judged_as_the_schema_judges_it(published):
    """FC-091: from a valid message of every type, each name left out and given every odd value."""
    schema = Schema(published / "schemas" / "messages.json")
    verdicts = []
    for base in BASES:
        lacking = [{key: base[key] for key in base if key != name} for name in base]
        odd = [
            base | {name: probe}
            for name in VALUES
            for probe in [*PROBES, *UUIDS]
            if name not in HELD or base["_type"] != "location"
        ]
        for message in [base, *lacking, *odd]:
            allowed = schema.valid(message)
            verdicts.append(allowed)
            try:
                read(message)
            except FrameError as error:
                judged = (False, f"{message}: {error}")
            else:
                judged = (True, str(message))
            assert judged == (allowed, judged[1])
    assert verdicts.count(True) > 1000
    assert verdicts.count(False) > 1000


@pytest.mark.slow
@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(messages(), st.lists(messages(), max_size=3), ODD))
def test_the_verdicts_are_those_of_the_schema(published, document):
    """FC-091, FC-093: the three schema files themselves say what is valid."""
    schemas = published / "schemas"
    allowed = Schema(schemas / "messages.json").valid(document)
    if isinstance(document, dict) and document.get("_type") == "encrypted":
        allowed = Schema(schemas / "encryption.json").valid(document)
    payload = json.dumps(document).encode()
    if allowed:
        results = read_owntracks(payload)
        assert len(results) == (max(1, len(document)) if isinstance(document, list) else 1)
    else:
        assert fault(payload) in (Fault.BAD_SCHEMA, Fault.UNKNOWN_TYPE)


# --- values -------------------------------------------------------------------------------------


def test_a_location_becomes_a_fix():
    assert read(PLACE) == [FIX]
    full = PLACE | {"acc": 12, "vel": 36, "cog": 271.5, "batt": 87, "alt": -3, "t": "u"}
    assert read(full) == [
        OwnTracksFix(
            time_ms=FIX.time_ms, lat_e7=FIX.lat_e7, lon_e7=FIX.lon_e7, accuracy_dm=120,
            speed_cm_s=1000, heading_cdeg=27_150, battery_pct=87, altitude_m=-3, trigger="u",
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "field", "wanted"),
    [
        ("acc", -1, "accuracy_dm", 65_535),  # FC-094
        ("acc", 0, "accuracy_dm", 65_535),
        ("acc", 0.1, "accuracy_dm", 1),
        ("acc", 6553.4, "accuracy_dm", 65_534),
        ("acc", 6554, "accuracy_dm", 65_535),
        ("acc", 1e300, "accuracy_dm", 65_535),
        ("vel", -1, "speed_cm_s", 65_535),
        ("vel", 0, "speed_cm_s", 0),
        ("vel", 1, "speed_cm_s", 28),
        ("vel", 9_000, "speed_cm_s", 65_535),
        ("cog", 360, "heading_cdeg", 0),
        ("cog", 359.99, "heading_cdeg", 35_999),
        ("cog", 361, "heading_cdeg", 65_535),
        ("cog", -1, "heading_cdeg", 65_535),
        ("batt", 0, "battery_pct", 0),
        ("batt", 100, "battery_pct", 100),
        ("batt", 101, "battery_pct", 255),
        ("batt", -100, "battery_pct", 255),
        ("alt", 142.4, "altitude_m", 142),
        ("alt", -1e308, "altitude_m", -32_768),
        ("lat", 90, "lat_e7", 900_000_000),
        ("lon", -180.0, "lon_e7", -1_800_000_000),
        ("tst", 1_760_000_000.0, "time_ms", 1_760_000_000_000),
    ],
)
def test_units(name, value, field, wanted):
    """FC-094."""
    (result,) = read(PLACE | {name: value})
    assert getattr(result, field) == wanted


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lat": 90.1}, IgnoredReason.IMPOSSIBLE_POSITION),
        ({"lat": 1e308}, IgnoredReason.IMPOSSIBLE_POSITION),
        ({"lon": -180.0001}, IgnoredReason.IMPOSSIBLE_POSITION),
        ({"lat": 0, "lon": 0}, IgnoredReason.IMPOSSIBLE_POSITION),
        ({"tst": 0}, IgnoredReason.IMPLAUSIBLE_TIME),
        ({"tst": 1_760_000_000_000}, IgnoredReason.IMPLAUSIBLE_TIME),
        ({"tst": 1e300}, IgnoredReason.IMPLAUSIBLE_TIME),
        ({"tst": -(2**63)}, IgnoredReason.IMPLAUSIBLE_TIME),
    ],
)
def test_a_valid_location_that_cannot_be_one_has_its_reason(changes, reason):
    """FC-092."""
    assert read(PLACE | changes) == [Ignored(reason)]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"_type": "beacon"}, IgnoredReason.BEACON),
        ({"_type": "card"}, IgnoredReason.CARD),
        ({"_type": "cmd", "action": "dump"}, IgnoredReason.COMMAND),
        ({"_type": "configuration"}, IgnoredReason.CONFIGURATION),
        ({"_type": "lwt", "tst": 1}, IgnoredReason.LAST_WILL),
        ({"_type": "request"}, IgnoredReason.REQUEST),
        ({"_type": "status"}, IgnoredReason.STATUS),
        ({"_type": "steps", "from": 1, "steps": -1, "to": 2, "tst": 3}, IgnoredReason.STEPS),
        ({"_type": "waypoint"}, IgnoredReason.WAYPOINT),
        ({"_type": "waypoints"}, IgnoredReason.WAYPOINTS),
        ({"_type": "encrypted", "data": ""}, IgnoredReason.ENCRYPTED),
    ],
)
def test_every_other_type_has_its_reason(message, reason):
    """FC-092."""
    assert read(message) == [Ignored(reason)]


@pytest.mark.parametrize("payload", [b"", b" ", b"\r\n\t "])
def test_an_empty_payload_clears_a_retained_message(payload):
    """FC-092."""
    assert read_owntracks(payload) == [Ignored(IgnoredReason.EMPTY_PAYLOAD)]


def test_an_array_gives_a_result_per_message():
    """FC-093."""
    lwt = {"_type": "lwt", "tst": 1}
    assert read([PLACE, lwt, PLACE]) == [FIX, Ignored(IgnoredReason.LAST_WILL), FIX]
    assert read([]) == [Ignored(IgnoredReason.EMPTY_ARRAY)]
    assert fault(json.dumps([PLACE, {"_type": "lwt"}]).encode()) is Fault.BAD_SCHEMA
    assert fault(json.dumps([[PLACE]]).encode()) is Fault.BAD_SCHEMA


# --- hostile bytes ------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    return b'{"_type":"status","x":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


LONG = b'{"_type":"status","x":"' + b"a" * OWNTRACKS_BYTES_MAX + b'"}'


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        (LONG, Fault.OVERSIZED),  # FC-090
        (b"[" * OWNTRACKS_BYTES_MAX, Fault.BAD_JSON),
        (b'{"a":' * 3000, Fault.BAD_JSON),
        (
            b'{"_type":"status","x":'
            + b"[" * OWNTRACKS_DEPTH_MAX
            + b"]" * OWNTRACKS_DEPTH_MAX
            + b"}",
            Fault.BAD_JSON,
        ),
        (b'{"_type":"lwt","tst":NaN}', Fault.BAD_JSON),
        (b'{"_type":"lwt","tst":Infinity}', Fault.BAD_JSON),
        (b'{"_type":"lwt","tst":-Infinity}', Fault.BAD_JSON),
        (b'{"_type":"lwt","tst":1e999}', Fault.BAD_JSON),
        (b'{"_type":"lwt","tst":9223372036854775808}', Fault.BAD_JSON),
        (b'{"_type":"lwt","tst":-9223372036854775809}', Fault.BAD_JSON),
        (b'{"_type":"lwt","tst":' + b"9" * 16_000 + b"}", Fault.BAD_JSON),
        (b'{"_type":"lwt","tst":1,"tst":2}', Fault.BAD_JSON),
        (b'{"_type":"status","x":{"a":1,"\\u0061":2}}', Fault.BAD_JSON),
        (b'{"_type":"lwt","tst":010}', Fault.BAD_JSON),
        (b'{"_type":"lwt","tst":1}x', Fault.BAD_JSON),
        (b'{"_type":"lwt","tst":1', Fault.BAD_JSON),
        (b"{'_type':'lwt'}", Fault.BAD_JSON),
        (b'\xef\xbb\xbf{"_type":"lwt","tst":1}', Fault.BAD_JSON),
        (b'{"_type":"card","name":"\xff"}', Fault.BAD_JSON),
        (b"\x57\xaf\x01\x00", Fault.BAD_JSON),
        (b'"location"', Fault.BAD_SCHEMA),
        (b"null", Fault.BAD_SCHEMA),
        (b"1", Fault.BAD_SCHEMA),
        (b"{}", Fault.BAD_SCHEMA),
        (b'{"_type":null}', Fault.BAD_SCHEMA),
        (b'{"_type":["location"]}', Fault.BAD_SCHEMA),
        (b'{"_type":"panic"}', Fault.UNKNOWN_TYPE),
        (b'{"_type":"\\ud800"}', Fault.UNKNOWN_TYPE),
        (b'{"_type":"lwt","tst":true}', Fault.BAD_SCHEMA),
        (b'{"_type":"lwt","tst":"1"}', Fault.BAD_SCHEMA),
        (b'{"_type":"lwt","tst":1.5}', Fault.BAD_SCHEMA),
        (b'{"_type":"cmd","action":"response","response":1}', Fault.BAD_SCHEMA),
    ],
)
def test_hostile_payloads_have_their_reason(payload, wanted):
    """FC-090, FC-091."""
    assert fault(payload) is wanted


def test_the_bounds_of_depth_and_size():
    """FC-090: at the bound a message is taken; brackets in a string are no depth."""
    deep = (
        b'{"_type":"status","x":'
        + b"[" * (OWNTRACKS_DEPTH_MAX - 1)
        + b"]" * (OWNTRACKS_DEPTH_MAX - 1)
        + b"}"
    )
    assert read_owntracks(deep) == [Ignored(IgnoredReason.STATUS)]
    text = b'{"_type":"status","x":"' + b'[{\\"' * 1000 + b'"}'
    assert read_owntracks(text) == [Ignored(IgnoredReason.STATUS)]
    wide = b'{"_type":"status","x":[' + b",".join([b"{}"] * 1000) + b"]}"
    assert read_owntracks(wide) == [Ignored(IgnoredReason.STATUS)]
    full = LONG[: OWNTRACKS_BYTES_MAX - 2] + b'"}'
    assert read_owntracks(full) == [Ignored(IgnoredReason.STATUS)]


@pytest.mark.parametrize("name", ["acc", "vel", "cog", "batt", "alt"])
@pytest.mark.parametrize("value", ["12", None, True, [], {}])
def test_a_field_that_is_used_has_its_type(name, value):
    """FC-091."""
    assert fault(json.dumps(PLACE | {name: value}).encode()) is Fault.BAD_SCHEMA


@pytest.mark.parametrize("value", ["", "uu", 1, None, "é", "\ud800"])
def test_a_trigger_is_one_ascii_character(value):
    """FC-091: half a surrogate pair, which JSON can say, would break every writer after this."""
    assert fault(json.dumps(PLACE | {"t": value}).encode()) is Fault.BAD_SCHEMA


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(list(VALUES)), st.text(max_size=4)), inner),
    ),
    max_leaves=12,
)


@pytest.mark.slow
@given(st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode())))
def test_any_payload_gives_results_or_a_fault(payload):
    """FC-090, FC-092."""
    with contextlib.suppress(FrameError):
        assert read_owntracks(payload)


# --- columns ------------------------------------------------------------------------------------


@pytest.mark.slow
@given(st.lists(st.one_of(
    st.binary(max_size=60),
    st.just(json.dumps(PLACE).encode()),
    messages().map(lambda message: json.dumps(message).encode()),
    st.lists(st.builds(lambda lat: PLACE | {"lat": lat}, st.floats(-91, 91)), max_size=3).map(
        lambda many: json.dumps(many).encode()
    ),
), max_size=6))  # fmt: skip
def test_columns_hold_what_single_reads_give(payloads):
    """FC-011: and a payload that is refused harms no other."""
    columns, faults = owntracks_to_columns(*joined(payloads))
    assert isinstance(columns, DecodedFixes)
    rows = []
    for index, payload in enumerate(payloads):
        try:
            results = read_owntracks(payload)
        except FrameError as error:
            results = []
            found = fault_of(int(faults[index]))
            same = found is error.fault
        else:
            same = faults[index] == 0
        assert same
        rows += [(index, one) for one in results if isinstance(one, OwnTracksFix)]
    assert columns.frame.tolist() == [index for index, _ in rows]
    for name in set(columns._fields) & set(OwnTracksFix.__struct_fields__):
        assert getattr(columns, name).tolist() == [getattr(one, name) for _, one in rows]
    assert not columns.boot.any()
    assert not columns.sequence.any()
    assert len({len(column) for column in columns}) == 1


def test_columns_of_payloads_that_are_not_there():
    columns, faults = owntracks_to_columns(b"[]", np.array([0, 1, -1, 9]), np.array([2, 2, 1, 1]))
    assert [fault_of(int(number)) for number in faults] == [None] + [Fault.TRUNCATED] * 3
    assert len(columns.frame) == 0
