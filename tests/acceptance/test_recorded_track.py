"""Real input: a recorded bus route and a walk in the park, an area ban cut across each.

Real broker, real Redis, real processes. The truth is shapely's: which of the very same fixes lie in
the zone. Each true entry must give exactly one incident; an operator (this test) closes each as
soon as the book says that the wearer has left. The same from an OwnTracks phone.
"""

import asyncio
import time
from pathlib import Path

import aiomqtt
import msgspec
import numpy as np
import pytest
import shapely

from afstand.watch.envelope import decode_envelope
from alerting.book.types import (
    AlarmClass,
    AlarmRecord,
    AlarmState,
    Countersign,
    Dispose,
    Disposition,
    IncidentChange,
    IncidentRecord,
    Notice,
)
from firmware_contracts.topics import fix_topic
from ingest.outbox import Outbox
from ingest.store import BEGINNING
from simulators.playback import owntracks_messages, track_frames
from simulators.tracks import Track, read_csv, read_gpx
from tests.acceptance.service import Service, running_service

KEY = bytes(range(16))
ROLES = ("intake", "watch-0", "watch-1", "notify")
AFTER_EXIT_S = 0.4
RETURNED = (AlarmState.RETURNED_ACKNOWLEDGED, AlarmState.RETURNED_UNACKNOWLEDGED)
PLAN = {
    "format": "afstand.plan/1",
    "id": "toezicht",
    "steps": [
        {"audience": "police", "targets": ["meldkamer"], "deadline_s": 600},
        {
            "audience": "probation",
            "targets": ["reclassering"],
            "deadline_s": 600,
            "needs": "delivered",
        },
    ],
    "acknowledgement_expires_s": 3600,
}


def bus(data: Path) -> Track:
    """One bus on its route, out and back."""
    return next(iter(read_csv(data / "tracks" / "liverpool_route14.csv").values()))


def walk(data: Path) -> Track:
    """A walk in the park, a fix every four seconds."""
    return read_gpx(data / "tracks" / "cmpgpx" / "hyde_park_1.gpx")


def zone_across(track: Track, half_lon: float, half_lat: float) -> shapely.Polygon:
    """A rectangle across the middle of the route."""
    lat, lon = float(np.median(track.lat_deg)), float(np.median(track.lon_deg))
    return shapely.box(lon - half_lon, lat - half_lat, lon + half_lon, lat + half_lat)


def true_entries(track: Track, zone: shapely.Polygon) -> list[int]:
    """The first fix of each stay in the zone, by shapely."""
    inside = shapely.contains_xy(zone, track.lon_deg, track.lat_deg)
    assert not inside[0]
    return (np.flatnonzero(np.diff(inside.astype(np.int8)) == 1) + 1).tolist()


def document(zone: shapely.Polygon, contract: str, start_ms: int) -> dict:
    """One wearer with one device and one area ban."""
    phone = contract == "owntracks"
    return {
        "format": "afstand.cases/1",
        "persons": [{"id": "wim", "role": "wearer"}],
        "devices": [
            {
                "id": "wim.phone" if phone else "tag-1",
                "person": "wim",
                "role": "wearer",
                "contract": contract,
                "key": "" if phone else KEY.hex(),
            }
        ],
        "zones": [{"id": "zone", "geometry": msgspec.json.decode(shapely.to_geojson(zone))}],
        "orders": [
            {
                "id": "ban",
                "kind": "area-ban",
                "wearer_id": "wim",
                "zone_ids": ["zone"],
                "risk_class": 1,
                "valid_from_ms": start_ms - 86_400_000,
                "signed_at_ms": start_ms - 86_400_000,
                "served_at_ms": start_ms - 86_400_000,
                "plan_id": "toezicht",
            }
        ],
        "plans": [PLAN],
        "cases": [{"id": "case", "wearer": "wim", "plan": "toezicht"}],
    }


