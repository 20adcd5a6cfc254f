"""Who looked at whom: both logs have it, for every look that the API has, or nothing is shown."""

import re
from pathlib import Path

import msgspec
import pytest
from redis.crc import key_slot
from structlog.testing import capture_logs

import console.api
from afstand.console_link import StoreLink
from afstand.consultations import (
    CONSULTATIONS_KEY,
    KEY_ATTRIBUTE,
    LDV_KEY,
    Processing,
    key_name,
    log_consultation,
    pseudonym,
)
from alerting.book.roles import Role
from console.ports import Consultation, UnavailableError
from ingest.store import StoreUnavailableError, connect_store
from tests.console.site import ConsoleSite, RoomLink, press
from tests.servers import RedisServer

KEY = bytes(range(32))
REASON = "court asked by phone"
SAID = Consultation(
    at_ms=1, by="op", role="operator", what="case", persons=("wim", "vera"), reason=REASON
)
# What is asked, what it is called in the log, and about whom: outside an incident and inside.
OUTSIDE = (
    ("/v1/cases/case", "case", ("wim", "vera")),
    ("/v1/orders/ban", "order", ("wim",)),
    ("/v1/devices/victim-2", "device", ("vera",)),
    (f"/v1/persons/vera/positions?reason={REASON}", "positions", ("vera",)),
    (f"/v1/last-known-positions?reason={REASON}", "last-known", ("vera", "wim")),
    (f"/v1/cases/case/replay?reason={REASON}&fromMs=FROM&toMs=TO", "replay", ("wim", "vera")),
)
INSIDE = (
    ("/v1/incidents/ID", "incident", ("wim", "vera")),
    ("/v1/incidents/ID/positions", "positions", ("wim", "vera")),
    ("/v1/incidents/ID/replay", "replay", ("wim", "vera")),
)
FEASIBILITY = {
    "kind": "contact-ban", "wearer_id": "wim", "protected_ids": ["vera"], "radius_m": 300,
    "hours": 1,
}  # fmt: skip


class LoggingLink(RoomLink):
    """The room's link with the log of a real store; a connection for each, as loops are many."""

    url = ""

    async def log_consultation(self, said):
        self._fail()
        store = connect_store(self.url)
        try:
            await StoreLink(store, KEY).log_consultation(said)
        finally:
            await store.aclose()


@pytest.fixture
def room(tmp_path):
    site = ConsoleSite(tmp_path)
    site.services.debug = False
    yield site
    site.close()


async def read(store, key, kind):
    return [
        msgspec.json.decode(fields[b"b"], type=kind)
        for _, fields in await store.execute_command("XRANGE", key, "-", "+")
    ]


def with_log(site: ConsoleSite, url: str) -> None:
    link = LoggingLink(site.room, site.hub.wake)
    link.url = url
    site.link = site.services.link = link
    site.services.consultations._link = link


def test_a_request_that_fails_is_logged_by_its_route_and_names_nobody(room):
    async def broken(said):
        raise RuntimeError("a bug")

    lead = room.as_role(Role.SHIFT_LEAD)
    room.link.log_consultation = broken
    with capture_logs() as logs:
        assert lead.get(f"/v1/persons/vera/positions?reason={REASON}").status_code == 500
    (line,) = [one for one in logs if one["event"] == "request failed"]
    assert line["route"] == "/v1/persons/{person_id}/positions"
    assert "vera" not in str(logs)


