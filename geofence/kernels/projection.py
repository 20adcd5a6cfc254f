"""WGS84 to a plane in millimetres: RD New in the Netherlands, a local plane elsewhere.

RD New (EPSG:28992) is WGS84 -> ECEF -> Helmert "Amersfoort to WGS 84 (4)" -> Bessel 1841 ->
oblique stereographic (EPSG guidance note 7-2, method 9809). The correction grid RDNAPTRANS is left
out: 7 cm in the mean, 22 cm at most, against metres of GNSS error.

A local plane is the stereographic projection of the tangent plane at an origin on the WGS84
ellipsoid, taken through ECEF: east and north of the tangent plane times 2 R / (2 R + up), R the
Gaussian radius of the origin.

In both planes the chord between two points of the earth is their distance in the plane / sqrt(k(p)
k(q)), where k = k0 + q0 r^2 and r is the distance to the centre of the plane: the identity of the
stereographic projection, exact on the sphere. So a distance stays right far outside the
Netherlands, and on the other side of the earth it is below the truth only by what a chord is below
its arc (0.1 % at 1,000 km).

A plane is one row of PLANE_COLUMNS float64 (columns P_ below); row 0 of every ZoneSet is RD.
Degrees in, because zones have more digits than fixes; constants are literals, because a derived
one could differ in its last bit.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from afstand.compile import jit, jit_inline
from geofence.kernels.elementary import arctan2, log, sin_cos_degrees

# Columns of a plane.
P_KIND: Final = 0  # 0 RD, 1 local
P_K0: Final = 1  # scale at the centre
P_Q0: Final = 2  # growth of the scale per square millimetre of distance to the centre
P_CENTRE_X: Final = 3  # millimetres
P_CENTRE_Y: Final = 4
P_DIAMETER: Final = 5  # 2 R, metres
P_ORIGIN: Final = 6  # ECEF of the origin, 3 columns, metres
P_EAST: Final = 9  # unit vectors, 3 columns each
P_NORTH: Final = 12
P_UP: Final = 15
PLANE_COLUMNS: Final = 18

# RD answers for zones that lie in this box of degrees: the Netherlands, its sea and a margin
# abroad.
RD_WEST_DEG: Final = 2.5
RD_EAST_DEG: Final = 8.0
RD_SOUTH_DEG: Final = 50.0
RD_NORTH_DEG: Final = 56.0

_WGS_A: Final = 6378137.0
_WGS_E2: Final = 0.006694379990141317

_BESSEL_E: Final = 0.0816968312225275
_BESSEL_A: Final = 6377397.155
_BESSEL_B: Final = 6356078.962818188
_BESSEL_E2_A: Final = 0.006674372231802145 * 6377397.155
_BESSEL_EP2_B: Final = 0.006674372231802145 / (1.0 - 0.006674372231802145) * 6356078.962818188

# Amersfoort to WGS 84 (4), EPSG:4833, coordinate frame rotation; used backwards.
_SHIFT_X: Final = 565.4171
_SHIFT_Y: Final = 50.3319
_SHIFT_Z: Final = 465.5524
_ARCSECOND: Final = 4.84813681109536e-06
_TURN_X: Final = 0.398957388243134 * _ARCSECOND
_TURN_Y: Final = -0.343987817378283 * _ARCSECOND
_TURN_Z: Final = 1.87740163998045 * _ARCSECOND
_SHRINK: Final = 1.0 / (1.0 + 4.0725e-6)

# Origin 52d09'22.178" N 5d23'15.5" E on the conformal sphere of Gauss: radius, exponent, constant,
# sine and cosine.
_SPHERE_R: Final = 6382644.571035366
_GAUSS_N: Final = 0.0004758566842446706  # exponent minus 1
_GAUSS_K: Final = 1.003781084162722
_SIN_CHI0: Final = 0.7893102212553775
_COS_CHI0: Final = 0.6139946047171644
_SIN_LON0: Final = 0.09389352651299114
_COS_LON0: Final = 0.995582244557904
_RD_K0: Final = 0.9999079
_RD_EAST_M: Final = 155000.0
_RD_NORTH_M: Final = 463000.0
_RD_DIAMETER: Final = 2.0 * _RD_K0 * _SPHERE_R

# A coordinate near the antipode of a centre is cut here: finite, and further away than anything on
# the earth.
_FAR_M: Final = 1e12


@jit_inline
def _ecef(lat_deg: float, lon_deg: float) -> tuple[float, float, float]:
    """Point of the WGS84 ellipsoid, metres."""
    sin_lat, cos_lat = sin_cos_degrees(lat_deg)
    sin_lon, cos_lon = sin_cos_degrees(lon_deg)
    n = _WGS_A / math.sqrt(1.0 - _WGS_E2 * sin_lat * sin_lat)
    return n * cos_lat * cos_lon, n * cos_lat * sin_lon, n * (1.0 - _WGS_E2) * sin_lat


@jit_inline
def _millimetres(metres: float) -> int:
    return math.floor(min(max(metres, -_FAR_M), _FAR_M) * 1000.0 + 0.5)


@jit_inline
def _rd(lat_deg: float, lon_deg: float) -> tuple[float, float]:
    """RD in metres."""
    wx, wy, wz = _ecef(lat_deg, lon_deg)
    hx = (wx - _SHIFT_X) * _SHRINK
    hy = (wy - _SHIFT_Y) * _SHRINK
    hz = (wz - _SHIFT_Z) * _SHRINK
    x = hx - _TURN_Z * hy + _TURN_Y * hz
    y = hy + _TURN_Z * hx - _TURN_X * hz
    z = hz - _TURN_Y * hx + _TURN_X * hy
    # Latitude on Bessel by one step of Bowring, without an angle: at zero height its error is
    # below a nanometre.
    p = math.sqrt(x * x + y * y)
    sin_t = z * _BESSEL_A
    cos_t = p * _BESSEL_B
    h = 1.0 / math.sqrt(sin_t * sin_t + cos_t * cos_t)
    sin_t *= h
    cos_t *= h
    top = z + _BESSEL_EP2_B * sin_t * sin_t * sin_t
    bottom = p - _BESSEL_E2_A * cos_t * cos_t * cos_t
    h = 1.0 / math.sqrt(top * top + bottom * bottom)
    s = top * h
    c = max(bottom * h, 1e-12)
    # t = tan(chi / 2 + pi / 4), chi the latitude on the sphere: a ratio times the exponential of a
    # small number.
    ratio = (1.0 + s) / c if s >= 0.0 else c / (1.0 - s)
    u = _BESSEL_E * s
    uu = u * u
    # -2 atanh(u), the logarithm of (1 - u) / (1 + u); |u| < 0.0817 makes seven terms exact.
    atanh = u * (
        1.0
        + uu
        * (
            1.0 / 3.0
            + uu
            * (0.2 + uu * (1.0 / 7.0 + uu * (1.0 / 9.0 + uu * (1.0 / 11.0 + uu * (1.0 / 13.0)))))
        )
    )
    w = _GAUSS_N * log(ratio) - (1.0 + _GAUSS_N) * _BESSEL_E * atanh
    expw = 1.0 + w * (
        1.0 + w * (0.5 + w * (1.0 / 6.0 + w * (1.0 / 24.0 + w * (1.0 / 120.0 + w * (1.0 / 720.0)))))
    )
    t = _GAUSS_K * ratio * expw
    # Longitude from the origin times the exponent, by turning: first to the origin, then by the
    # small rest.
    inverse = 1.0 / max(p, 1e-6)
    sin_l = (y * _COS_LON0 - x * _SIN_LON0) * inverse
    cos_l = (x * _COS_LON0 + y * _SIN_LON0) * inverse
    d = _GAUSS_N * arctan2(sin_l, cos_l)
    dd = d * d
    sin_d = d * (1.0 - dd * (1.0 / 6.0 - dd * (1.0 / 120.0)))
    cos_d = 1.0 - dd * (0.5 - dd * (1.0 / 24.0))
    sin_n = sin_l * cos_d + cos_l * sin_d
    cos_n = cos_l * cos_d - sin_l * sin_d
    # Stereographic, everything times t^2 + 1.
    tt = t * t
    sin_chi = tt - 1.0
    cos_chi = 2.0 * t
    m = tt + 1.0 + _SIN_CHI0 * sin_chi + _COS_CHI0 * cos_chi * cos_n
    k = _RD_DIAMETER / max(m, 1e-12)
    return (
        _RD_EAST_M + k * cos_chi * sin_n,
        _RD_NORTH_M + k * (_COS_CHI0 * sin_chi - _SIN_CHI0 * cos_chi * cos_n),
    )


@jit_inline
def _local(plane: npt.NDArray[np.float64], lat_deg: float, lon_deg: float) -> tuple[float, float]:
    """Stereographic plane of one row, metres."""
    x, y, z = _ecef(lat_deg, lon_deg)
    x -= plane[P_ORIGIN]
    y -= plane[P_ORIGIN + 1]
    z -= plane[P_ORIGIN + 2]
    up = x * plane[P_UP] + y * plane[P_UP + 1] + z * plane[P_UP + 2]
    f = plane[P_DIAMETER] / max(plane[P_DIAMETER] + up, 1e-6)
    return (
        f * (x * plane[P_EAST] + y * plane[P_EAST + 1] + z * plane[P_EAST + 2]),
        f * (x * plane[P_NORTH] + y * plane[P_NORTH + 1] + z * plane[P_NORTH + 2]),
    )


@jit
def rd_from_degrees(lat_deg: float, lon_deg: float) -> tuple[int, int]:
    """RD New of a position in degrees, millimetres."""
    x, y = _rd(lat_deg, lon_deg)
    return _millimetres(x), _millimetres(y)


@jit
def rd_from_wgs84(lat_e7: int, lon_e7: int) -> tuple[int, int]:
    """RD New of a position in degrees x 1e7, millimetres. Defined on the whole earth."""
    x, y = _rd(lat_e7 / 1e7, lon_e7 / 1e7)
    return _millimetres(x), _millimetres(y)


@jit
def rd_from_wgs84_many(
    lat_e7: npt.NDArray[np.int32],
    lon_e7: npt.NDArray[np.int32],
    x_mm: npt.NDArray[np.int64],
    y_mm: npt.NDArray[np.int64],
) -> None:
    """RD New of n positions into x_mm[n], y_mm[n]; all lanes at once."""
    for i in range(lat_e7.size):
        x, y = _rd(lat_e7[i] / 1e7, lon_e7[i] / 1e7)
        x_mm[i] = _millimetres(x)
        y_mm[i] = _millimetres(y)


@jit
def plane_from_degrees(
    plane: npt.NDArray[np.float64], lat_deg: float, lon_deg: float
) -> tuple[int, int]:
    """Position in the plane of one row, millimetres."""
    if plane[P_KIND] == 0.0:
        x, y = _rd(lat_deg, lon_deg)
    else:
        x, y = _local(plane, lat_deg, lon_deg)
    return _millimetres(x), _millimetres(y)


@jit
def plane_from_degrees_many(
    plane: npt.NDArray[np.float64],
    lat_deg: npt.NDArray[np.float64],
    lon_deg: npt.NDArray[np.float64],
    x_mm: npt.NDArray[np.int64],
    y_mm: npt.NDArray[np.int64],
) -> None:
    """Positions in the plane of one row into x_mm[n], y_mm[n]: the vertices of a zone."""
    for i in range(lat_deg.size):
        x_mm[i], y_mm[i] = plane_from_degrees(plane, lat_deg[i], lon_deg[i])


@jit
def scale_at(plane: npt.NDArray[np.float64], x_mm: int, y_mm: int) -> float:
    """Scale k of the plane at a point: metres in the plane per metre on the earth."""
    dx = x_mm - plane[P_CENTRE_X]
    dy = y_mm - plane[P_CENTRE_Y]
    return float(plane[P_K0] + plane[P_Q0] * (dx * dx + dy * dy))


@jit
def chord_mm(lat1_e7: int, lon1_e7: int, lat2_e7: int, lon2_e7: int) -> int:
    """Straight line between two positions on the ellipsoid, millimetres.

    Below the arc by 0.1 mm at 5 km.
    """
    ax, ay, az = _ecef(lat1_e7 / 1e7, lon1_e7 / 1e7)
    bx, by, bz = _ecef(lat2_e7 / 1e7, lon2_e7 / 1e7)
    dx = ax - bx
    dy = ay - by
    dz = az - bz
    return math.floor(math.sqrt(dx * dx + dy * dy + dz * dz) * 1000.0 + 0.5)


@jit
def rd_plane(row: npt.NDArray[np.float64]) -> None:
    """Write the row of RD."""
    row[:] = 0.0
    row[P_K0] = _RD_K0
    row[P_Q0] = 1e-6 / (2.0 * _SPHERE_R * _RD_DIAMETER)
    row[P_CENTRE_X] = 1000.0 * _RD_EAST_M
    row[P_CENTRE_Y] = 1000.0 * _RD_NORTH_M
    row[P_DIAMETER] = _RD_DIAMETER


@jit
def local_plane(row: npt.NDArray[np.float64], lat_deg: float, lon_deg: float) -> None:
    """Write the row of a local plane with this origin."""
    sin_lat, cos_lat = sin_cos_degrees(lat_deg)
    sin_lon, cos_lon = sin_cos_degrees(lon_deg)
    w2 = 1.0 - _WGS_E2 * sin_lat * sin_lat
    # Gaussian radius sqrt(M N): the sphere that fits best in all directions together.
    diameter = 2.0 * _WGS_A * math.sqrt(1.0 - _WGS_E2) / w2
    row[P_KIND] = 1.0
    row[P_K0] = 1.0
    row[P_Q0] = 1e-6 / (diameter * diameter)
    row[P_CENTRE_X] = 0.0
    row[P_CENTRE_Y] = 0.0
    row[P_DIAMETER] = diameter
    row[P_ORIGIN], row[P_ORIGIN + 1], row[P_ORIGIN + 2] = _ecef(lat_deg, lon_deg)
    row[P_EAST] = -sin_lon
    row[P_EAST + 1] = cos_lon
    row[P_EAST + 2] = 0.0
    row[P_NORTH] = -sin_lat * cos_lon
    row[P_NORTH + 1] = -sin_lat * sin_lon
    row[P_NORTH + 2] = cos_lat
    row[P_UP] = cos_lat * cos_lon
    row[P_UP + 1] = cos_lat * sin_lon
    row[P_UP + 2] = sin_lat
