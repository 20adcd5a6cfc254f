"""Compiling every kernel before the service is ready, by using each of them once."""

import numpy as np

from geofence.engine import Engine, FixBatch
from geofence.orders import CircleShape, Order, Role, Zone
from geofence.verdicts import OrderKind

_START_MS = 1_700_000_000_000
_LAT, _LON = 519_200_000, 44_700_000
_SQUARE = {
    "type": "Polygon",
    "coordinates": [[[4.4, 51.9], [4.5, 51.9], [4.5, 52.0], [4.4, 52.0], [4.4, 51.9]]],
}


def warm_up() -> None:
    """Run a tiny engine through fixes, edges and silence, so that nothing compiles later."""
    engine = Engine()
    for name, role in (("w", Role.WEARER), ("p", Role.PROTECTED)):
        engine.put_person(name, role)
    circle = CircleShape(lat_e7=_LAT, lon_e7=_LON, radius_m=500)
    engine.put_zone(Zone(id="z", circle=circle), _START_MS)
    engine.put_zone(Zone(id="polygon", geometry=_SQUARE), _START_MS)
    for kind, zones, protected, radius in (
        (OrderKind.AREA_BAN, ("z",), (), 0),
        (OrderKind.LOCATION_ORDER, ("z",), (), 0),
        (OrderKind.CONTACT_BAN, (), ("p",), 500),
    ):
        order = Order(
            id=kind.value,
            kind=kind,
            wearer_id="w",
            protected_ids=protected,
            zone_ids=zones,
            radius_m=radius,
            valid_from_ms=_START_MS,
            signed_at_ms=_START_MS,
            served_at_ms=_START_MS,
            plan_id="plan",
        )
        engine.put_order(order, _START_MS)
    for step in (1, 2, 0):
        engine.observe(_fixes(_START_MS + step * 60_000), _START_MS + 180_000)
    engine.next_due_ms()
    engine.advance(_START_MS + 900_000)


def _fixes(time_ms: int) -> FixBatch:
    one = np.ones(2, np.int64)
    return FixBatch(
        person=np.array([0, 1]),
        time_ms=one * time_ms,
        lat_e7=one * _LAT,
        lon_e7=one * _LON,
        accuracy_dm=one * 50,
        speed_cm_s=one * 65535,
        heading_cdeg=one * 65535,
        mechanism=one,
    )