@pytest.mark.servers
@pytest.mark.slow
async def test_every_look_by_the_api_gives_its_lines_in_both_logs(room, tmp_path):
    with RedisServer(tmp_path / "r") as redis:
        with_log(room, redis.url)
        incident_id = press(room)
        lead = room.as_role(Role.SHIFT_LEAD, "lead")
        now_ms = room.link.now_ms()
        looks = (*OUTSIDE, *INSIDE)
        for path, _, _ in looks:
            asked = path.replace("ID", incident_id)
            asked = asked.replace("FROM", str(now_ms - 60_000)).replace("TO", str(now_ms))
            assert lead.get(asked).is_success, asked
        assert lead.post("/v1/feasibility-checks", json=FEASIBILITY).is_success
        store = connect_store(redis.url)
        said = await read(store, CONSULTATIONS_KEY, Consultation)
        lines = await read(store, LDV_KEY, Processing)
        await store.aclose()

    wanted = [*((what, persons) for _, what, persons in looks), ("feasibility", ("wim", "vera"))]
    assert [(one.what, one.persons) for one in said] == wanted
    outside, inside = said[: len(OUTSIDE)], said[len(OUTSIDE) : len(looks)]
    assert {one.incident_id for one in inside} == {incident_id}
    assert all(one.incident_id == "" for one in outside)
    assert [one.reason for one in outside[3:]] == [REASON] * 3
    assert len({one.trace_id for one in said}) == len(said)
    for one in said:
        of_it = [line for line in lines if line.trace_id == one.trace_id]
        names = [line.attributes["dpl.core.data_subject_id"] for line in of_it]
        assert names == [pseudonym(KEY, person) for person in one.persons]
        assert {line.name for line in of_it} == {one.what}
        assert {line.start_time for line in of_it} == {one.at_ms}
        assert {line.attributes[KEY_ATTRIBUTE] for line in of_it} == {key_name(KEY)}
    assert len(lines) == sum(len(one.persons) for one in said)
    # The Logboek holds nobody of either kind by name.
    assert not re.search(r"wim|vera|lead", msgspec.json.encode(lines).decode())


def test_every_look_that_the_api_can_log_is_looked_at_here():
    folder = Path(next(iter(console.api.__path__)))
    code = "".join(file.read_text() for file in sorted(folder.glob("*.py")))
    calls = set(re.findall(r"call\.consult\(\s*\"([a-z-]+)\"", code))
    assert calls == {what for _, what, _ in (*OUTSIDE, *INSIDE)} | {"feasibility"}
    assert code.count("call.consult(") == len(re.findall(r"call\.consult\(\s*\"", code))


@pytest.mark.parametrize("path", [path for path, _, _ in (*OUTSIDE, *INSIDE)])
def test_nothing_is_shown_when_neither_the_store_nor_the_disk_confirms(room, path, monkeypatch):
    incident_id = press(room)
    lead = room.as_role(Role.SHIFT_LEAD, "lead")
    now_ms = room.link.now_ms()
    asked = path.replace("ID", incident_id)
    asked = asked.replace("FROM", str(now_ms - 60_000)).replace("TO", str(now_ms))

    async def away(said):
        raise UnavailableError("the store is away")

    def full(said):
        raise OSError("no space left on device")

    monkeypatch.setattr(room.link, "log_consultation", away)
    monkeypatch.setattr(room.store, "spool", full)
    refused = lead.get(asked)
    assert refused.status_code == 500
    # Its own path is all that it gives back.
    assert refused.json().keys() == {"type", "title", "status", "code", "instance"}
    monkeypatch.undo()
    assert lead.get(asked).is_success


@pytest.mark.servers
@pytest.mark.slow
async def test_a_store_that_confirms_only_a_part_is_no_confirmation(tmp_path):
    with RedisServer(tmp_path) as redis:
        store = connect_store(redis.url)
        await store.execute_command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(UnavailableError):
            await StoreLink(store, KEY).log_consultation(SAID)
        await store.execute_command("CONFIG", "SET", "maxmemory", "0")
        for key in (CONSULTATIONS_KEY, LDV_KEY):
            assert await store.execute_command("EXISTS", key) == 0
        await store.execute_command("SET", LDV_KEY, "no stream")
        with pytest.raises(StoreUnavailableError):
            await log_consultation(store, KEY, SAID)
        await store.aclose()


def test_both_logs_lie_on_one_node_of_a_cluster():
    assert key_slot(CONSULTATIONS_KEY.encode()) == key_slot(LDV_KEY.encode())


def test_a_pseudonym_is_of_one_person_and_one_key_and_tells_neither():
    one = pseudonym(KEY, "vera")
    assert one == pseudonym(KEY, "vera")
    assert len({one, pseudonym(KEY, "wim"), pseudonym(bytes(32), "vera")}) == 3
    assert key_name(KEY) != key_name(bytes(32))
    assert KEY.hex().startswith(key_name(KEY)) is False
