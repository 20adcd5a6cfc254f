"""Five kinds of place in which the runs are played: what the sky and the network are like there."""

from typing import Final, NamedTuple

from simulators.geo import LocalPlane
from simulators.paths import Environment


class Place(NamedTuple):
    """One kind of place. `indoors` is where a person at home sits."""

    name: str
    lat_deg: float
    lon_deg: float
    outdoors: Environment
    indoors: Environment

    @property
    def plane(self) -> LocalPlane:
        """Metres around the place."""
        return LocalPlane(self.lat_deg, self.lon_deg)


PLACES: Final = (
    Place("polder", 51.78, 4.02, Environment.OPEN_SKY, Environment.SUBURB),
    Place("suburb", 51.86, 4.54, Environment.SUBURB, Environment.SUBURB),
    Place("flats", 52.31, 4.97, Environment.SUBURB, Environment.WINDOW),
    Place("centre", 51.92, 4.48, Environment.CANYON, Environment.WINDOW),
    Place("border", 50.87, 6.06, Environment.SUBURB, Environment.WINDOW),
)
