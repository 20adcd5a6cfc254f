"""Many definitions in one call are the same as one after another, also when they fail."""

from typing import Any

import msgspec
import numpy as np
import pytest

from afstand.limits import DEFINITIONS_MAX
from geofence import engine as engine_module
from geofence import kernel
from geofence.engine import Definition, Engine, OrderRejected, PutMany, Rejected, RejectReason
from geofence.kernels.arrays import H_STATE
from geofence.orders import CircleShape, Person, Role, Zone
from geofence.verdicts import Finding, OrderKind
from tests.geofence.scripts import VICTIMS, WEARERS, life
from tests.geofence.stories import MINUTE, NOON, Story, circle, order, square
from tests.geofence.test_state import Failing

SEEDS = range(6)
_BOW_TIE = [[4.0, 52.0], [4.12, 52.13], [4.0, 52.1], [4.1, 52.0], [4.0, 52.0]]
_FAR = CircleShape(lat_e7=-337_000_000, lon_e7=1_511_000_000, radius_m=400)


def persons() -> list[Person]:
    names = [(f"w{k}", Role.WEARER) for k in range(WEARERS)]
    names += [(f"v{k}", Role.PROTECTED) for k in range(VICTIMS)]
    return [Person(id=name, role=role) for name, role in names]


def zone(rng: np.random.Generator, version: int) -> Zone:
    north, east = rng.uniform(-2500, 2500, 2)
    half = float(rng.uniform(80, 500))
    shape: dict[str, Any]
    match int(rng.integers(10)):
        case 0:
            shape = {"geometry": {"type": "Polygon", "coordinates": [_BOW_TIE]}}
        case 1:
            shape = {"geometry": square(half), "circle": circle(100)}
        case 2:
            shape = {"circle": _FAR}
        case 3 | 4 | 5:
            shape = {"circle": circle(round(half), north, east)}
        case 6:
            ring = square(half, north, east)["coordinates"][0][::-1]
            shape = {
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "repairs": ("winding-reversed",),
            }
        case _:
            shape = {"geometry": square(half, north, east)}
    name = "A name" if rng.random() < 0.3 else ""
    return Zone(id=f"z{rng.integers(12)}", version=version, name=name, **shape)


def an_order(rng: np.random.Generator, version: int) -> Any:
    kind = list(OrderKind)[int(rng.integers(3))]
    fields: dict[str, Any] = {
        "id": f"o{rng.integers(10)}",
        "version": version,
        "kind": kind,
        "wearer_id": f"w{rng.integers(WEARERS + 1)}",
        "valid_from_ms": NOON + int(rng.integers(-5, 3)) * 60 * MINUTE,
        "silence_s": int(rng.choice([60, 300])),
    }
    if kind is OrderKind.CONTACT_BAN:
        fields["protected_ids"] = (f"v{rng.integers(VICTIMS)}",)
    else:
        ids = rng.permutation(12)[: rng.integers(1, 4)]
        fields["zone_ids"] = tuple(f"z{i}" for i in ids)
        fields["buffer_m"] = int(rng.choice([0, 50]))
    return order(**fields)


def definitions(rng: np.random.Generator, count: int, age: int = 1) -> list[Definition]:
    """Persons, zones and orders; some stand twice, some are wrong, some come too early."""
    found: list[Definition] = []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.15:
            found.append(persons()[int(rng.integers(WEARERS + VICTIMS))])
        elif kind < 0.6:
            found.append(zone(rng, age + int(rng.integers(5))))
        else:
            found.append(an_order(rng, age + int(rng.integers(5))))
        if rng.random() < 0.1:
            found.append(found[int(rng.integers(len(found)))])
    return found


def one_by_one(engine: Engine, given: list[Definition], now_ms: int) -> PutMany:
    """What put_many promises, by the calls it stands for."""
    findings: list[Finding] = []
    rejected: list[Rejected] = []
    for place, one in enumerate(given):
        try:
            if isinstance(one, Person):
                engine.put_person(one.id, one.role)
            elif isinstance(one, Zone):
                findings += engine.put_zone(one, now_ms)
            else:
                findings += engine.put_order(one, now_ms)
        except OrderRejected as error:
            rejected.append(Rejected(place, error.reason, error.detail))
    return PutMany(findings, rejected)


