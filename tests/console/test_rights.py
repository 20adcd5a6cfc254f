"""Every route as every role; what is masked; planted coordinates that must not leak."""

import json
import re

import pytest

from alerting.book.roles import RIGHTS, Right, Role
from console.api.app import ROUTES
from console.api.document import FILE, allowed, markdown
from firmware_contracts import EventCode
from tests.afstand.journal import LAT_E7
from tests.console.site import ConsoleSite, press

# The protected person's place in this file's story: north of the middle by so much.
PLANTED_NORTH_M = 1_200.0
PLANTED_LAT_E7 = LAT_E7 + round(PLANTED_NORTH_M * 90)
PLANTED = re.compile(rf"{PLANTED_LAT_E7}|{str(PLANTED_LAT_E7)[:2]}\.{str(PLANTED_LAT_E7)[2:6]}")
DISTANCES = ("distance_mm", "time_to_contact_ms", "closing_mm_s", "probability_1024", "distance_m")


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A site where both persons are seen, a press was told and notes were written."""
    site = ConsoleSite(tmp_path_factory.mktemp("rights"))
    journal = site.room.journal
    for step in range(3):
        site.room.frames(
            journal.fix("victim-2", 2, PLANTED_NORTH_M), journal.fix("tag-1", 1, 2_000.0 - step)
        )
        journal.pass_s(10)
    incident_id = press(site)
    lead = site.as_role(Role.SHIFT_LEAD)
    lead.post(f"/v1/incidents/{incident_id}/acknowledgements", json={})
    words = f"she lives at {PLANTED_LAT_E7 / 1e7}"
    lead.post(f"/v1/incidents/{incident_id}/notes", json={"text": words})
    site.room.frames(journal.event("tag-1", 1, EventCode.STRAP_CUT))
    yield site, incident_id
    site.close()


def filled(path: str, incident_id: str) -> str:
    return path.format(
        incident_id=incident_id, alarm_id=f"{incident_id}.1", person_id="wim", case_id="case",
        order_id="ban", zone_id="zone", device_id="victim-2", proposal_id="v-1",
        command_id="p:1-1", alarm_class="legal",
    )  # fmt: skip


def ask(client, route, path):
    params: dict[str, str | int] = {}
    if route.name in ("look-up-positions", "replay-case", "list-last-known"):
        params["reason"] = "a test of who may see what"
    if route.name == "replay-case":
        params |= {"fromMs": 1_790_000_000_000, "toMs": 1_790_000_600_000}
    body: dict | None = {} if route.body is not None else None
    return client.request(route.method, path, params=params, json=body)


@pytest.mark.parametrize("role", [None, *Role])
def test_every_route_answers_every_role_as_the_table_says(story, role):
    site, incident_id = story
    for route in ROUTES:
        if route.stream:
            continue
        client = site.browser() if role is None else site.as_role(role)
        answer = ask(client, route, filled(route.path, incident_id))
        problem = answer.headers.get("content-type", "") == "application/problem+json"
        code = answer.json()["code"] if problem else ""
        if allowed(route, role):
            assert code not in ("right-missing", "not-signed-in"), f"{route.name} as {role}"
        else:
            expected = "not-signed-in" if role is None else "right-missing"
            assert code == expected, f"{route.name} as {role}: {answer.status_code}"


@pytest.mark.parametrize("role", list(Role))
def test_the_protected_persons_place_reaches_only_roles_with_the_right(story, role):
    site, incident_id = story
    seen = ""
    for route in ROUTES:
        if route.method != "GET" or route.stream or not allowed(route, role):
            continue
        for person in ("wim", "vera"):
            path = filled(route.path, incident_id).replace("persons/wim", f"persons/{person}")
            answer = ask(site.as_role(role), route, path)
            seen += answer.text
    shown = bool(PLANTED.search(seen))
    assert shown == (Right.PROTECTED_POSITION in RIGHTS[role])
    wearer = str(LAT_E7 + 2_500 * 90)
    assert (wearer in seen) == (Right.WEARER_POSITION in RIGHTS[role])


@pytest.mark.parametrize("role", list(Role))
def test_distances_and_free_words_are_left_out_without_their_rights(story, role):
    site, incident_id = story
    rights = RIGHTS[role]
    client = site.as_role(role)
    found = []
    for path in ("", "/timeline"):
        answer = client.get(f"/v1/incidents/{incident_id}{path}")
        if answer.is_success:
            found.append(answer.json())
    text = json.dumps(found)
    assert any(f'"{name}"' in text for name in DISTANCES) == (Right.DISTANCE in rights)
    assert ("she lives at" in text) == (Right.FREE_TEXT in rights)


async def test_the_stream_leaves_out_what_the_queue_leaves_out(story):
    from console.api.stream import Writer

    site, _ = story
    for role in Role:
        client = site.as_role(role)
        session = site.gate.session(
            client.cookies[site.services.cookie], site.link.now_ms(), active=True
        )
        events = Writer(site.services, session, {}).events()
        text = ""
        while "event: tick" not in text:
            text += (await anext(events)).decode()
        await events.aclose()
        assert ("event: incident" in text) == (Right.QUEUE in RIGHTS[role])
        assert ('"distance_mm"' in text) == (Right.DISTANCE in RIGHTS[role])
        assert not PLANTED.search(text)


def test_the_table_in_the_documents_is_the_present_one():
    assert FILE.read_text() == markdown()
