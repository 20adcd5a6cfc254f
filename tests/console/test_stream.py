"""The live stream: what a reader is told, and that one who was away has missed nothing."""

import asyncio
import json
import random

from alerting.book.roles import Role
from alerting.book.types import Acknowledge, Disposition
from console.api.stream import Writer
from console.hub import Hub, parse_cursor
from firmware_contracts import EventCode
from tests.conftest import run_seed
from tests.console.room import PARTITION
from tests.console.site import press
from tests.console.test_model import happen


class Reader:
    """A page: keeps a list of incidents as the events say, and the id of the last event."""

    def __init__(self, site, role=Role.OPERATOR) -> None:
        self.site = site
        client = site.as_role(role)
        token = client.cookies[site.services.cookie]
        self.session = site.gate.session(token, site.link.now_ms(), active=True)
        self.incidents: dict[str, dict] = {}
        self.cursor = ""
        self.ticks: list[dict] = []
        self.ended = False
        self.health: dict = {}

    def connect(self) -> None:
        writer = Writer(self.site.services, self.session, parse_cursor(self.cursor))
        self.events = writer.events()
        self.rest = b""

    async def read(self, bytes_max: int = 10**9) -> None:
        """Read to the next tick, or so many bytes: then the connection is lost."""
        while True:
            try:
                raw = await anext(self.events)
            except StopAsyncIteration:
                return
            lost = len(raw) > bytes_max
            self.rest += raw[:bytes_max]
            bytes_max -= len(raw)
            *whole, self.rest = self.rest.split(b"\n\n")
            for event in whole:
                self.take(event.decode())
            if lost or any(event.startswith(b"event: tick") for event in whole):
                return

    def take(self, event: str) -> None:
        fields = dict(line.split(": ", 1) for line in event.split("\n"))
        body = json.loads(fields["data"])
        match fields["event"]:
            case "incident":
                self.incidents[body["id"]] = body
            case "open-incidents":
                shown = [i for i, one in self.incidents.items() if one["state"] == "open"]
                for gone in set(shown) - set(body["ids"]):
                    self.incidents[gone]["state"] = "gone"
            case "tick":
                self.ticks.append(body)
            case "end":
                self.ended = True
            case "health":
                self.health = body
        self.cursor = fields.get("id", self.cursor)

    def open_ids(self) -> set[str]:
        return {i for i, one in self.incidents.items() if one["state"] == "open"}


async def test_a_press_is_told_at_once(site):
    reader = Reader(site)
    reader.connect()
    await reader.read()
    assert reader.incidents == {}
    waiting = asyncio.create_task(reader.read())
    await asyncio.sleep(0)
    incident_id = press(site)
    site.hub.wake()
    await waiting
    assert reader.incidents[incident_id]["priority"] == "critical"
    await reader.events.aclose()


async def test_random_losses_of_the_connection_miss_nothing(site):
    draw = random.Random(run_seed())
    reader = Reader(site)
    reader.connect()
    for _ in range(30):
        happen(site.room, draw, 3)
        reader.session.created_ms = reader.session.active_ms = site.link.now_ms()
        if draw.random() < 0.7:
            await reader.read(draw.choice([10, 300, 2_000, 10**9]))
        # The connection is lost, and perhaps the console too: only the journal is left.
        await reader.events.aclose()
        if draw.random() < 0.3:
            site.hub = Hub(type(site.room.model).load_dump(site.room.model.dump()), (PARTITION,))
            site.services.hub = site.hub
            site.room.model = site.hub.model
        reader.connect()
    await reader.read()
    rows = site.room.model.incidents.rows
    assert reader.open_ids() == {row.incident_id for row in rows.values() if row.open}
    for incident_id in reader.open_ids():
        row = rows[incident_id]
        shown = reader.incidents[incident_id]
        assert shown["changed"] == f"{PARTITION}:{row.changed[0]}-{row.changed[1]}"
        assert shown["owner"] == row.owner
    await reader.events.aclose()


async def test_incidents_that_one_entry_changed_are_told_together_or_again(site):
    journal = site.room.journal
    # One entry with two presses of devices that belong to nobody: two incidents, one place.
    from ingest.entries import FrameFlag

    events = [journal.event(f"b-{n}", 0, EventCode.PANIC, flags=FrameFlag(0)) for n in (1, 2)]
    site.room.frames(*events)
    assert len(site.room.model.incidents.open_rows()) == 2
    for cut in range(200, 4_000, 150):
        reader = Reader(site)
        reader.cursor = f"{PARTITION}:1-0"
        reader.connect()
        await reader.read(cut)
        await reader.events.aclose()
        reader.connect()
        await reader.read()
        await reader.events.aclose()
        assert len(reader.open_ids()) == 2, cut


async def test_an_incident_that_was_closed_meanwhile_is_told(site):
    incident_id = press(site)
    reader = Reader(site)
    reader.connect()
    await reader.read()
    await reader.events.aclose()
    assert reader.open_ids() == {incident_id}
    site.room.close(incident_id, Disposition.TEST)
    reader.connect()
    await reader.read()
    assert reader.incidents[incident_id]["state"] in ("closed", "gone")
    await reader.events.aclose()


async def test_a_locked_screen_is_told_how_many_wait_and_nothing_else(site):
    incident_id = press(site)
    reader = Reader(site)
    site.gate.lock(reader.session)
    reader.connect()
    await reader.read()
    assert reader.incidents == {}
    assert (reader.ticks[-1]["critical"], reader.ticks[-1]["locked"]) == (1, True)
    site.room.command(Acknowledge(incident_id=incident_id, by="x"))
    site.gate.unlock(reader.session, site.link.now_ms())
    site.room.journal.pass_s(1)
    await reader.read()
    assert reader.incidents[incident_id]["owner"] == "x"
    assert reader.ticks[-1]["critical"] == 0
    await reader.events.aclose()


async def test_the_stream_ends_with_the_session(site):
    reader = Reader(site)
    reader.connect()
    await reader.read()
    site.gate.end(reader.session)
    await reader.read()
    assert reader.ended


def test_a_cursor_that_cannot_be_read_is_a_problem(site):
    me = site.as_role(Role.OPERATOR)
    for given in ("x", "p:1", "p:a-b", "p:" + "9" * 30 + "-0"):
        answer = me.get("/v1/events", headers={"Last-Event-ID": given})
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
