"""The MQTT topics of a device, of an OwnTracks phone and of a Teltonika tracker."""

import re
from enum import StrEnum
from typing import Final

from afstand.limits import TOPIC_CHARACTERS_MAX
from firmware_contracts.codes import Kind
from firmware_contracts.faults import Fault, FrameError

DEVICE_ID_CHARACTERS_MAX: Final = 64
_DEVICE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
# An OwnTracks device is known as user.device; a dot in the user would let two phones share that
# name.
_OWNTRACKS_USER: Final = re.compile(r"[A-Za-z0-9_-]{1,62}", re.ASCII)
_OWNTRACKS_BRANCHES: Final = (
    "event",
    "waypoint",
    "waypoints",
    "status",
    "step",
    "info",
    "dump",
    "request",
)


class Lane(StrEnum):
    """Which of a device's topics a message came in on or goes out on."""

    FIX = "fix"
    EVENT = "event"
    STATUS = "status"
    ACK = "ack"
    CMD = "cmd"
    OWNTRACKS = "owntracks"
    TRACKER = "tracker"
    TRACKER_EVENT = "tracker-event"
    TRACKER_ACK = "tracker-ack"


# The one kind of frame that each lane carries; another kind on it is refused as a wrong topic.
KIND_OF_LANE: Final[dict[Lane, Kind]] = {
    Lane.FIX: Kind.FIX,
    Lane.EVENT: Kind.EVENT,
    Lane.STATUS: Kind.STATUS,
    Lane.ACK: Kind.ACK,
    Lane.CMD: Kind.COMMAND,
}
_TRACKER_LANES: Final = {
    "avl": Lane.TRACKER,
    "event": Lane.TRACKER_EVENT,
    "ack": Lane.TRACKER_ACK,
}
_IMEI: Final = re.compile(r"[0-9]{15}", re.ASCII)
_EM_LANES: Final[dict[str, Lane]] = {lane.value: lane for lane in KIND_OF_LANE}


def valid_device_id(device_id: str) -> bool:
    """Tell whether this can be a device's id: 1 to 64 of letters, digits, . _ -."""
    return _DEVICE_ID.fullmatch(device_id) is not None


def fix_topic(device_id: str) -> str:
    """Give the topic a device publishes its fix frames on."""
    return _topic(device_id, Lane.FIX)


def event_topic(device_id: str) -> str:
    """Give the topic a device publishes its event frames on: the priority lane."""
    return _topic(device_id, Lane.EVENT)


def status_topic(device_id: str) -> str:
    """Give the topic a device publishes its status frames and its last will on."""
    return _topic(device_id, Lane.STATUS)


def ack_topic(device_id: str) -> str:
    """Give the topic on which a device hears what is durable."""
    return _topic(device_id, Lane.ACK)


def cmd_topic(device_id: str) -> str:
    """Give the topic on which a device hears commands."""
    return _topic(device_id, Lane.CMD)


def tracker_topic(imei: str, lane: Lane) -> str:
    """Give a topic of a tracker: teltonika/{imei}/avl, /event or /ack."""
    names = {lane: name for name, lane in _TRACKER_LANES.items()}
    if _IMEI.fullmatch(imei) is None:
        msg = f"not an IMEI: {imei!r}"
        raise ValueError(msg)
    return f"teltonika/{imei}/{names[lane]}"


def _topic(device_id: str, lane: Lane) -> str:
    if not valid_device_id(device_id):
        msg = f"not a device id: {device_id!r}"
        raise ValueError(msg)
    return f"em/{device_id}/{lane.value}"


def parse_topic(topic: str) -> tuple[str, Lane]:
    """Give the device id and the lane of a topic.

    A tracker's topic teltonika/{imei}/... gives its IMEI. A phone's topic
    owntracks/{user}/{device}, with or without one of OwnTracks' own branches behind it, gives the
    device id "{user}.{device}". Raises FrameError(WRONG_TOPIC) for every other topic.
    """
    if len(topic) > TOPIC_CHARACTERS_MAX:
        raise FrameError(Fault.WRONG_TOPIC, f"topic of {len(topic)} characters")
    levels = topic.split("/")
    if levels[0] == "em" and len(levels) == 3:
        lane = _EM_LANES.get(levels[2])
        if lane is not None and valid_device_id(levels[1]):
            return levels[1], lane
    elif levels[0] == "teltonika" and len(levels) == 3:
        lane = _TRACKER_LANES.get(levels[2])
        if lane is not None and _IMEI.fullmatch(levels[1]):
            return levels[1], lane
    elif levels[0] == "owntracks" and (
        len(levels) == 3 or (len(levels) == 4 and levels[3] in _OWNTRACKS_BRANCHES)
    ):
        device_id = f"{levels[1]}.{levels[2]}"
        if levels[2] and _OWNTRACKS_USER.fullmatch(levels[1]) and valid_device_id(device_id):
            return device_id, Lane.OWNTRACKS
    raise FrameError(Fault.WRONG_TOPIC, f"no lane of ours: {topic!r}")
