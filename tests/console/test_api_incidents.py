"""The API around incidents: what operators see and do, and what the watch makes of it."""

import pytest

from alerting.book.roles import Role
from alerting.book.types import Receipt, ReceiptStatus
from firmware_contracts import EventCode
from tests.afstand.journal import LAT_E7
from tests.console.site import press


def test_an_operator_handles_a_press_from_queue_to_closed(site):
    incident_id = press(site)
    me = site.as_role(Role.OPERATOR, "op-1")
    queue = me.get("/v1/incidents").json()
    (shown,) = queue["incidents"]
    assert (shown["id"], shown["priority"], shown["owner"]) == (incident_id, "critical", "")
    assert shown["due_ms"] == shown["alarms"][0]["paged_ms"] + 30_000

    detail = me.get(f"/v1/incidents/{incident_id}").json()
    assert detail["next"]["action"]["en"].startswith("Call or listen in")
    assert detail["incident"]["id"] == incident_id

    site.room.journal.pass_s(5)
    done = me.post(f"/v1/incidents/{incident_id}/acknowledgements", json={})
    assert (done.status_code, done.json()["state"]) == (200, "applied")
    (shown,) = me.get("/v1/incidents").json()["incidents"]
    assert (shown["owner"], shown["due_ms"]) == ("op-1", None)

    assert me.post(f"/v1/incidents/{incident_id}/notes", json={"text": "called her"}).is_success
    closed = me.post(
        f"/v1/incidents/{incident_id}/dispositions",
        json={"disposition": "handled", "note": "police with her"},
    )
    assert closed.json()["reason"] == "awaits-countersignature"
    (shown,) = me.get("/v1/incidents").json()["incidents"]
    assert (shown["closing"]["by"], shown["closing"]["note"]) == ("op-1", "police with her")
    mine = me.post(f"/v1/incidents/{incident_id}/countersignatures", json={})
    assert (mine.status_code, "same-person" in mine.json()["detail"]) == (409, True)
    other = site.as_role(Role.OPERATOR, "op-2")
    signed = other.post(f"/v1/incidents/{incident_id}/countersignatures", json={})
    assert signed.json()["state"] == "applied"
    assert me.get("/v1/incidents").json()["incidents"] == []
    (shown,) = me.get("/v1/incidents?state=closed").json()["incidents"]
    assert (shown["closed_by"], shown["countersigned_by"]) == ("op-1", "op-2")
    assert (shown["disposition"], shown["closing"]) == ("handled", None)
    timeline = me.get(f"/v1/incidents/{incident_id}/timeline").json()["entries"]
    assert [e["text"] for e in timeline if e["what"] == "note"] == ["called her"]
    assert timeline == sorted(timeline, key=lambda entry: entry["at_ms"])
    tail = me.get(f"/v1/incidents/{incident_id}/timeline?after={timeline[-2]['key']}").json()
    assert tail["entries"] == timeline[-1:]


def test_a_hand_over_is_complete_only_when_the_other_side_acknowledged(site):
    incident_id = press(site)
    me = site.as_role(Role.OPERATOR)

    def police():
        (shown,) = me.get("/v1/incidents").json()["incidents"]
        (found,) = (h for h in shown["hand_overs"] if h["target"] == "meldkamer")
        return found["status"], found["complete"], found["by"]

    def receipt(status, by=""):
        entry = next(
            e for e in site.room.outbox_inputs
            if any(getattr(o, "target", "") == "meldkamer" for o in e.outputs)
        )  # fmt: skip
        index = [getattr(o, "target", "") for o in entry.outputs].index("meldkamer")
        site.room.journal.pass_s(1)
        said = Receipt(
            key=f"p-{entry.ms}-{entry.seq}-{index}", status=status, target="meldkamer", by=by,
            at_ms=0,
        )  # fmt: skip
        site.room.take(site.room.journal.receipt(said))

    assert incident_id
    assert police() == ("sent", False, "")
    receipt(ReceiptStatus.DELIVERED)
    assert police() == ("delivered", False, "")
    receipt(ReceiptStatus.ACKNOWLEDGED, "mk-7")
    assert police() == ("acknowledged", True, "mk-7")


def test_what_the_watch_refuses_is_a_problem_with_its_reason(site):
    journal = site.room.journal
    site.room.frames(journal.event("tag-1", 1, EventCode.STRAP_CUT))
    incident_id = site.room.only_incident().incident_id
    me = site.as_role(Role.OPERATOR)
    refused = me.post(f"/v1/incidents/{incident_id}/dispositions", json={"disposition": "handled"})
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["code"] == "refused-by-the-watch"
    assert "condition-still-active" in problem["detail"]
    known = {"disposition": "technical", "note": "strap changed", "despite_active": True}
    assert me.post(f"/v1/incidents/{incident_id}/dispositions", json=known).is_success


