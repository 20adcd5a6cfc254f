"""What the intake's MQTT client needs of a protocol version, and MQTT 5 by the `mqtt5` codec.

A codec turns bytes into messages and control packets and back; it does no input or output. Two
rules hold for both versions. A message whose framing is sound but whose inside is not (a property,
the encoding of a topic) or that is longer than the bound is given on with a `flaw`, so that it can
be quarantined and acknowledged: closing the connection would bring it back for ever. Only broken
framing, where the next packet cannot be found, raises MalformedPacketError.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple, Protocol, cast

import mqtt5
import msgspec

from afstand.limits import MQTT_PACKET_BYTES_MAX, MQTT_PACKET_KEPT_BYTES

FLAW_OVERSIZED: Final = "oversized"
FLAW_MALFORMED: Final = "malformed-packet"
_CONNACK: Final = 2
_PUBLISH: Final = 3
_AUTH: Final = 15
_QOS_2: Final = mqtt5.QoS.EXACTLY_ONCE  # compares with its like only, whatever its stub says


class MalformedPacketError(Exception):
    """The stream cannot be read any further: the connection must be closed."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One PUBLISH as it arrived.

    `packet_id` 0 = QoS 0. `link` numbers the connection, for which alone the id has a meaning.

    With a `flaw` the payload is what could be kept of it, and `size` is what it had.
    """

    topic: str
    payload: bytes
    packet_id: int
    dup: bool
    retain: bool
    received_ms: int
    link: int
    flaw: str = ""
    size: int = -1


class ConnAck(NamedTuple):
    """The broker's answer to CONNECT."""

    accepted: bool
    session_present: bool
    reason: str
    wrong_version: bool = False
    shared_available: bool = False
    keep_alive_s: int | None = None


class SubAck(NamedTuple):
    """The broker's answer to SUBSCRIBE; a code of 128 or more is a refusal."""

    packet_id: int
    codes: tuple[int, ...]


class Disconnect(NamedTuple):
    """The broker ends the connection."""

    reason: str


class PingAnswer(NamedTuple):
    """The broker lives."""


class OtherPacket(NamedTuple):
    """A well-framed packet that means nothing to a subscriber; it is counted and passed over."""

    name: str


Control = ConnAck | SubAck | Disconnect | PingAnswer | OtherPacket


class ConnectOptions(NamedTuple):
    """What CONNECT says.

    The session is kept (`clean start` is false) for `session_expiry_s`, where the version can say
    so.
    """

    client_id: str
    username: str | None
    password: bytes | None
    keep_alive_s: int
    session_expiry_s: int
    receive_max: int


Item = tuple[Message | Control, int]


class Drained(NamedTuple):
    """Everything whole in a buffer.

    `consumed` bytes are done with; where that is more than the buffer had, the next ones are to be
    skipped.
    """

    messages: list[Message]
    controls: list[Control]
    consumed: int


class Codec(Protocol):
    """One version of the protocol."""

    version: str

    def connect(self, options: ConnectOptions) -> bytes:
        """Return CONNECT."""

    def subscribe(self, packet_id: int, filters: Sequence[str]) -> bytes:
        """Return SUBSCRIBE at QoS 1."""

    def publish(self, topic: str, payload: bytes) -> bytes:
        """Return PUBLISH at QoS 0. Raises ValueError for a topic that cannot be one."""

    def read(self, view: memoryview, received_ms: int, link: int) -> Item | None:
        """Return the first packet of `view` and its size, None when it is not all there.

        Raises MalformedPacketError.
        """


def drain(codec: Codec, view: memoryview, received_ms: int, link: int) -> Drained:
    """Read every whole packet of `view`, which arrived at `received_ms` on connection `link`.

    Raises MalformedPacketError.
    """
    messages: list[Message] = []
    controls: list[Control] = []
    at, end = 0, len(view)
    read = codec.read
    while at < end:
        item = read(view[at:], received_ms, link)
        if item is None:
            break
        packet, size = item
        at += size
        if type(packet) is Message:
            messages.append(packet)
        else:
            controls.append(cast(Control, packet))
    return Drained(messages, controls, at)


