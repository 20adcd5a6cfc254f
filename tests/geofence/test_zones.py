"""ZoneSet: put, replace, remove, memory, dump and load; compared with a set built at once."""

import json
import threading
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import data as draws
from hypothesis.strategies import integers, sampled_from

from geofence import compiled as compiled_module
from geofence import zones as zones_module
from geofence.compiled import CompiledError, CompiledZone, pack, unpack
from geofence.geojson import GeoJSONError, Reason
from geofence.kernels.arrays import (
    FREE,
    H_BOX,
    H_CELL,
    H_GRID,
    H_RUN,
    H_STATE,
    H_VX,
    H_VY,
    NOWHERE_MM,
)
from geofence.kernels.build import KERNEL_VERSION, compile_zone
from geofence.kernels.distance import project
from geofence.zones import Circle, ZoneSet, build


def star(seed: int, vertices: int = 0) -> dict[str, Any]:
    """A jagged polygon; every third one abroad, every fifth one a circle."""
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(4.0, 6.5), rng.uniform(51.2, 52.8)
    if seed % 3 == 0:
        lon, lat = lon + 10.0, lat - 5.0
    if seed % 5 == 0:
        return Circle(int(lat * 1e7), int(lon * 1e7), int(rng.integers(10_000, 900_000))).geojson()
    count = vertices or int(rng.integers(3, 90))
    angle = 2.0 * np.pi * np.arange(count) / count
    radius = 0.01 * rng.uniform(0.5, 1.0, count)
    ring = np.stack([lon + radius * np.cos(angle), lat + radius * np.sin(angle)], axis=1).tolist()
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def answers(zones: ZoneSet, zone_id: str) -> list[int]:
    """Signed distances of some points around a zone, from its own plane."""
    index = zones.index(zone_id)
    assert index is not None
    source = json.loads(zones.source(zone_id))
    if source["type"] == "Feature":
        lon, lat = source["geometry"]["coordinates"]
    else:
        lon, lat = source["coordinates"][0][0]
    points = [
        project(zones.arrays(), index, int((lat + d) * 1e7), int((lon + e) * 1e7))
        for d in (-0.02, -0.003, 0.0, 0.004, 0.3)
        for e in (-0.01, 0.0, 0.002, 0.015, -2.0)
    ]
    x, y = (np.array(column, np.int64) for column in zip(*points, strict=True))
    which = np.full(len(points), index, np.int64)
    found: list[int] = zones.signed_distance_many(which, x, y, np.full(len(points), 50.0)).tolist()
    return found


def alone(source: Any, zone_id: str = "z") -> list[int]:
    zones = ZoneSet()
    zones.put(zone_id, 1, source)
    return answers(zones, zone_id)


def test_put_replace_remove() -> None:
    zones = ZoneSet()
    first = zones.put("a", 1, star(1))
    second = zones.put("b", 1, star(2))
    assert (first, second) == (0, 1)
    assert (len(zones), "a" in zones, "c" in zones) == (2, True, False)
    before = answers(zones, "b")
    assert zones.put("a", 2, star(4)) == first
    assert zones.version("a") == 2
    assert json.loads(zones.source("a")) == star(4)
    assert answers(zones, "a") == alone(star(4))
    assert answers(zones, "b") == before
    zones.remove("a")
    assert zones.index("a") is None
    assert zones.version("a") is None
    assert zones.arrays().head[first, H_STATE] == FREE
    x = np.zeros(1, np.int64)
    assert zones.signed_distance_many(x, x, x, np.ones(1)).tolist() == [NOWHERE_MM]
    assert zones.put("c", 7, star(7)) == first
    assert answers(zones, "b") == before
    with pytest.raises(KeyError):
        zones.remove("a")


def test_a_refused_version_changes_nothing() -> None:
    zones = ZoneSet()
    zones.put("a", 1, star(1))
    before = zones.dump()
    bad = {"type": "Polygon", "coordinates": [[[4, 52], [4.1, 52], [4, 52.1]]]}
    for zone_id in ("a", "b"):
        with pytest.raises(GeoJSONError) as caught:
            zones.put(zone_id, 2, bad)
        assert caught.value.reason == Reason.RING_NOT_CLOSED
    assert zones.dump() == before


def test_repairs_are_kept_with_the_zone() -> None:
    backwards = star(1)
    backwards["coordinates"][0].reverse()
    zones = ZoneSet()
    with pytest.raises(GeoJSONError):
        zones.put("a", 1, backwards)
    zones.put("a", 1, backwards, repairs=["winding-reversed", "ring-closed"])
    assert zones.grid("a").repairs == ("winding-reversed",)
    assert json.loads(zones.source("a")) == backwards
    loaded = ZoneSet.load(zones.dump())
    assert loaded.grid("a").repairs == ("winding-reversed",)
    assert loaded.grid("a").asked == ("winding-reversed", "ring-closed")


def test_the_source_stays_as_it_was_given() -> None:
    text = b'{ "type":"Polygon",\n "coordinates":[[[4,52],[4.1,52.0],[4.05,52.1],[4,52]]], "a":1}'
    zones = ZoneSet()
    zones.put("bytes", 1, text)
    zones.put("str", 1, text.decode())
    assert zones.source("bytes") == text
    assert zones.source("str") == text