def alive(seed: int) -> tuple[Engine, Engine, int]:
    """Two engines with the same life behind them, and the time."""
    rng = np.random.default_rng([seed, 7])
    first = [*persons(), *definitions(rng, 40)]
    engines = Engine(), Engine()
    for engine in engines:
        one_by_one(engine, first, NOON)
        for step in life(np.random.default_rng([seed, 8]), 25):
            try:
                step(engine)
            except OrderRejected:
                continue
    return *engines, NOON + 80 * 60 * MINUTE


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_random_definitions_are_taken_as_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plain, many, now = alive(seed)
    assert plain.dump() == many.dump()
    reasons = set()
    for turn in range(6):
        now += int(rng.integers(0, 10)) * MINUTE
        given = definitions(rng, int(rng.integers(20, 70)), 4 * turn + 1)
        expected, found = one_by_one(plain, given, now), many.put_many(given, now)
        assert msgspec.msgpack.encode(found.findings) == msgspec.msgpack.encode(expected.findings)
        assert found.rejected == expected.rejected
        assert many.dump() == plain.dump()
        reasons |= {one.reason for one in found.rejected}
    assert {RejectReason.BAD_GEOMETRY, RejectReason.OLDER_VERSION} <= reasons
    assert Engine.load(many.dump()).dump() == many.dump()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_definitions_that_fail_leave_the_state_as_it_was(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    plain, tried, now = alive(seed)
    given = [*definitions(rng, 50, 20), Person(id="new", role=Role.WEARER)]
    before, due = tried.dump(), tried.next_due_ms()

    def unreadable(_: Any) -> Any:
        raise MemoryError

    for calls in (1, 2, 7, 15):
        with monkeypatch.context() as patch:
            patch.setattr(kernel, "work", Failing(calls, half_done=calls % 2 == 1))
            with pytest.raises(RuntimeError, match="injected"):
                tried.put_many(given, now)
        assert tried.dump() == before
        assert tried.next_due_ms() == due
    monkeypatch.setattr(engine_module, "read_findings", unreadable)
    with pytest.raises(MemoryError):
        tried.put_many(given, now)
    monkeypatch.undo()
    assert tried.dump() == before
    assert tried.put_many(given, now) == plain.put_many(given, now)
    assert tried.dump() == plain.dump()


def test_a_silence_that_a_definition_makes_due_is_told_with_the_next_one() -> None:
    """As one after another: the second order finds the first one's wearer silent already."""
    one, other = Story(), Story()
    for story in (one, other):
        story.order()
        story.fix("wearer", 5_000)
        story.now += 4 * MINUTE
    given = [order(id="a", silence_s=60), order(id="b", silence_s=60)]
    expected = one_by_one(one.engine, list(given), one.now)
    found = other.engine.put_many(given, other.now)
    assert found.findings == expected.findings
    assert len(found.findings) > 2
    assert other.engine.dump() == one.engine.dump()


def test_too_many_at_once_are_refused() -> None:
    engine = Engine()
    before = engine.dump()
    with pytest.raises(ValueError, match="definitions"):
        engine.put_many([Person(id="a", role=Role.WEARER)] * (DEFINITIONS_MAX + 1), NOON)
    assert engine.dump() == before


def test_a_foreign_circle_among_others_has_its_own_plane() -> None:
    shapes = [circle(100), _FAR, circle(200, 3000)]
    engine = Engine()
    zones = [Zone(id=f"z{k}", circle=shape) for k, shape in enumerate(shapes)]
    assert engine.put_many(zones, NOON) == PutMany([], [])
    head = engine._docket.zone_set.arrays().head
    assert (head[:3, H_STATE] >> 1).tolist() == [0, 1, 0]
