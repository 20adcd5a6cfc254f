"""People who come near each other by accident: one motorway, one train, one festival.

They are within the radius, truly: what is asked of the engine is to say so and to label it.
"""

from typing import Final

import numpy as np

from simulators.approaches import in_parallel, straight
from simulators.paths import SPEED_M_S, Environment, Mode, Path, PathBuilder
from simulators.seeds import stream
from simulators.suite.kinds import (
    MINUTE_MS,
    PROTECTED,
    START_MS,
    WEARER,
    Carried,
    Run,
    finish,
    order,
)
from simulators.suite.places import PLACES
from simulators.suite.queensland import RADIUS_M, TIME_TO_CONTACT_S, WARNING_M

LENGTH_M: Final = 30_000.0
PLACE: Final = PLACES[1]
# Half the side of a festival ground: nobody on it is further away than the radius.
GROUND_M: Final = 170.0


def _run(name: str, seed: int, wearer: Path, protected: Path, coincidence: str) -> Run:
    ids = (f"c{seed}-{name}-w", f"c{seed}-{name}-p")
    ban = order(
        f"{ids[0]}-contact", "contact-ban", ids[0], START_MS, protected_ids=[ids[1]],
        radius_m=RADIUS_M, warning_m=WARNING_M, time_to_contact_s=TIME_TO_CONTACT_S,
    )  # fmt: skip
    return finish(
        family="coincidence", name=name, place=PLACE.name, seed=seed, plane=PLACE.plane,
        start_ms=START_MS, end_ms=max(wearer.end_ms, protected.end_ms) + 3 * MINUTE_MS,
        persons=dict(zip(ids, (wearer, protected), strict=True)),
        devices=[Carried(ids[0], WEARER, wearer), Carried(ids[1], PROTECTED, protected)],
        orders=[ban], coincidence=coincidence,
    )  # fmt: skip


def motorway(seed: int) -> Run:
    """Both drive the same way on one motorway, one behind the other."""
    rng = stream(seed, "motorway")
    gap_m = float(rng.uniform(40.0, 450.0))
    paths = in_parallel(START_MS, (0.0, 0.0), (LENGTH_M, 2_000.0), Mode.MOTORWAY, gap_m)
    first = int(rng.integers(2))
    return _run("motorway", seed, paths[first], paths[1 - first], "motorway")


def oncoming(seed: int) -> Run:
    """Both drive the same motorway in opposite directions and pass each other once."""
    rng = stream(seed, "oncoming")
    speeds = SPEED_M_S[Mode.MOTORWAY] * rng.uniform(0.85, 1.15, 2)
    end = (LENGTH_M, 1_500.0)
    wearer = straight(START_MS, (0.0, 0.0), end, Mode.MOTORWAY, float(speeds[0]))
    protected = straight(
        START_MS, (end[0], end[1] + 25.0), (0.0, 25.0), Mode.MOTORWAY, float(speeds[1])
    )
    return _run("oncoming", seed, wearer, protected, "motorway")


def train(seed: int) -> Run:
    """Both sit in one train, some carriages apart; it stops on the way."""
    rng = stream(seed, "train")
    carriages_m = float(rng.uniform(10.0, 180.0))
    route = PathBuilder(START_MS, 0.0, 0.0, Environment.SUBURB).stay(START_MS + 3 * MINUTE_MS)
    for stop in range(1, 5):
        goal = (stop * 9_000.0, stop * 1_500.0)
        route.go([goal], SPEED_M_S[Mode.TRAIN], Mode.TRAIN, Environment.VEHICLE)
        route.stay(route.now_ms + 90_000)
    wearer = route.build()
    protected = Path(
        wearer.t_ms, wearer.x_m - carriages_m, wearer.y_m, wearer.environment, wearer.mode
    )
    return _run("train", seed, wearer, protected, "train")


def festival(seed: int) -> Run:
    """Both wander over one festival ground for an hour."""
    rng = stream(seed, "festival")
    return _run("festival", seed, _wander(rng), _wander(rng), "festival")


def _wander(rng: np.random.Generator) -> Path:
    place = rng.uniform(-GROUND_M, GROUND_M, 2)
    arrives = (float(place[0] * 8.0), float(place[1] * 8.0))
    route = PathBuilder(START_MS, *arrives, Environment.OPEN_SKY).stay(START_MS + 4 * MINUTE_MS)
    while route.now_ms < START_MS + 60 * MINUTE_MS:
        goal = rng.uniform(-GROUND_M, GROUND_M, 2)
        speed = SPEED_M_S[Mode.WALK] * float(rng.uniform(0.5, 1.0))
        route.go([(float(goal[0]), float(goal[1]))], speed, Mode.WALK, Environment.OPEN_SKY)
        route.stay(route.now_ms + round(float(rng.exponential(6.0)) * MINUTE_MS))
    return route.build()


def coincidences(seed: int) -> list[Run]:
    """Return the coincidences of one seed."""
    return [motorway(seed), oncoming(seed), train(seed), festival(seed)]