def test_built_in_another_thread_and_put_here() -> None:
    built: list[Any] = []
    thread = threading.Thread(target=lambda: built.append(build(star(8, 4_000))))
    thread.start()
    thread.join()
    zones = ZoneSet()
    zones.put("a", 1, built[0])
    assert answers(zones, "a") == alone(star(8, 4_000))


@pytest.mark.slow
def test_memory_is_used_again() -> None:
    zones = ZoneSet(room=16)
    for i in range(20):
        zones.put(f"z{i}", 1, star(30 * i + 1, 60))
    size = len(zones.arrays().data)
    for version in range(2, 30):
        for i in range(20):
            zones.put(f"z{i}", version, star(30 * i + 1 + version % 2, 60))
    # Old and new version overlap for a moment, and spans differ in length.
    assert len(zones.arrays().data) <= 2 * size
    for i in range(20):
        zones.remove(f"z{i}")
    zones.put("large", 1, star(1, 500))
    assert len(zones.arrays().data) <= 2 * size


def test_whoever_holds_old_arrays_reads_the_old_zone_while_others_are_added() -> None:
    zones = ZoneSet(room=16)
    zones.put("a", 1, star(1, 80))
    old, before = zones.arrays(), answers(zones, "a")
    for i in range(50):
        zones.put(f"b{i}", 1, star(30 * i + 2, 80))
    assert old is not zones.arrays()
    assert answers(zones, "a") == before
    assert len(old.data) < len(zones.arrays().data)


def test_dump_and_load_are_exact() -> None:
    zones = ZoneSet()
    for i in range(40):
        zones.put(f"z{i}", i, star(i))
    for i in range(0, 40, 7):
        zones.remove(f"z{i}")
    zones.put("z1", 99, star(101))
    blob = zones.dump()
    loaded = ZoneSet.load(blob)
    assert loaded.dump() == blob
    assert len(loaded) == len(zones)
    for i in range(40):
        if i % 7 == 0:
            assert f"z{i}" not in loaded
            continue
        assert loaded.index(f"z{i}") == zones.index(f"z{i}")
        assert loaded.version(f"z{i}") == zones.version(f"z{i}")
        assert answers(loaded, f"z{i}") == answers(zones, f"z{i}")
    # The same indexes are free, in the same order.
    assert [loaded.put(f"n{i}", 1, star(i + 1)) for i in range(8)] == [
        zones.put(f"n{i}", 1, star(i + 1)) for i in range(8)
    ]
    assert loaded.dump() == zones.dump()


def test_a_dump_of_another_kernel_is_compiled_anew() -> None:
    zones = ZoneSet()
    for i in range(6):
        zones.put(f"z{i}", 1, star(i))
    zones.remove("z2")
    dump = msgspec.msgpack.decode(zones.dump(), type=zones_module._Dump)
    assert dump.kernel == KERNEL_VERSION
    dump.kernel += 1
    dump.head = dump.data = b""  # arrays that this program would not understand
    assert ZoneSet.load(msgspec.msgpack.encode(dump)).dump() == zones.dump()


def of_later_kernels(packed: dict[str, Any]) -> CompiledZone:
    """The same zone with arrays that this program would not understand."""
    compiled = msgspec.convert(packed, CompiledZone)
    assert compiled.kernel == KERNEL_VERSION
    data = b"arrays of other kernels"
    crc32 = compiled_module._checksum(compiled.source, compiled.plane, compiled.head, data)
    changes = {"kernel": KERNEL_VERSION + 1, "data": data, "crc32": crc32}
    return msgspec.structs.replace(compiled, **changes)


# --- compiled zones as bytes ----------------------------------------------------------------------

POLYGON = star(9, 300)


@pytest.mark.parametrize(
    "shape",
    [star(3), star(9, 300), star(2, 3_000), Circle(519_200_000, 44_700_000, 300_000)],
)
def test_a_compiled_zone_comes_back_from_its_bytes(shape: Any) -> None:
    grid = build(shape)
    raw = msgspec.msgpack.encode(pack(grid))
    back = unpack(msgspec.msgpack.decode(raw, type=CompiledZone))
    assert msgspec.msgpack.encode(pack(back)) == raw
    first, second = ZoneSet(), ZoneSet()
    first.put("z", 1, grid)
    second.put("z", 1, back)
    assert first.dump() == second.dump()
    assert answers(first, "z") == answers(second, "z")