# The same bytes in both versions.
PINGREQ: Final = b"\xc0\x00"
DISCONNECT: Final = b"\xe0\x00"


def pubacks(packet_ids: Iterable[int]) -> bytes:
    """Return one PUBACK (success) per packet id."""
    return b"".join([b"\x40\x02" + packet_id.to_bytes(2, "big") for packet_id in packet_ids])


class Fixed(NamedTuple):
    """A fixed header: packet type, its four flags, size of the header, size of the whole packet."""

    kind: int
    flags: int
    header: int
    total: int


def read_fixed(view: memoryview) -> Fixed | None:
    """Return the fixed header at the start of `view`.

    None when it is not all there. Raises MalformedPacketError.
    """
    remaining = 0
    for index in range(1, 5):
        if index >= len(view):
            return None
        byte = view[index]
        remaining |= (byte & 0x7F) << (7 * (index - 1))
        if byte < 0x80:
            return Fixed(view[0] >> 4, view[0] & 0x0F, index + 1, index + 1 + remaining)
    raise MalformedPacketError("remaining length of more than four bytes")


def scan_publish(
    view: memoryview, fixed: Fixed, received_ms: int, link: int, *, properties: bool, flaw: str = ""
) -> Message:
    """Read a PUBLISH of which `view` holds all, or (with a flaw) the beginning.

    `properties` = MQTT 5. Raises MalformedPacketError when not even the packet id can be found, and
    for QoS 2 and 3, which nobody subscribed to.
    """
    qos = (fixed.flags >> 1) & 3
    if qos > 1:
        raise MalformedPacketError(f"a message of QoS {qos}")
    end = min(fixed.total, len(view))
    at = fixed.header + 2
    topic_end = at + int.from_bytes(view[fixed.header : at], "big")
    body = topic_end + 2 * qos
    if body > end:
        raise MalformedPacketError("PUBLISH shorter than its topic")
    packet_id = int.from_bytes(view[topic_end:body], "big") if qos else 0
    if qos and not packet_id:
        raise MalformedPacketError("PUBLISH of QoS 1 with packet id 0")
    try:
        topic = str(view[at:topic_end], "utf-8")
    except UnicodeDecodeError:
        topic = str(view[at:topic_end], "utf-8", "replace")
        flaw = flaw or FLAW_MALFORMED
    if properties and not flaw:
        properties_size, width = _varint(view[body:end])
        body += properties_size + width
    elif properties:  # the properties may be what is wrong; they are kept in front of the payload
        body = min(body, end)
    if body > end:
        raise MalformedPacketError("PUBLISH shorter than its properties")
    dup, retain = bool(fixed.flags & 8), bool(fixed.flags & 1)
    payload = bytes(view[body:end])
    size = fixed.total - body if flaw else -1
    return Message(topic, payload, packet_id, dup, retain, received_ms, link, flaw, size)


def _varint(view: memoryview) -> tuple[int, int]:
    value = 0
    for index in range(min(4, len(view))):
        value |= (view[index] & 0x7F) << (7 * index)
        if view[index] < 0x80:
            return value, index + 1
    raise MalformedPacketError("PUBLISH without the length of its properties")


def read_oversized(
    view: memoryview, received_ms: int, link: int, *, properties: bool
) -> Item | None:
    """Return what is kept of a PUBLISH beyond the bound, and its whole size.

    None for a packet that is just not all there.

    Raises MalformedPacketError for any other packet of that size.
    """
    fixed = read_fixed(view)
    if fixed is None or fixed.total <= MQTT_PACKET_BYTES_MAX:
        return None
    if fixed.kind != _PUBLISH:
        raise MalformedPacketError(f"packet of type {fixed.kind} with {fixed.total} bytes")
    topic_at = fixed.header + 2
    packet_id_end = topic_at + int.from_bytes(view[fixed.header : topic_at], "big") + 2
    kept_bytes = max(MQTT_PACKET_KEPT_BYTES, packet_id_end)
    if len(view) < kept_bytes:
        return None
    kept = view[:kept_bytes]
    message = scan_publish(
        kept, fixed, received_ms, link, properties=properties, flaw=FLAW_OVERSIZED
    )
    return message, fixed.total


