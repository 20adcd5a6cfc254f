"""A Teltonika tracker for tests: packets of Codec 8, and the TCP side of one device."""

import asyncio
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from firmware_contracts.teltonika import ACCEPTED_BYTE, CODEC_8, crc16_ibm

_ANSWER_S: Final = 30.0


class Sample(NamedTuple):
    """One record; `io` holds elements of one byte, `event_id` the one that caused it."""

    time_ms: int
    lat_e7: int
    lon_e7: int
    satellites: int = 9
    speed_km_h: int = 0
    angle_deg: int = 0
    priority: int = 0
    event_id: int = 0
    io: tuple[tuple[int, int], ...] = ()


def avl_packet(samples: Sequence[Sample]) -> bytes:
    """Encode 1 to 255 records as a packet."""
    body = b"".join(_record(sample) for sample in samples)
    data = bytes([CODEC_8, len(samples)]) + body + bytes([len(samples)])
    return bytes(4) + len(data).to_bytes(4) + data + crc16_ibm(data).to_bytes(4)


def _record(sample: Sample) -> bytes:
    head = struct.pack(
        ">QBiihHBH", sample.time_ms, sample.priority, sample.lon_e7, sample.lat_e7, 0,
        sample.angle_deg, sample.satellites, sample.speed_km_h,
    )  # fmt: skip
    elements = b"".join(bytes(pair) for pair in sample.io)
    count = len(sample.io)
    return head + bytes([sample.event_id, count, count]) + elements + bytes(3)


class Tracker:
    """One connection to a bridge."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, host: str, port: int, imei: str) -> "Tracker":
        """Connect and greet; ConnectionError when the bridge does not take the tracker."""
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(len(imei).to_bytes(2) + imei.encode("ascii"))
        async with asyncio.timeout(_ANSWER_S):
            if await reader.read(1) != ACCEPTED_BYTE:
                raise ConnectionError(f"{imei} was not taken")
        return cls(reader, writer)

    async def send(self, packet: bytes) -> int:
        """Send a packet; return how many records the bridge took. ConnectionError without one."""
        self._writer.write(packet)
        async with asyncio.timeout(_ANSWER_S):
            answer = await self._reader.read(4)
        if len(answer) != 4:
            raise ConnectionError("the bridge hung up")
        return int.from_bytes(answer)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