def test_a_command_without_a_watch_waits_and_is_applied_when_it_is_back(site, monkeypatch):
    incident_id = press(site)
    monkeypatch.setattr("console.api.commands.CONSOLE_ANSWER_S_MAX", 0.05)
    me = site.as_role(Role.OPERATOR)
    site.link.asleep = True
    said = me.post(f"/v1/incidents/{incident_id}/acknowledgements", json={})
    assert (said.status_code, said.json()["state"]) == (202, "waiting")
    where = said.headers["location"]
    assert me.get(where).json()["state"] == "waiting"
    site.link.wake_up()
    assert me.get(where).json()["state"] == "applied"
    assert site.room.only_incident().owner == "operator-1"


def test_without_the_store_a_command_may_or_may_not_have_happened(site):
    incident_id = press(site)
    me = site.as_role(Role.OPERATOR)
    site.link.down = True
    said = me.post(f"/v1/incidents/{incident_id}/acknowledgements", json={})
    assert (said.status_code, said.json()["code"]) == (503, "store-unavailable")


def test_positions_of_an_incident_come_with_age_circle_and_track(site):
    incident_id = press(site)
    me = site.as_role(Role.OPERATOR)
    found = me.get(f"/v1/incidents/{incident_id}/positions").json()
    by_person = {one["person_id"]: one for one in found["positions"]}
    assert set(by_person) == {"wim", "vera"}
    fix = by_person["wim"]["fix"]
    assert fix["lat_e7"] == LAT_E7 + 2_500 * 90
    assert (fix["accuracy_m"], fix["speed_m_s"]) == (5.0, None)
    assert found["now_ms"] - fix["time_ms"] == 1_000
    assert len(by_person["wim"]["track"]) == 1
    met = found["contact"]
    assert met["distance_m"] == pytest.approx(1_300, rel=0.01)
    assert (met["least_m"], met["most_m"]) == (
        pytest.approx(met["distance_m"] - 10, abs=0.2),
        pytest.approx(met["distance_m"] + 10, abs=0.2),
    )
    assert met["closest_s"] is None


def test_a_look_up_outside_an_incident_asks_for_a_reason_and_is_logged(site):
    press(site)
    me = site.as_role(Role.OPERATOR, "op-1")
    refused = me.get("/v1/persons/wim/positions")
    assert (refused.status_code, refused.json()["code"]) == (403, "reason-needed")
    assert site.link.log == []
    shown = me.get("/v1/persons/wim/positions", params={"reason": "court asked by phone"})
    assert shown.is_success
    (line,) = site.link.log
    assert (line.by, line.role, line.what, line.persons, line.reason) == (
        "op-1", "operator", "positions", ("wim",), "court asked by phone",
    )  # fmt: skip


def test_every_look_at_an_incident_is_logged_once_in_ten_minutes(site):
    incident_id = press(site)
    me = site.as_role(Role.OPERATOR, "op-1")
    for _ in range(3):
        me.get(f"/v1/incidents/{incident_id}")
        me.get(f"/v1/incidents/{incident_id}/timeline")
        me.get(f"/v1/incidents/{incident_id}/positions")
    lines = [(line.what, line.persons, line.incident_id) for line in site.link.log]
    assert lines == [
        ("incident", ("wim", "vera"), incident_id),
        ("positions", ("wim", "vera"), incident_id),
    ]
    site.room.journal.pass_s(601)
    me.get(f"/v1/incidents/{incident_id}/positions")
    assert len(site.link.log) == 3
    auditor = site.as_role(Role.AUDITOR)
    told = auditor.get("/v1/consultations", params={"person": "vera"}).json()["consultations"]
    assert [one["said"]["by"] for one in told] == ["op-1"] * 3


async def test_look_ups_without_the_store_are_kept_and_given_to_it_later(site):
    incident_id = press(site)
    me = site.as_role(Role.OPERATOR, "op-1")
    site.link.down = True
    assert me.get(f"/v1/incidents/{incident_id}/positions").is_success
    assert site.link.log == []
    site.link.down = False
    await site.services.consultations.unspool()
    assert [line.what for line in site.link.log] == ["positions"]
    assert site.store.spooled(10) == []


