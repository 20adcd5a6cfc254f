"""The console as a process on a real store, beside a real watch: who dies, and what is said."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator

import aiohttp
import pyotp
import pytest

from afstand.commands import encode_command
from afstand.console_link import StoreLink
from afstand.console_role import make_account
from afstand.consultations import processings
from afstand.site import Site, in_environment
from alerting.book.roles import Role
from firmware_contracts import EventCode
from firmware_contracts.frames import encode_event
from ingest.entries import EntryKind, FrameBatch, FrameFlag, FrameRecord, LaneCode
from ingest.journal import Journal
from ingest.store import Store
from tests.acceptance.service import Service, running_service
from tests.afstand.journal import KEY, definitions
from tests.console.site import PASSWORD

pytestmark = [pytest.mark.servers, pytest.mark.slow]


class Operator:
    """A browser without a page: signs in, asks, follows the stream."""

    def __init__(self, site: Site, session: aiohttp.ClientSession) -> None:
        self.url = site.console_url
        self.session = session
        self.csrf = ""
        self.incidents: dict[str, dict] = {}
        self.health: dict[str, str] = {}
        self.cursor = ""
        self.connected = 0

    async def sign_in(self, code: str) -> None:
        said = {"name": "op-1", "password": PASSWORD, "code": code}
        async with self.session.post(f"{self.url}/v1/session", json=said) as answer:
            assert answer.status == 201, await answer.text()
            self.csrf = (await answer.json())["csrf_token"]

    async def post(self, path: str, body: dict) -> tuple[int, dict]:
        headers = {"X-CSRF-Token": self.csrf}
        async with self.session.post(f"{self.url}{path}", json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str) -> dict:
        async with self.session.get(f"{self.url}{path}") as answer:
            return await answer.json()

    async def follow(self) -> None:
        """As EventSource does: connect again for ever, with the last id."""
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                headers = {"Last-Event-ID": self.cursor} if self.cursor else {}
                async with self.session.get(f"{self.url}/v1/events", headers=headers) as answer:
                    self.connected += 1
                    await self._read(answer)
            await asyncio.sleep(0.05)

    async def _read(self, answer: aiohttp.ClientResponse) -> None:
        event: dict[str, str] = {}
        async for raw in answer.content:
            line = raw.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
                continue
            body = json.loads(event["data"])
            if event["event"] == "incident" and body["alarm_classes"] != ["system"]:
                self.incidents[body["id"]] = body  # so many presses are a flood, which is told too
            elif event["event"] == "health":
                self.health = {part["part"]: part["code"] for part in body["parts"]}
            self.cursor = event.get("id", self.cursor)
            event = {}


def press(sequence: int) -> FrameRecord:
    """A press of a button that nobody knows: each is an incident of its own."""
    device = f"button-{sequence}"
    raw = encode_event(
        device, KEY, boot=1, sequence=sequence, device_time_ms=1_790_000_000_000,
        code=EventCode.PANIC,
    )  # fmt: skip
    return FrameRecord(0, LaneCode.EVENT, FrameFlag(0), 1_790_000_000_000, raw, device)


async def presses(store: Store, partition: str, first: int, count: int) -> None:
    for sequence in range(first, first + count):
        blob = FrameBatch.build([press(sequence)])
        await Journal(store).append(partition, EntryKind.FRAMES, blob)


@contextlib.asynccontextmanager
async def console(tmp_path) -> AsyncIterator[tuple[Service, Operator]]:
    async with running_service(tmp_path) as service:
        with in_environment(service.site.environ):
            secret = make_account(service.site.config, "op-1", Role.OPERATOR, PASSWORD)
        for command in definitions():
            await Journal(service.store).append(
                service.partition, EntryKind.COMMAND, encode_command(command)
            )
        await service.start("watch-0", "console")
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            operator = Operator(service.site, session)
            await operator.sign_in(pyotp.TOTP(secret).at(int(time.time())))
            following = asyncio.create_task(operator.follow())
            try:
                yield service, operator
            finally:
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await following


async def test_whoever_dies_nothing_is_missed_and_the_console_says_so(tmp_path):
    async with console(tmp_path) as (service, operator):
        await the_console_is_killed(service, operator)
        await the_watch_is_gone(service, operator)
        await the_store_is_gone(service, operator)


async def the_console_is_killed(service: Service, operator: Operator) -> None:
    partition = service.partition
    await presses(service.store, partition, 1, 20)
    await service.until(lambda: len(operator.incidents) == 20, "20 incidents in the stream")
    service.site.children["console"].kill()
    await presses(service.store, partition, 21, 20)
    await service.until(lambda: len(operator.incidents) == 40, "40 incidents after the kill")
    assert operator.connected == 2
    # Still signed in, and what is done now is done.
    incident_id = next(iter(operator.incidents))
    status, answer = await operator.post(f"/v1/incidents/{incident_id}/acknowledgements", {})
    assert (status, answer["state"]) == (200, "applied")
    await service.until(
        lambda: operator.incidents[incident_id]["owner"] == "op-1", "the owner in the stream"
    )


async def the_watch_is_gone(service: Service, operator: Operator) -> None:
    watch = f"watch {service.partition}"
    await service.until(lambda: operator.health.get(watch) == "", "the watch lives")
    await service.site.children.pop("watch-0").stop()
    await service.until(lambda: operator.health.get(watch) == "silent", "the watch is gone")
    incident_id = list(operator.incidents)[1]
    status, answer = await operator.post(f"/v1/incidents/{incident_id}/acknowledgements", {})
    assert (status, answer["state"]) == (202, "waiting")
    # What is known stays to be seen.
    seen = (await operator.get("/v1/incidents"))["incidents"]
    assert set(operator.incidents) <= {one["id"] for one in seen}
    await service.start("watch-0")

    async def applied() -> bool:
        return (await operator.get(f"/v1/commands/{answer['id']}"))["state"] == "applied"

    await service.until(applied, "the command was applied")
    await service.until(lambda: operator.health.get(watch) == "", "the watch lives again")


async def the_store_is_gone(service: Service, operator: Operator) -> None:
    service.redis.stop()
    await service.until(lambda: operator.health.get("store") == "unavailable", "no store")
    incident_id = list(operator.incidents)[2]
    detail = await operator.get(f"/v1/incidents/{incident_id}")
    assert detail["incident"]["id"] == incident_id
    status, answer = await operator.post(f"/v1/incidents/{incident_id}/acknowledgements", {})
    assert (status, answer["code"]) == (503, "store-unavailable")
    service.redis.start()
    await service.until(lambda: operator.health.get("store") == "", "the store is back")
    await presses(service.store, service.partition, 41, 1)
    await service.until(lambda: len(operator.incidents) == 41, "the next incident")
    # What was looked up meanwhile is in the log now.
    with in_environment(service.site.environ):
        key = service.site.config.pseudonym_key()
    link = StoreLink(service.store, key)

    async def logged() -> bool:
        return bool(await link.consultations(person="", by="op-1", before="", count=5))

    await service.until(logged, "the look-up in the log")
    (one, *_) = await link.consultations(person="", by="op-1", before="", count=5)
    for person in one.said.persons:
        traces = [line.trace_id async for line in processings(service.store, key, person)]
        assert one.said.trace_id in traces
