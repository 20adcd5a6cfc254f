"""Where the checks of a fix against a zone end: counted in the engine's own code, as plain Python.

The benchmark of the engine runs this as a process without the compiler (`NUMBA_DISABLE_JIT`), hands
it a dump of an engine and some fixes, and reads what was counted: the same code gives the same
bytes either way, so it takes the same turns.
"""

import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from typing import Any

import msgspec

from geofence.clearing import BANS
from geofence.engine import Engine, FixBatch
from geofence.layout import AREA, LOCATION


class Shares(msgspec.Struct):
    """How many checks of a fix against a zone there were, and where they ended."""

    checks: int
    clearing: int
    """The fix is in a box in which it changes nothing."""
    box: int
    """It does not meet the bounding box of the zone, in degrees or in the plane."""
    circle: int
    """The distance to a circle, computed."""
    lipschitz: int
    """One cell of the grid says that the boundary is too far away to matter."""
    exact: int
    """The distance to the edges near the fix."""
    further: int
    """Distances beside these: along paths, and for the explanation of what is told."""


Minute = tuple[int, FixBatch]


def count_shares(engine: Engine, before: Minute, counted: Minute) -> Shares:
    """Count for a minute of fixes, on a copy of the engine in a process without the compiler.

    The minute before is not counted: a copy does not know the clearings yet.
    """
    given = pickle.dumps((engine.dump(), *((at, tuple(fixes)) for at, fixes in (before, counted))))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.shares"],
        input=given,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Shares)


def _watched(counts: Counter[str], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def counting(*args: Any) -> Any:
        counts[name] += 1
        return function(*args)

    return counting


def _count(dump: bytes, before: tuple[int, Any], counted: tuple[int, Any]) -> Shares:
    engine = Engine.load(dump)
    engine.observe(FixBatch(*before[1]), before[0])
    counts: Counter[str] = Counter()
    areas: Any = import_module("geofence.areas")
    distance: Any = import_module("geofence.kernels.distance")
    asked, clearing = areas.signed_distance, areas.in_clearing

    def signed_distance(*args: Any) -> Any:
        if sys._getframe(1).f_code.co_name != "measure":  # noqa: SLF001
            counts["further"] += 1
            return asked(*args)
        before = counts["exact"], counts["near"], counts["circle"]
        found = asked(*args)
        ended = "box"
        for name, was in zip(("exact", "near", "circle"), before, strict=True):
            if counts[name] > was:
                ended = {"near": "lipschitz"}.get(name, name)
                break
        counts[f"ended {ended}"] += 1
        return found

    def in_clearing(world: Any, person: int, of: int, *box: int) -> bool:
        found: bool = clearing(world, person, of, *box)
        if found:
            row = world.persons[person]
            first = int(row["unit0"])
            units = world.units[first : first + int(row["units"])]
            rests = [u for u in units if areas.is_quiet(u)]
            kind = AREA if of == BANS else LOCATION
            counts["clearing"] += sum(int(u["legs"]) for u in rests if u["kind"] == kind)
        return found

    areas.signed_distance = signed_distance
    areas.in_clearing = in_clearing
    distance.near = _watched(counts, "near", distance.near)
    distance._circle = _watched(counts, "circle", distance._circle)  # noqa: SLF001
    for name in ("nearest_of_leaf", "by_boxes", "nearest_off_grid"):
        setattr(distance, name, _watched(counts, "exact", getattr(distance, name)))
    fixes = FixBatch(*counted[1])
    persons = engine._docket.tables.world.persons  # noqa: SLF001
    checks = int(persons["legs"][fixes.person].sum())
    engine.observe(fixes, counted[0])
    ended = {name: counts[f"ended {name}"] for name in ("circle", "lipschitz", "exact")}
    rest = checks - counts["clearing"] - sum(ended.values())
    return Shares(
        checks=checks,
        clearing=counts["clearing"],
        box=rest,
        further=counts["further"],
        **ended,
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(
        msgspec.json.encode(_count(*pickle.loads(sys.stdin.buffer.read())))  # noqa: S301 - our own
    )