def test_replay_gives_tracks_and_what_was_said(site):
    journal = site.room.journal
    for step in range(20):
        site.room.frames(
            journal.fix("victim-2", 2, 1_200.0), journal.fix("tag-1", 1, 3_000.0 - 100 * step)
        )
        journal.pass_s(10)
    incident_id = press(site)
    me = site.as_role(Role.OPERATOR)
    found = me.get(f"/v1/incidents/{incident_id}/replay").json()
    tracks = {track["person_id"]: track["points"] for track in found["tracks"]}
    assert found["complete"]
    assert [len(tracks[one]) for one in ("wim", "vera")] == [21, 21]
    north = [(point[2] - LAT_E7) / 90 for point in tracks["wim"]]
    assert north[:3] == pytest.approx([3_000, 2_900, 2_800])
    assert any(entry["what"] == "raised" for entry in found["entries"])
    late = me.get(f"/v1/incidents/{incident_id}/replay", params={"fromMs": 5, "toMs": 4})
    assert late.status_code == 400
    long = me.get(f"/v1/incidents/{incident_id}/replay", params={"fromMs": 0, "toMs": 10**12})
    assert (long.status_code, long.json()["code"]) == (422, "limit-reached")


def test_an_alarm_raised_by_hand_and_a_drill(site):
    me = site.as_role(Role.OPERATOR)
    said = {"alarm_class": "panic", "reason": "she called us", "protected_id": "vera"}
    assert me.post("/v1/incidents", json=said).is_success
    drill = {"alarm_class": "panic", "reason": "drill", "wearer_id": "wim", "drill": True}
    assert me.post("/v1/incidents", json=drill).is_success
    shown = me.get("/v1/incidents").json()["incidents"]
    assert sorted(one["drill"] for one in shown) == [False, True]
    figures = me.get("/v1/indicators").json()
    assert (figures["open_incidents"], figures["waiting"]) == (1, 1)


def test_a_lead_shelves_an_alarm_and_ends_it(site):
    journal = site.room.journal
    lead = site.as_role(Role.SHIFT_LEAD)
    said = {"alarm_class": "location-doubt", "reason": "says so", "wearer_id": "wim"}
    assert lead.post("/v1/incidents", json=said).is_success
    row = site.room.only_incident()
    (alarm_id,) = row.alarms
    until = {"reason": "tunnel works", "until_ms": journal.now_ms + 600_000}
    assert lead.post(f"/v1/alarms/{alarm_id}/shelvings", json=until).is_success
    assert row.alarms[alarm_id].shelved_until_ms == until["until_ms"]
    assert lead.delete(f"/v1/alarms/{alarm_id}/shelvings").is_success
    assert row.alarms[alarm_id].shelved_until_ms is None
    long = until | {"until_ms": journal.now_ms + 10**9}
    assert lead.post(f"/v1/alarms/{alarm_id}/shelvings", json=long).status_code == 409


def test_an_incident_is_offered_to_somebody_and_theirs_when_they_take_it(site):
    incident_id = press(site)
    anna, bert = site.as_role(Role.OPERATOR, "anna"), site.as_role(Role.OPERATOR, "bert")
    anna.post(f"/v1/incidents/{incident_id}/acknowledgements", json={})
    own = anna.post(f"/v1/incidents/{incident_id}/hand-overs", json={"to": "anna"})
    assert own.status_code == 409
    said = {"to": "bert", "text": "call her at ten"}
    assert anna.post(f"/v1/incidents/{incident_id}/hand-overs", json=said).is_success

    def shown():
        (one,) = bert.get("/v1/incidents").json()["incidents"]
        return one["owner"], one["offered_to"], one["offered_by"]

    assert shown() == ("anna", "bert", "anna")
    # Renewing her own acknowledgement gives nothing back; his taking it completes it.
    anna.post(f"/v1/incidents/{incident_id}/acknowledgements", json={})
    assert shown() == ("anna", "bert", "anna")
    bert.post(f"/v1/incidents/{incident_id}/acknowledgements", json={})
    assert shown() == ("bert", "", "")
    notes = [e["text"] for e in bert.get(f"/v1/incidents/{incident_id}/timeline").json()["entries"]
             if e["what"] == "note"]  # fmt: skip
    assert notes == ["→ bert: call her at ten"]


def test_the_last_known_list_names_everybody_and_logs_everybody(site):
    press(site)
    lead = site.as_role(Role.SHIFT_LEAD, "lead")
    assert lead.get("/v1/last-known-positions").json()["code"] == "reason-needed"
    found = lead.get("/v1/last-known-positions", params={"reason": "watch is down"}).json()
    lines = {one["person_id"]: one for one in found["lines"]}
    assert set(lines) == {"wim", "vera"}
    assert lines["wim"]["fix"]["lat_e7"] == LAT_E7 + 2_500 * 90
    assert lines["vera"]["case_ids"] == ["case"]
    assert [(line.what, line.persons) for line in site.link.log] == [
        ("last-known", ("vera", "wim"))
    ]