def messages(track: Track, contract: str) -> list[tuple[str, bytes]]:
    """The track as the device sends it, topic and payload, one message a fix."""
    if contract == "owntracks":
        return [(m.topic, m.payload) for m in owntracks_messages(track, "wim", "phone")]
    return [(fix_topic("tag-1"), frame) for _, frame in track_frames(track, "tag-1", KEY)]


class Operator:
    """Reads the outbox as it grows, and closes an area breach when its condition has returned."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._after = BEGINNING
        self._left: dict[str, str] = {}

    async def look(self) -> None:
        """Take in what is new; close what is over."""
        outbox = Outbox(self._service.store)
        for entry in await outbox.read(self._service.partition, self._after, 500):
            self._after = entry.id
            for output in decode_envelope(entry.blob).outputs:
                if isinstance(output, AlarmRecord) and output.alarm_class is AlarmClass.AREA_BREACH:
                    self._left.pop(output.alarm_id, None)
                    if output.state in RETURNED:
                        self._left[output.alarm_id] = output.incident_id
        for alarm_id in list(self._left):
            # The stored fixes are old, so the wearer counts as silent meanwhile: known.
            incident_id = self._left.pop(alarm_id)
            await self._service.command(
                Dispose(
                    incident_id=incident_id,
                    by="test",
                    disposition=Disposition.HANDLED,
                    note="left again",
                    despite_active=True,
                )
            )
            await self._service.command(Countersign(incident_id=incident_id, by="second test"))


async def play(service: Service, sent: list[tuple[str, bytes]]) -> None:
    """Publish in order.

    The operator keeps pace, as the minutes between the fixes would let them.
    """
    operator = Operator(service)
    async with (
        service.tailing() as tail,
        aiomqtt.Client("127.0.0.1", service.broker.port, identifier="recorded") as client,
    ):
        await asyncio.sleep(0.3)
        for number, (topic, payload) in enumerate(sent, 1):
            await client.publish(topic, payload, qos=1)
            await service.until(lambda: tail.frames >= number, "the frame is in the journal")  # noqa: B023
            await asyncio.sleep(0.02)
            await operator.look()


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.parametrize("contract", ["em1", "owntracks"])
@pytest.mark.parametrize(
    ("recorded", "half_lon", "half_lat"), [(bus, 0.012, 0.007), (walk, 0.0012, 0.002)]
)
async def test_each_true_entry_is_one_incident(
    tmp_path, data, contract, recorded, half_lon, half_lat
):
    track = recorded(data)
    # The newest fix is of now: a device that hands over what it stored while it had no coverage.
    now_ms = time.time_ns() // 1_000_000
    track = track.rebased(now_ms - int(track.t_ms[-1] - track.t_ms[0]) - 2_000)
    zone = zone_across(track, half_lon, half_lat)
    entries = true_entries(track, zone)
    assert len(entries) >= 1
    async with running_service(tmp_path) as service:
        await service.start(*ROLES)
        await service.import_document(document(zone, contract, now_ms))
        await asyncio.sleep(1.5)  # the intake reads the registry once a second
        sent = messages(track, contract)
        await play(service, sent)

        await asyncio.sleep(AFTER_EXIT_S)
        outputs = [output for _, output in await service.outputs()]
        opened = [
            output.incident_id
            for output in outputs
            if isinstance(output, IncidentRecord)
            and output.change is IncidentChange.OPENED
            and AlarmClass.AREA_BREACH in breaches_of(outputs, output.incident_id)
        ]
        assert len(opened) == len(entries)
        alerted = {
            output.incident_id
            for output in outputs
            if isinstance(output, Notice)
            and output.target == "meldkamer"
            and output.alarm_class is AlarmClass.AREA_BREACH
        }
        assert alerted == set(opened)


def breaches_of(outputs: list, incident_id: str) -> set[AlarmClass]:
    """The classes of the alarms of an incident."""
    return {
        output.alarm_class
        for output in outputs
        if isinstance(output, AlarmRecord) and output.incident_id == incident_id
    }
