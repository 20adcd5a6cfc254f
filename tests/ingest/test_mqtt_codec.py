"""Both codecs.

What is written is read, in any pieces; nothing that comes in raises anything but a broken stream.
"""

import mqtt5
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afstand.limits import MQTT_PACKET_BYTES_MAX, MQTT_PACKET_KEPT_BYTES
from ingest.mqtt311 import Mqtt311Codec
from ingest.mqtt_codec import (
    FLAW_MALFORMED,
    FLAW_OVERSIZED,
    ConnAck,
    ConnectOptions,
    Disconnect,
    MalformedPacketError,
    Message,
    Mqtt5Codec,
    OtherPacket,
    PingAnswer,
    SubAck,
    drain,
    pubacks,
)

FIVE, THREE = Mqtt5Codec(), Mqtt311Codec()
CODECS = pytest.mark.parametrize("codec", [FIVE, THREE], ids=["5", "3.1.1"])
NOW_MS = 1_790_000_000_000
topics = st.text("em/dev-0123456789", min_size=1, max_size=40)


def text(raw: bytes) -> bytes:
    return len(raw).to_bytes(2, "big") + raw


def varint(value: int) -> bytes:
    out = b""
    while True:
        value, byte = value >> 7, value & 0x7F
        out += bytes([byte | (0x80 if value else 0)])
        if not value:
            return out


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + varint(len(body)) + body


def publish(codec, topic, payload, *, packet_id=0, dup=False, retain=False, properties=b""):
    """A PUBLISH by the letter of the standard, written apart from the code under test."""
    qos = 1 if packet_id else 0
    body = text(topic.encode())
    if packet_id:
        body += packet_id.to_bytes(2, "big")
    if codec is FIVE:
        body += varint(len(properties)) + properties
    return packet(0x30 | dup << 3 | qos << 1 | retain, body + payload)


def everything(codec, raw):
    drained = drain(codec, memoryview(raw), NOW_MS, 3)
    return drained.messages, drained.controls, drained.consumed


sent = st.lists(
    st.tuples(
        topics, st.binary(max_size=300), st.integers(0, 65_535), st.booleans(), st.booleans()
    ),
    max_size=8,
)


@pytest.mark.slow
@CODECS
@given(messages=sent, data=st.data())
def test_messages_in_any_pieces(codec, messages, data):
    stream = b"".join(
        publish(codec, t, p, packet_id=i, dup=d and i > 0, retain=r) for t, p, i, d, r in messages
    )
    expected = [Message(t, p, i, d and i > 0, r, NOW_MS, 3) for t, p, i, d, r in messages]
    got: list[Message] = []
    buffer = b""
    at = 0
    while at < len(stream):
        step = data.draw(st.integers(1, 400))
        buffer += stream[at : at + step]
        at += step
        found, controls, consumed = everything(codec, buffer)
        assert not controls
        assert consumed <= len(buffer)
        got += found
        buffer = buffer[consumed:]
    assert buffer == b""
    assert got == expected


@pytest.mark.slow
@CODECS
@settings(max_examples=300)
@given(noise=st.binary(max_size=200))
def test_noise_breaks_nothing_but_the_stream(codec, noise):
    try:
        found, _, consumed = everything(codec, noise)
    except MalformedPacketError:
        return
    assert consumed <= len(noise) or found == []


@pytest.mark.slow
@CODECS
@settings(max_examples=300)
@given(kind=st.integers(0, 15), flags=st.integers(0, 15), body=st.binary(max_size=60))
def test_every_well_framed_packet_is_passed_over_or_breaks_the_stream(codec, kind, flags, body):
    """What stands behind it is read all the same."""
    good = publish(codec, "em/d/fix", b"x", packet_id=7)
    raw = packet(kind << 4 | flags, body)
    try:
        found, controls, consumed = everything(codec, raw + good)
    except MalformedPacketError:
        return
    assert consumed == len(raw) + len(good)
    assert found[-1].payload == b"x"
    assert len(found) + len(controls) == 2