class Mqtt5Codec:
    """MQTT 5."""

    version = "5"

    def connect(self, options: ConnectOptions) -> bytes:
        """Return CONNECT.

        No topic aliases; no maximum packet size, because a broker drops what is larger in silence.
        """
        return mqtt5.ConnectPacket(
            options.client_id,
            username=options.username,
            password=options.password,
            clean_start=False,
            keep_alive=options.keep_alive_s,
            session_expiry_interval=options.session_expiry_s,
            receive_max=options.receive_max,
        ).write()

    def subscribe(self, packet_id: int, filters: Sequence[str]) -> bytes:
        """Return SUBSCRIBE. Retained messages are asked for only when the subscription is new."""
        retain = mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS
        return mqtt5.SubscribePacket(
            packet_id,
            [
                mqtt5.TopicFilter(pattern, max_qos=mqtt5.QoS.AT_LEAST_ONCE, retain_handling=retain)
                for pattern in filters
            ],
        ).write()

    def publish(self, topic: str, payload: bytes) -> bytes:
        """Return PUBLISH at QoS 0."""
        return mqtt5.PublishPacket(topic, payload).write()

    def read(self, view: memoryview, received_ms: int, link: int) -> Item | None:
        """Return the first packet of `view` and its size, None when it is not all there."""
        try:
            packet, size = mqtt5.read(view)
        except IndexError:
            return read_oversized(view, received_ms, link, properties=True)
        except ValueError as error:
            return _unreadable(view, received_ms, link, str(error))
        except BaseException as error:
            # The codec panics on text that is no UTF-8, and a panic is no Exception.
            if type(error).__name__ != "PanicException":
                raise
            return _unreadable(view, received_ms, link, str(error))
        if type(packet) is not mqtt5.PublishPacket:
            return _control(packet), size
        if size > MQTT_PACKET_BYTES_MAX:
            return read_oversized(view, received_ms, link, properties=True)
        if packet.qos == _QOS_2:
            raise MalformedPacketError("a message of QoS 2")
        message = Message(
            packet.topic,
            packet.payload,
            packet.packet_id or 0,
            packet.duplicate,
            packet.retain,
            received_ms,
            link,
        )
        return message, size


def _unreadable(view: memoryview, received_ms: int, link: int, why: str) -> Item:
    """Judge a packet that the codec refused: its framing may be sound all the same."""
    fixed = read_fixed(view)
    if fixed is None or fixed.total > len(view):
        raise MalformedPacketError(why)
    if fixed.kind == _PUBLISH:
        message = scan_publish(view, fixed, received_ms, link, properties=True, flaw=FLAW_MALFORMED)
        return message, fixed.total
    if fixed.kind == _CONNACK and fixed.total == 4:  # how a broker of 3.1.1 alone refuses
        return ConnAck(False, False, f"refused with code {view[3]}", wrong_version=True), 4
    if fixed.kind == _AUTH:
        return OtherPacket("unreadable AUTH"), fixed.total
    raise MalformedPacketError(f"packet of type {fixed.kind}: {why}")


def _control(packet: mqtt5.Packet) -> Control:
    if isinstance(packet, mqtt5.ConnAckPacket):
        return ConnAck(
            packet.reason_code == mqtt5.ConnAckReasonCode.SUCCESS,
            packet.session_present,
            _reason(packet.reason_code, packet.reason_str),
            packet.reason_code == mqtt5.ConnAckReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
            packet.shared_subscription_available,
            packet.server_keep_alive,
        )
    if isinstance(packet, mqtt5.SubAckPacket):
        return SubAck(packet.packet_id, tuple(int(code) for code in packet.reason_codes))
    if isinstance(packet, mqtt5.PingRespPacket):
        return PingAnswer()
    if isinstance(packet, mqtt5.DisconnectPacket):
        return Disconnect(_reason(packet.reason_code, packet.reason_str))
    return OtherPacket(type(packet).__name__)


def _reason(code: IntEnum, text: str | None) -> str:
    name = code.name.lower().replace("_", "-")
    return f"{name} ({text})" if text else name
