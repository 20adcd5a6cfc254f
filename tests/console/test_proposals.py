"""Orders by the API: checked, four eyes, what they would have meant."""

import msgspec
import pytest

from alerting.book.roles import Role
from geofence.orders import CircleShape, Zone
from tests.afstand.journal import LAT_E7, LON_E7, METRE_E7, START_MS, order


def square(north_m: float, size_m: float) -> dict:
    """A square polygon as GeoJSON, `size_m` wide, its middle so far north."""
    half_lat = size_m / 2 / 111_195
    half_lon = half_lat / 0.6166
    lat, lon = (LAT_E7 + north_m * METRE_E7) / 1e7, LON_E7 / 1e7
    ring = [[lon + x * half_lon, lat + y * half_lat]
            for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))]  # fmt: skip
    return {"type": "Polygon", "coordinates": [ring]}


def proposal(**changes):
    terms = msgspec.to_builtins(order(id="ban-2", zone_ids=("zone-2",)))
    zone = {"id": "zone-2", "version": 1, "name": "park", "geometry": square(1_000, 400)}
    return {"order": terms | changes, "zones": [zone], "reason": "court order 12"}


def test_an_order_is_drawn_by_one_and_counts_after_another(site):
    anna = site.as_role(Role.SUPERVISOR, "anna")
    made = anna.post("/v1/order-proposals", json=proposal())
    assert made.status_code == 201
    where = made.headers["location"]
    assert anna.get(where).json()["state"] == "proposed"
    own = anna.post(f"{where}/decisions", json={"approved": True})
    assert (own.status_code, own.json()["code"]) == (409, "conflict")
    bert = site.as_role(Role.SHIFT_LEAD, "bert")
    (listed,) = bert.get("/v1/order-proposals").json()["proposals"]
    assert (listed["by"], listed["reason"]) == ("anna", "court order 12")
    assert bert.get("/v1/orders/ban-2").status_code == 404
    assert bert.post(f"{where}/decisions", json={"approved": True}).is_success
    shown = bert.get("/v1/orders/ban-2").json()
    assert shown["order"]["state"] == "active"
    assert shown["zones"][0]["geometry"]["type"] == "Polygon"
    again = bert.post(f"{where}/decisions", json={"approved": True})
    assert again.status_code == 409


def test_a_declined_order_counts_never(site):
    anna, bert = site.as_role(Role.SUPERVISOR, "anna"), site.as_role(Role.PROSECUTOR, "bert")
    where = anna.post("/v1/order-proposals", json=proposal()).headers["location"]
    said = {"approved": False, "reason": "too wide"}
    assert bert.post(f"{where}/decisions", json=said).is_success
    shown = anna.get(where).json()
    assert (shown["state"], shown["decided_by"], shown["decision_reason"]) == (
        "declined", "bert", "too wide",
    )  # fmt: skip
    assert bert.get("/v1/orders/ban-2").status_code == 404


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"wearer_id": "nobody"}, "order.wearer_id"),
        ({"zone_ids": ["zone-2", "nowhere"]}, "order.zone_ids"),
        ({"valid_to_ms": START_MS - 5_000}, "order.valid_to_ms"),
        ({"plan_id": "none"}, "order.plan_id"),
        ({"id": "ban", "version": 1}, "order.version"),
        ({"radius_m": 500}, "order.radius_m"),
        ({"zone_ids": ["zone"]}, "zones.0.id"),
    ],
)
def test_what_is_wrong_with_an_order_is_told_by_field(site, changes, field):
    anna = site.as_role(Role.SUPERVISOR)
    answer = anna.post("/v1/order-proposals", json=proposal(**changes))
    assert answer.status_code == 400
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert site.room.model.world.proposals == {}


@pytest.mark.parametrize(
    "geometry",
    [
        {"type": "Point", "coordinates": [4.5, 51.9]},
        {"type": "Polygon", "coordinates": [[[4.5, 51.9], [4.6, 51.9], [4.5, 51.9]]]},
        {"type": "Polygon", "coordinates": [[[500, 51.9], [4.6, 51.9], [4.6, 52], [500, 51.9]]]},
        {"type": "Nonsense"},
        {},
    ],
)
def test_a_geometry_that_is_no_area_is_refused(site, geometry):
    said = proposal()
    said["zones"][0]["geometry"] = geometry
    answer = site.as_role(Role.SUPERVISOR).post("/v1/order-proposals", json=said)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"].startswith("zones.0")


def test_feasibility_is_the_share_of_minutes_that_would_have_been_a_breach(site):
    journal = site.room.journal
    # 60 minutes: the first 15 within 300 m of each other, then far; ten of them unseen.
    for minute in range(60):
        near = minute < 15
        if not 30 <= minute < 45:
            site.room.frames(
                journal.fix("victim-2", 2, 0.0),
                journal.fix("tag-1", 1, 200.0 if near else 5_000.0),
            )
        journal.pass_s(60)
    lead = site.as_role(Role.SHIFT_LEAD)
    asked = {"kind": "contact-ban", "wearer_id": "wim", "protected_ids": ["vera"],
             "radius_m": 300, "hours": 1}  # fmt: skip
    found = lead.post("/v1/feasibility-checks", json=asked).json()
    # A fix counts for five minutes, so of the 15 silent minutes ten are unseen.
    assert found["minutes_compared"] == 60 - 10
    assert found["longest_breach_min"] == 15
    assert found["breach_pct"] == pytest.approx(100 * 15 / 50, abs=0.1)
    assert found["complete"]
    assert [line.what for line in site.link.log] == ["feasibility"]
    # Who may not see the protected person's place gets no exact share.
    rounded = site.as_role(Role.SUPERVISOR).post("/v1/feasibility-checks", json=asked).json()
    assert rounded["breach_pct"] % 5 == 0
    area = {"kind": "area-ban", "wearer_id": "wim", "hours": 1,
            "zones": [{"id": "z", "geometry": square(200, 150)}]}  # fmt: skip
    found = lead.post("/v1/feasibility-checks", json=area).json()
    assert found["longest_breach_min"] == 15
    circle = Zone(id="z", circle=CircleShape(lat_e7=LAT_E7, lon_e7=LON_E7, radius_m=1_000))
    home = {"kind": "location-order", "wearer_id": "wim", "hours": 1,
            "zones": [msgspec.to_builtins(circle)]}  # fmt: skip
    found = lead.post("/v1/feasibility-checks", json=home).json()
    assert found["breach_pct"] == pytest.approx(100 * 35 / 50, abs=0.1)
