"""Real input: a device on a recorded bus route, an area ban cut across it, real broker and Redis.

The truth is shapely's: which of the very same fixes lie in the zone. Each true entry must give
exactly one incident; an operator (this test) closes each when the wearer has left again.
"""

import asyncio
import time

import numpy as np
import pytest
import shapely

from alerting.book.types import (
    AlarmClass,
    AlarmRecord,
    AlarmState,
    Dispose,
    Disposition,
    IncidentChange,
    IncidentRecord,
    Rejected,
)
from simulators.client import Broker
from simulators.phone import play
from simulators.playback import fix_columns, owntracks_messages, track_frames
from simulators.tracks import Track, read_csv
from tests.acceptance.service import Service, running_service

KEY = bytes(range(16))
ROLES = ("intake", "watch-0", "watch-1")
PLAN = {
    "format": "afstand.plan/1",
    "id": "reclassering",
    "steps": [
        {"audience": "probation", "targets": ["reclassering"], "deadline_s": 600},
    ],
    "acknowledgement_expires_s": 3600,
}


def zone_across(track: Track) -> shapely.Polygon:
    """A rectangle of about 900 m across the middle of the route."""
    lat, lon = float(np.median(track.lat_deg)), float(np.median(track.lon_deg))
    return shapely.box(lon - 0.007, lat - 0.004, lon + 0.007, lat + 0.004)
