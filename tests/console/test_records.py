"""Rosters and zones as the console knows them."""

import msgspec

from alerting.book.roles import Role
from alerting.book.types import DefineRoster
from console.model.model import Model

HOUR_MS = 3_600_000


def roster(**changes):
    weekly = [{"day": day, "start": "07:00", "end": "23:00"} for day in range(7)]
    made = {
        "format": "afstand.roster/1", "id": "night-desk", "timezone": "UTC",
        "shifts": [{"targets": ["desk-a", "desk-b"], "weekly": weekly}],
        "otherwise": ["duty-officer"],
    }  # fmt: skip
    return DefineRoster(roster=msgspec.json.encode(made | changes))


def test_rosters_say_who_is_on_duty_now_and_when_nobody_is(site):
    site.room.command(roster())
    me = site.as_role(Role.OPERATOR)
    found = me.get("/v1/rosters").json()
    (one,) = found["rosters"]
    hour = found["now_ms"] // HOUR_MS % 24
    assert one["on_duty"] == (["desk-a", "desk-b"] if 7 <= hour < 23 else ["duty-officer"])
    # Every night of the fortnight, 23:00 to 07:00 UTC, is a gap; the first and last may be cut.
    whole = [gap["to_ms"] - gap["from_ms"] for gap in one["gaps"][1:-1]]
    assert whole == [8 * HOUR_MS] * len(whole)
    assert 12 <= len(whole) <= 13
    assert [gap["from_ms"] // HOUR_MS % 24 for gap in one["gaps"][1:]] == [23] * (len(whole) + 1)
    assert site.as_role(Role.POLICE).get("/v1/rosters").status_code == 403


def test_a_roster_that_the_book_refuses_is_none_and_a_later_one_counts(site):
    site.room.command(roster())
    site.room.command(roster(shifts=[]))
    model = site.room.model
    assert list(model.world.rosters) == ["night-desk"]
    assert len(model.world.rosters["night-desk"].shifts) == 1
    site.room.command(roster(otherwise=[]))
    assert model.world.rosters["night-desk"].otherwise == ()
    assert Model.load_dump(model.dump()).world.rosters == model.world.rosters


def test_zones_are_listed_with_the_orders_that_name_them(site):
    me = site.as_role(Role.SUPERVISOR)
    found = me.get("/v1/zones").json()
    world = site.room.model.world
    assert [one["id"] for one in found["zones"]] == sorted(world.zones)
    for one in found["zones"]:
        naming = {
            order for order, versions in world.orders.items()
            if one["id"] in versions[-1].order.zone_ids
        }  # fmt: skip
        assert set(one["order_ids"]) == naming
        assert "geometry" not in one
    assert me.get("/v1/zones", params={"search": "nowhere"}).json()["zones"] == []
