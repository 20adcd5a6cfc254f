"""Metres around a centre, and true distances on the WGS84 ellipsoid.

Independent of `geofence`: what is computed here is the ground truth that the engine is judged
against.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

EQUATOR_M: Final = 6_378_137.0
FLATTENING: Final = 1.0 / 298.257223563
ECCENTRICITY2: Final = FLATTENING * (2.0 - FLATTENING)


def metres_per_degree(lat_deg: Any) -> tuple[Any, Any]:
    """Metres per degree of latitude and of longitude at a latitude (number or array).

    From the meridian and the normal radius of curvature.
    """
    phi = np.radians(lat_deg)
    w2 = 1.0 - ECCENTRICITY2 * np.sin(phi) ** 2
    meridian_m = EQUATOR_M * (1.0 - ECCENTRICITY2) / w2**1.5
    normal_m = EQUATOR_M / np.sqrt(w2)
    degree = np.radians(1.0)
    return degree * meridian_m, degree * normal_m * np.cos(phi)


class LocalPlane:
    """East (x) and north (y) metres around a centre.

    The map is affine in degrees, so an edge that is straight in a GeoJSON file (RFC 7946, section
    3.1.1) is straight here too and "inside" means the same in both. Lengths are true at the centre
    and 0.2 % off 10 km north of it, which is why distances between persons are taken with
    `separation_m`.
    """

    __slots__ = ("lat_deg", "lat_m", "lon_deg", "lon_m")

    def __init__(self, lat_deg: float, lon_deg: float) -> None:
        if not (-80.0 <= lat_deg <= 80.0 and -180.0 <= lon_deg <= 180.0):
            raise ValueError(f"centre out of range: {lat_deg}, {lon_deg}")
        self.lat_deg = lat_deg
        self.lon_deg = lon_deg
        lat_m, lon_m = metres_per_degree(lat_deg)
        self.lat_m, self.lon_m = float(lat_m), float(lon_m)

    def degrees(self, x_m: float, y_m: float) -> tuple[float, float]:
        """Latitude and longitude in degrees of a point in metres."""
        return self.lat_deg + y_m / self.lat_m, self.lon_deg + x_m / self.lon_m

    def e7(self, x_m: float, y_m: float) -> tuple[int, int]:
        """Latitude and longitude in degrees x 1e7, as they go on the wire."""
        lat, lon = self.degrees(x_m, y_m)
        return round(lat * 1e7), round(lon * 1e7)

    def metres(self, lat_deg: float, lon_deg: float) -> tuple[float, float]:
        """East and north metres of a point in degrees."""
        return (lon_deg - self.lon_deg) * self.lon_m, (lat_deg - self.lat_deg) * self.lat_m

    def degrees_many(self, x_m: Floats, y_m: Floats) -> tuple[Floats, Floats]:
        """`degrees` for arrays."""
        return self.lat_deg + y_m / self.lat_m, self.lon_deg + x_m / self.lon_m

    def metres_many(self, lat_deg: Floats, lon_deg: Floats) -> tuple[Floats, Floats]:
        """`metres` for arrays."""
        return (lon_deg - self.lon_deg) * self.lon_m, (lat_deg - self.lat_deg) * self.lat_m


def earth_fixed(lat_deg: Any, lon_deg: Any) -> tuple[Any, Any, Any]:
    """Earth-centred, earth-fixed metres of points on the ellipsoid (scalars or arrays)."""
    phi, lam = np.radians(lat_deg), np.radians(lon_deg)
    normal_m = EQUATOR_M / np.sqrt(1.0 - ECCENTRICITY2 * np.sin(phi) ** 2)
    return (
        normal_m * np.cos(phi) * np.cos(lam),
        normal_m * np.cos(phi) * np.sin(lam),
        normal_m * (1.0 - ECCENTRICITY2) * np.sin(phi),
    )


def separation_m(lat_a: Any, lon_a: Any, lat_b: Any, lon_b: Any) -> Any:
    """Straight-line distance in metres (0.1 mm below the geodesic at 5 km)."""
    xa, ya, za = earth_fixed(lat_a, lon_a)
    xb, yb, zb = earth_fixed(lat_b, lon_b)
    return np.sqrt((xa - xb) ** 2 + (ya - yb) ** 2 + (za - zb) ** 2)
