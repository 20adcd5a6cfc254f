"""Where two persons would meet, if both went on as they go now. Pure; a picture, not a verdict.

The engine decides with the evidence of many fixes; this only draws what the last two fixes say.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from console.views import FixView, PersonPosition

EARTH_M: Final = 6_371_008.8
AHEAD_S: Final = 3_600.0
STILL_M_S: Final = 0.3


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """The last two fixes and what follows from them.

    `distance_m`: between the two points, `least_m` and `most_m` when both are elsewhere in their
    circles (68 %). `closest_s`, `closest_m`, `at`: when, how near and where they are nearest; None:
    they do not approach, or nobody's speed is known.
    """

    distance_m: float
    least_m: float
    most_m: float
    closing_m_s: float | None = None
    closest_s: float | None = None
    closest_m: float | None = None
    lat_e7: int | None = None
    lon_e7: int | None = None


def contact(views: Sequence[PersonPosition], wearer_id: str, protected_id: str) -> Contact | None:
    """Compare the newest fix of each; None when either has none."""
    wearer, protected = _newest(views, wearer_id), _newest(views, protected_id)
    if wearer is None or protected is None:
        return None
    x_m, y_m = offset_m(wearer, protected)
    distance_m = math.hypot(x_m, y_m)
    slack_m = (wearer.accuracy_m or 0.0) + (protected.accuracy_m or 0.0)
    moving = _velocity(wearer), _velocity(protected)
    now = Contact(
        distance_m=round(distance_m, 1),
        least_m=round(max(0.0, distance_m - slack_m), 1),
        most_m=round(distance_m + slack_m, 1),
    )
    if moving[0] is None and moving[1] is None:
        return now
    own, other = moving[0] or (0.0, 0.0), moving[1] or (0.0, 0.0)
    # The protected person as seen from the wearer moves with this velocity.
    u_m_s, v_m_s = other[0] - own[0], other[1] - own[1]
    towards = -(x_m * u_m_s + y_m * v_m_s)
    closing = round(towards / distance_m, 2) if distance_m else 0.0
    speed2 = u_m_s**2 + v_m_s**2
    after_s = towards / speed2 if speed2 > STILL_M_S**2 else -1.0
    if not 0 < after_s < AHEAD_S:
        return msgspec.structs.replace(now, closing_m_s=closing)
    lat_e7, lon_e7 = moved(wearer, own[0] * after_s, own[1] * after_s)
    return msgspec.structs.replace(
        now,
        closing_m_s=closing,
        closest_s=round(after_s, 1),
        closest_m=round(math.hypot(x_m + u_m_s * after_s, y_m + v_m_s * after_s), 1),
        lat_e7=lat_e7,
        lon_e7=lon_e7,
    )


def _newest(views: Sequence[PersonPosition], person_id: str) -> FixView | None:
    fixes = [view.fix for view in views if view.person_id == person_id and view.fix is not None]
    return max(fixes, key=lambda fix: fix.time_ms, default=None)


def _velocity(fix: FixView) -> tuple[float, float] | None:
    """East and north in m/s; None when the device did not say."""
    if fix.speed_m_s is None or (fix.heading_deg is None and fix.speed_m_s > STILL_M_S):
        return None
    angle = math.radians(fix.heading_deg or 0.0)
    return fix.speed_m_s * math.sin(angle), fix.speed_m_s * math.cos(angle)


def offset_m(of: FixView, other: FixView) -> tuple[float, float]:
    """East and north of `other` as seen from `of`, in metres; good to a few tens of kilometres."""
    lat = math.radians((of.lat_e7 + other.lat_e7) / 2e7)
    east = math.radians((other.lon_e7 - of.lon_e7) / 1e7) * math.cos(lat) * EARTH_M
    north = math.radians((other.lat_e7 - of.lat_e7) / 1e7) * EARTH_M
    return east, north


def moved(fix: FixView, east_m: float, north_m: float) -> tuple[int, int]:
    """A place so many metres away, as degrees x 1e7."""
    lat = fix.lat_e7 / 1e7 + math.degrees(north_m / EARTH_M)
    lon = fix.lon_e7 / 1e7 + math.degrees(
        east_m / EARTH_M / math.cos(math.radians(fix.lat_e7 / 1e7))
    )
    return round(lat * 1e7), round(lon * 1e7)
