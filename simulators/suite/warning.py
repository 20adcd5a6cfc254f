"""A car that comes straight at 50 km/h: how long before they meet something was told."""

from typing import Final

from simulators.paths import Environment, Mode, PathBuilder, standing
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
from simulators.suite.places import PLACES, Place
from simulators.suite.queensland import RADIUS_M, TIME_TO_CONTACT_S, WARNING_M

SPEED_M_S: Final = 50.0 / 3.6
FROM_M: Final = (6_000.0, 12_000.0)


def car_approach(seed: int, place: Place) -> Run:
    """The wearer drives at 50 km/h to where the protected person is at home, and stays there."""
    rng = stream(seed, "car-approach", place.name)
    wearer, protected = (f"a{seed}-{place.name}-{part}" for part in "wp")
    start = (-float(rng.uniform(*FROM_M)), float(rng.uniform(-300.0, 300.0)))
    route = PathBuilder(START_MS, *start, place.outdoors)
    route.stay(START_MS + round(float(rng.uniform(3.0, 6.0)) * MINUTE_MS))
    route.go([(0.0, 8.0)], SPEED_M_S, Mode.CAR, Environment.VEHICLE)
    path = route.stay(route.now_ms + 4 * MINUTE_MS, place.outdoors).build()
    home = standing(START_MS, 0.0, 0.0, place.indoors)
    ban = order(
        f"{wearer}-contact", "contact-ban", wearer, START_MS, protected_ids=[protected],
        radius_m=RADIUS_M, warning_m=WARNING_M, time_to_contact_s=TIME_TO_CONTACT_S,
    )  # fmt: skip
    return finish(
        family="warning", name="car-approach", place=place.name, seed=seed, plane=place.plane,
        start_ms=START_MS, end_ms=path.end_ms, persons={wearer: path, protected: home},
        devices=[Carried(wearer, WEARER, path), Carried(protected, PROTECTED, home)],
        orders=[ban],
    )  # fmt: skip


def car_approaches(seed: int) -> list[Run]:
    """Return the approach by car of one seed in every place."""
    return [car_approach(seed, place) for place in PLACES]