@pytest.mark.parametrize("part", ["source", "head", "data", "plane"])
def test_a_damaged_compiled_zone_is_refused(part: str) -> None:
    packed = pack(build(POLYGON))
    raw = bytearray(getattr(packed, part) or b"\0")
    raw[len(raw) // 2] ^= 1
    for damaged in (bytes(raw), bytes(raw)[:-1], bytes(raw) + b"\0"):
        with pytest.raises(CompiledError, match="checksum"):
            unpack(msgspec.structs.replace(packed, **{part: damaged}))


@pytest.mark.parametrize("column", [H_STATE, H_GRID, H_CELL, H_VX, H_VY, H_RUN, H_BOX])
@pytest.mark.parametrize("value", [-1, 2**31, 2**40])
def test_a_head_that_points_outside_of_the_data_is_refused(column: int, value: int) -> None:
    """Kernels trust the head, so it is looked at before they see it."""
    packed = pack(build(POLYGON))
    head = np.frombuffer(packed.head, "<i8").copy()
    head[column] = value
    crc32 = compiled_module._checksum(packed.source, packed.plane, head.tobytes(), packed.data)
    with pytest.raises(CompiledError):
        unpack(msgspec.structs.replace(packed, head=head.tobytes(), crc32=crc32))


def test_a_compiled_zone_of_another_format_is_refused() -> None:
    packed = msgspec.structs.replace(pack(build(POLYGON)), format=2)
    with pytest.raises(CompiledError, match="format 2"):
        unpack(packed)


@pytest.mark.parametrize(
    "blob", [b"", b"\x93\x01\x02\x03", msgspec.msgpack.encode(["x", 0, [], []])]
)
def test_what_is_no_dump_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match="zones"):
        ZoneSet.load(blob)


def test_compiling_is_deterministic() -> None:
    source = json.dumps(star(4, 3_000)).encode()
    grids = [build(source) for _ in range(2)]
    assert grids[0].data.tobytes() == grids[1].data.tobytes()
    assert grids[0].head.tobytes() == grids[1].head.tobytes()


def test_too_wide() -> None:
    ring = [[-10.0, 40.0], [30.0, 40.0], [30.0, 45.0], [-10.0, 45.0], [-10.0, 40.0]]
    with pytest.raises(GeoJSONError) as caught:
        build({"type": "Polygon", "coordinates": [ring]})
    assert caught.value.reason == Reason.TOO_WIDE


def test_smaller_than_a_millimetre() -> None:
    ring = [[4.0, 52.0], [4.000000001, 52.0], [4.0, 52.000000001], [4.0, 52.0]]
    with pytest.raises(GeoJSONError) as caught:
        build({"type": "Polygon", "coordinates": [ring]})
    assert caught.value.reason == Reason.NO_AREA


def test_the_plane_is_decided_by_the_place() -> None:
    def square(lon: float, lat: float) -> dict[str, Any]:
        ring = [[lon, lat], [lon + 0.1, lat], [lon + 0.1, lat + 0.1], [lon, lat + 0.1], [lon, lat]]
        return {"type": "Polygon", "coordinates": [ring]}

    for lon, lat, rd in (
        (4.5, 51.9, True),
        (7.95, 52.0, False),
        (2.4, 51.0, False),
        (5, 49.95, False),
    ):
        grid = build(square(lon, lat))
        assert (grid.plane is None) == rd


def test_bounds_of_memory_and_work() -> None:
    grid = build(star(1, 8_000))
    assert grid.vertices >= 8_000
    # Spikes side by side are the worst: their edges are near everything.
    assert grid.size_bytes < 160 * grid.vertices
    assert build(star(1, 4)).size_bytes < 1024
    assert build(star(5)).size_bytes < 256


class AgainstADict(RuleBasedStateMachine):
    """Any sequence of puts, removals and reloads answers as zones put alone do."""

    expected: dict[tuple[int, int], list[int]] = {}  # noqa: RUF012 - shared between runs: a cache

    def __init__(self) -> None:
        super().__init__()
        self.zones = ZoneSet()
        self.model: dict[str, tuple[int, int]] = {}

    @rule(name=sampled_from("abcdef"), seed=integers(1, 12), vertices=sampled_from([5, 70, 400]))
    def put(self, name: str, seed: int, vertices: int) -> None:
        before = self.zones.index(name)
        index = self.zones.put(name, seed, star(seed, vertices))
        assert before in (None, index)
        self.model[name] = (seed, vertices)

    @precondition(lambda self: self.model)
    @rule(data=draws())
    def remove(self, data: Any) -> None:
        name = data.draw(sampled_from(sorted(self.model)))
        self.zones.remove(name)
        del self.model[name]

    @rule()
    def reload(self) -> None:
        blob = self.zones.dump()
        self.zones = ZoneSet.load(blob)
        assert self.zones.dump() == blob

    @invariant()
    def as_alone(self) -> None:
        for name, key in self.model.items():
            if key not in self.expected:
                self.expected[key] = alone(star(*key))
            assert answers(self.zones, name) == self.expected[key]
            assert self.zones.version(name) == key[0]


TestAgainstADict = AgainstADict.TestCase
TestAgainstADict.settings = settings(deadline=None, max_examples=15, stateful_step_count=15)
TestAgainstADict = pytest.mark.slow(TestAgainstADict)


def test_compile_zone_takes_what_was_decoded() -> None:
    source = json.dumps(star(2)).encode()
    from geofence.geojson import DEFAULT_LIMITS

    grid = compile_zone(source, json.loads(source), (), DEFAULT_LIMITS)
    assert grid.data.tobytes() == build(source).data.tobytes()
