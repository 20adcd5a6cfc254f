"""MQTT 3.1.1: the little of it that a subscriber at QoS 1 needs (OASIS mqtt-v3.1.1-os).

The embedded broker of the demo speaks nothing newer. There are no reasons, no Receive Maximum and
no way to learn whether shared subscriptions exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from afstand.limits import MQTT_PACKET_BYTES_MAX
from ingest.mqtt_codec import (
    ConnAck,
    ConnectOptions,
    Control,
    Item,
    MalformedPacketError,
    OtherPacket,
    PingAnswer,
    SubAck,
    read_fixed,
    read_oversized,
    scan_publish,
)

_CONNACK: Final = 2
_PUBLISH: Final = 3
_SUBACK: Final = 9
_PINGRESP: Final = 13
_REFUSALS: Final = (
    "success",
    "unsupported-protocol-version",
    "client-id-not-valid",
    "server-unavailable",
    "bad-user-name-or-password",
    "not-authorized",
)


class Mqtt311Codec:
    """MQTT 3.1.1."""

    version = "3.1.1"

    def connect(self, options: ConnectOptions) -> bytes:
        """Return CONNECT with `clean session` off.

        The broker keeps the session as long as it likes.
        """
        flags = 0
        payload = _text(options.client_id)
        if options.username is not None:
            flags |= 0x80
            payload += _text(options.username)
        if options.password is not None:
            if options.username is None:
                raise ValueError("MQTT 3.1.1 has no password without a user name")
            flags |= 0x40
            payload += _binary(options.password)
        keep_alive = options.keep_alive_s.to_bytes(2, "big")
        return _packet(0x10, _text("MQTT") + bytes([4, flags]) + keep_alive + payload)

    def subscribe(self, packet_id: int, filters: Sequence[str]) -> bytes:
        """Return SUBSCRIBE at QoS 1."""
        body = b"".join(_text(pattern) + b"\x01" for pattern in filters)
        return _packet(0x82, packet_id.to_bytes(2, "big") + body)

    def publish(self, topic: str, payload: bytes) -> bytes:
        """Return PUBLISH at QoS 0."""
        if not topic or any(character in topic for character in "+#\0"):
            raise ValueError(f"not a topic to publish on: {topic!r}")
        return _packet(0x30, _text(topic) + payload)

    def read(self, view: memoryview, received_ms: int, link: int) -> Item | None:
        """Return the first packet of `view` and its size, None when it is not all there."""
        fixed = read_fixed(view)
        if fixed is None:
            return None
        if fixed.total > MQTT_PACKET_BYTES_MAX:
            return read_oversized(view, received_ms, link, properties=False)
        if fixed.total > len(view):
            return None
        if fixed.kind == _PUBLISH:
            return scan_publish(view, fixed, received_ms, link, properties=False), fixed.total
        return _control(fixed.kind, bytes(view[fixed.header : fixed.total])), fixed.total


def _control(kind: int, body: bytes) -> Control:
    if kind == _CONNACK:
        if len(body) != 2:
            raise MalformedPacketError(f"CONNACK of {len(body)} bytes")
        code = body[1]
        reason = _REFUSALS[code] if code < len(_REFUSALS) else f"refused with code {code}"
        return ConnAck(code == 0, bool(body[0] & 1), reason, wrong_version=code == 1)
    if kind == _SUBACK:
        if len(body) < 3:
            raise MalformedPacketError(f"SUBACK of {len(body)} bytes")
        return SubAck(int.from_bytes(body[:2], "big"), tuple(body[2:]))
    if kind == _PINGRESP:
        return PingAnswer()
    if kind == 0:
        raise MalformedPacketError("packet of type 0")
    return OtherPacket(f"type {kind}")


def _packet(first: int, body: bytes) -> bytes:
    remaining = len(body)
    if remaining >= 1 << 28:
        raise ValueError("an MQTT packet has at most 256 MiB")
    length = bytearray()
    while True:
        remaining, byte = remaining >> 7, remaining & 0x7F
        length.append(byte | (0x80 if remaining else 0))
        if not remaining:
            return bytes([first]) + bytes(length) + body


def _text(text: str) -> bytes:
    return _binary(text.encode("utf-8"))


def _binary(raw: bytes) -> bytes:
    if len(raw) > 0xFFFF:
        raise ValueError(f"an MQTT string of {len(raw)} bytes")
    return len(raw).to_bytes(2, "big") + raw