@CODECS
def test_an_oversized_message_is_kept_in_part_and_skipped(codec):
    payload = bytes(range(256)) * (4 * MQTT_PACKET_BYTES_MAX // 256)
    raw = publish(codec, "em/d/fix", payload, packet_id=9)
    assert everything(codec, raw[: MQTT_PACKET_KEPT_BYTES - 1]) == ([], [], 0)
    for held in (MQTT_PACKET_KEPT_BYTES, 20_000, len(raw)):
        (message,), controls, consumed = everything(codec, raw[:held])
        assert controls == []
        assert consumed == len(raw), "the rest of it is to be skipped"
        assert (message.flaw, message.packet_id) == (FLAW_OVERSIZED, 9)
        assert message.topic == "em/d/fix"
        assert len(payload) <= message.size <= len(payload) + 1
        assert message.payload[-100:] in payload
        assert len(message.payload) <= MQTT_PACKET_KEPT_BYTES


@CODECS
def test_an_oversized_message_with_an_endless_topic(codec):
    raw = publish(codec, "em/" + "d" * 60_000 + "/fix", bytes(MQTT_PACKET_BYTES_MAX), packet_id=9)
    assert everything(codec, raw[:30_000]) == ([], [], 0)
    (message,), _, consumed = everything(codec, raw)
    assert (message.packet_id, message.flaw, consumed) == (9, FLAW_OVERSIZED, len(raw))


@CODECS
def test_an_oversized_packet_that_is_no_message_breaks_the_stream(codec):
    with pytest.raises(MalformedPacketError, match="type 9"):
        everything(codec, packet(0x90, bytes(MQTT_PACKET_BYTES_MAX))[:1000])


@pytest.mark.parametrize(
    "properties",
    [
        b"\x01\x00\x01\x00",  # the same property twice
        b"\x7f",  # no such property
        b"\x26\x00\x01a",  # half a user property
        b"\x23\x00\x00",  # topic alias 0
    ],
)
def test_a_message_with_broken_properties_is_flawed_and_does_not_break_the_stream(properties):
    bad = publish(FIVE, "em/d/fix", b"payload", packet_id=5, properties=properties)
    good = publish(FIVE, "em/d/fix", b"next", packet_id=6)
    (flawed, sound), controls, consumed = everything(FIVE, bad + good)
    assert (flawed.flaw, flawed.packet_id, flawed.topic) == (FLAW_MALFORMED, 5, "em/d/fix")
    assert flawed.payload.endswith(b"payload")
    assert (sound.payload, sound.flaw, controls) == (b"next", "", [])
    assert consumed == len(bad) + len(good)


# The codec of 5 panics on such text, and leaves what it choked on to be reported by the
# interpreter.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@CODECS
def test_a_topic_that_is_no_text_is_flawed(codec):
    body = text(b"em/\xff\xfe/fix") + b"\0\5" + (b"\0" if codec is FIVE else b"") + b"x"
    good = publish(codec, "em/d/fix", b"next", packet_id=6)
    (message, sound), _, _ = everything(codec, packet(0x32, body) + good)
    assert (message.flaw, message.packet_id) == (FLAW_MALFORMED, 5)
    assert (sound.payload, sound.flaw) == (b"next", "")


@CODECS
@pytest.mark.parametrize(
    "raw",
    [
        b"\x32\xff\xff\xff\xff\x01",  # a remaining length of five bytes
        packet(0x32, text(b"em/d/fix")),  # no packet id
        packet(0x34, text(b"em/d/fix") + b"\0\1\0"),  # QoS 2
        packet(0x36, text(b"em/d/fix") + b"\0\1\0"),  # QoS 3
        packet(0x32, b"\xff\xffem"),  # a topic longer than the packet
        packet(0x20, b"\0"),  # half a CONNACK
        packet(0x90, b"\0"),  # half a SUBACK
        b"\0\0",
    ],
)
def test_what_cannot_be_read_any_further(codec, raw):
    with pytest.raises(MalformedPacketError):
        everything(codec, raw)


# --- control packets


def test_controls_of_5():
    raw = b"".join(
        [
            mqtt5.ConnAckPacket(session_present=True, server_keep_alive=9).write(),
            mqtt5.SubAckPacket(
                1,
                [
                    mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE,
                    mqtt5.SubAckReasonCode.NOT_AUTHORIZED,
                ],
            ).write(),
            mqtt5.PingRespPacket().write(),
            mqtt5.PubRelPacket(4).write(),
            mqtt5.AuthPacket().write(),
            mqtt5.DisconnectPacket(
                reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER, reason_str="why"
            ).write(),
        ]
    )
    assert everything(FIVE, raw)[1] == [
        ConnAck(True, True, "success", False, True, 9),
        SubAck(1, (1, 135)),
        PingAnswer(),
        OtherPacket("PubRelPacket"),
        OtherPacket("AuthPacket"),
        Disconnect("session-taken-over (why)"),
    ]


def test_controls_of_311():
    raw = b"\x20\x02\x01\x00" + b"\x90\x04\x00\x01\x01\x80" + b"\xd0\x00" + b"\x62\x02\x00\x04"
    assert everything(THREE, raw)[1] == [
        ConnAck(True, True, "success"),
        SubAck(1, (1, 128)),
        PingAnswer(),
        OtherPacket("type 6"),
    ]
    (refused,) = everything(THREE, b"\x20\x02\x00\x05")[1]
    assert (refused.accepted, refused.reason) == (False, "not-authorized")
    (strange,) = everything(THREE, b"\x20\x02\x00\x99")[1]
    assert not strange.accepted


def test_a_broker_of_311_that_is_asked_for_5_is_understood():
    (refused,) = everything(FIVE, b"\x20\x02\x00\x01")[1]
    assert not refused.accepted
    assert refused.wrong_version


@pytest.mark.slow
@given(st.lists(st.integers(1, 65_535), max_size=50))
def test_pubacks(ids):
    raw = pubacks(ids)
    got = []
    while raw:
        read, size = mqtt5.read(memoryview(raw))
        assert isinstance(read, mqtt5.PubAckPacket)
        got.append(read.packet_id)
        raw = raw[size:]
    assert got == ids


OPTIONS = ConnectOptions("intake-1", "user", b"secret", 30, 3600, 200)


def test_connect_of_5():
    read, _ = mqtt5.read(memoryview(FIVE.connect(OPTIONS)))
    assert isinstance(read, mqtt5.ConnectPacket)
    assert (read.client_id, read.username, read.password) == ("intake-1", "user", b"secret")
    assert (read.clean_start, read.keep_alive, read.session_expiry_interval) == (False, 30, 3600)
    assert (read.receive_max, read.topic_alias_max) == (200, 0)


def test_connect_of_311_by_the_letter():
    assert THREE.connect(OPTIONS) == packet(
        0x10,
        text(b"MQTT") + b"\x04\xc0\x00\x1e" + text(b"intake-1") + text(b"user") + text(b"secret"),
    )
    bare = OPTIONS._replace(username=None, password=None)
    assert THREE.connect(bare) == packet(0x10, text(b"MQTT") + b"\x04\0\0\x1e" + text(b"intake-1"))
    with pytest.raises(ValueError, match="user name"):
        THREE.connect(OPTIONS._replace(username=None))


def test_subscribe_of_both():
    filters = ["$share/g/em/+/fix", "em/+/event"]
    read, _ = mqtt5.read(memoryview(FIVE.subscribe(4, filters)))
    assert isinstance(read, mqtt5.SubscribePacket)
    assert [(f.pattern, f.max_qos) for f in read.topic_filters] == [
        (pattern, mqtt5.QoS.AT_LEAST_ONCE) for pattern in filters
    ]
    assert THREE.subscribe(4, filters) == packet(
        0x82, b"\0\4" + b"".join(text(f.encode()) + b"\1" for f in filters)
    )


@CODECS
@given(topic=topics, payload=st.binary(max_size=300))
def test_publish(codec, topic, payload):
    (message,), _, _ = everything(codec, codec.publish(topic, payload))
    assert (message.topic, message.payload, message.packet_id) == (topic, payload, 0)


@CODECS
@pytest.mark.parametrize("topic", ["", "em/+/ack", "em/#"])
def test_a_topic_that_cannot_be_published_on(codec, topic):
    with pytest.raises(ValueError):  # noqa: PT011 the codec of 5 has its own words
        codec.publish(topic, b"")


def test_long_remaining_lengths_of_311():
    for size in (0, 100, 128, 16_384, 60_000):
        raw = THREE.publish("t", bytes(size))
        assert raw == packet(0x30, text(b"t") + bytes(size))
