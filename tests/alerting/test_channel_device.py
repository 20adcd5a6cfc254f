"""Texts and commands to devices: the frame as a device reads it, and a real broker in between."""

import asyncio
from contextlib import asynccontextmanager
from itertools import product
from time import time
from typing import Any

import aiomqtt
import pytest

from alerting.book.classes_data import ALARM_BOOK
from alerting.book.types import AlarmClass, Audience, DeviceCommandCode, OrderKind, Purpose
from alerting.notify import (
    BrokerSettings,
    OutcomeStatus,
    RenderError,
    SystemClock,
)
from alerting.notify.delivery import delivery_of_command, delivery_of_notice
from alerting.notify.device_texts import Language, device_text
from alerting.notify.mqtt import BrokerLink, DeviceChannel, text_command_id
from firmware_contracts.codes import CommandCode
from firmware_contracts.frames import Tagger, decode_commands
from tests.alerting.notify_support import START_MS, VirtualClock, command, notice
from tests.servers import MosquittoServer, free_port

NO_LINK: Any = None  # where nothing is published
LANGUAGES: tuple[Language, ...] = ("nl", "en")
KEYS = {"vd-9": b"0123456789abcdef", "em-4": b"fedcba9876543210"}
TTL_MS = 900_000


def settings(port=1, **changes):
    return BrokerSettings(**{"host": "127.0.0.1", "port": port, **changes})


def channel(**changes):
    return DeviceChannel(NO_LINK, settings(**changes), KEYS.get)


def told(alarm_class=AlarmClass.PROXIMITY, **changes):
    """A notice for the device of the protected person."""
    fields = {
        "target": "protected-device",
        "audience": Audience.PROTECTED_PERSON,
        "subject_device_id": "vd-9",
    }
    return notice(alarm_class, **{**fields, **changes})


def read(frame, device_id):
    assert Tagger(device_id, KEYS[device_id]).valid(frame)
    (one,) = decode_commands(frame)
    return one


class TestFrame:
    def test_a_notice_becomes_a_text_under_an_id_of_its_key(self):
        device_id, frame, expires_ms = channel().frame(
            delivery_of_notice("p0-1-0-0", told()), START_MS + 5
        )
        one = read(frame, "vd-9")
        assert device_id == "vd-9"
        assert one.code == CommandCode.MESSAGE
        assert one.command_id == text_command_id("p0-1-0-0")
        assert one.expires_ms == expires_ms == START_MS + TTL_MS
        assert one.text == "Gevaar dichtbij. Ga naar veiligheid. Nood: 112."

    def test_a_copy_has_the_same_id_and_another_notice_another(self):
        ids = [text_command_id(f"p0-{n}-0-0") for n in range(2_000)]
        assert ids == [text_command_id(f"p0-{n}-0-0") for n in range(2_000)]
        assert len(set(ids)) == 2_000
        # Beside the ids that the alarm book counts, and in the signed 32 bits of the answer.
        assert all(2**30 <= one < 2**31 for one in ids)

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            (DeviceCommandCode.FIX_NOW, CommandCode.FIX_NOW),
            (DeviceCommandCode.BURST, CommandCode.BURST),
            (DeviceCommandCode.MESSAGE, CommandCode.MESSAGE),
            (DeviceCommandCode.VIBRATE, CommandCode.VIBRATE),
        ],
    )
    def test_a_command_keeps_its_fields(self, code, expected):
        body = command(code=code, text="hallo")
        device_id, frame, _ = channel().frame(delivery_of_command("k", body), START_MS)
        one = read(frame, device_id)
        assert (one.code, one.command_id, one.arg1, one.arg2) == (expected, 17, 5, 120)
        assert (one.expires_ms, one.text) == (START_MS + 60_000, "hallo")

    def test_a_frame_of_one_device_is_not_valid_for_another(self):
        _, frame, _ = channel().frame(delivery_of_command("k", command()), START_MS)
        assert not Tagger("vd-9", KEYS["em-4"]).valid(frame)

    async def test_a_device_without_a_key_is_waited_for_and_not_for_long(self):
        clock = VirtualClock()
        reach = DeviceChannel(NO_LINK, settings(), KEYS.get, clock)
        body = command(device_id="gone", expires_ms=START_MS + 60_000)
        # The wall clock steps by an hour and back: it neither ends the waiting nor prolongs it.
        for pause_ms, wrong_ms in ((0, 0), (5_000, 3_600_000), (5_000, -3_600_000)):
            await clock.advance(pause_ms)
            outcome = await reach.send(delivery_of_command("k", body), START_MS + wrong_ms)
            assert (outcome.status, outcome.reached_target) == (OutcomeStatus.RETRY, None)
        await clock.advance(1)
        with pytest.raises(RenderError, match="without a key"):
            await reach.send(delivery_of_command("k", body), START_MS)

    def test_a_notice_that_names_no_device_cannot_be_shown(self):
        body = told(subject_device_id=None)
        with pytest.raises(RenderError, match="no device"):
            channel().frame(delivery_of_notice("k", body), START_MS)

    @pytest.mark.parametrize("body", [command(text="x" * 65), command(device_id="a/b")])
    async def test_what_the_contract_does_not_take_is_a_render_error(self, body):
        keys = {"a/b": KEYS["em-4"], **KEYS}
        device = DeviceChannel(NO_LINK, settings(), keys.get)
        with pytest.raises(RenderError):
            await device.send(delivery_of_command("k", body), START_MS)


class TestTexts:
    @pytest.mark.parametrize(
        ("alarm_class", "purpose", "audience"),
        list(product(AlarmClass, Purpose, (Audience.PROTECTED_PERSON, Audience.WEARER))),
    )
    def test_every_text_fits_a_command_with_the_mark_of_an_exercise(
        self, alarm_class, purpose, audience
    ):
        for language, drill in product(LANGUAGES, (False, True)):
            body = told(alarm_class, purpose=purpose, audience=audience, drill=drill)
            if audience is Audience.WEARER and not ALARM_BOOK[alarm_class].wearer_may_know:
                with pytest.raises(RenderError, match="never told"):
                    device_text(body, language)
                continue
            text = device_text(body, language)
            assert 10 < len(text.encode()) <= 64
            assert text.startswith({"nl": "OEFENING", "en": "EXERCISE"}[language]) is drill

    @pytest.mark.parametrize(
        "alarm_class", [AlarmClass.PANIC, AlarmClass.PROXIMITY, AlarmClass.PAIR_BLIND]
    )
    def test_the_wearer_is_never_told_of_a_press_or_of_nearness(self, alarm_class):
        for purpose in Purpose:
            with pytest.raises(RenderError):
                device_text(told(alarm_class, audience=Audience.WEARER, purpose=purpose), "nl")

    def test_the_wearer_is_never_told_anything_of_a_contact_ban(self):
        body = told(AlarmClass.APPROACH, audience=Audience.WEARER, order_kind=OrderKind.CONTACT_BAN)
        with pytest.raises(RenderError):
            device_text(body, "nl")

    @pytest.mark.parametrize("audience", [Audience.POLICE, Audience.PROBATION])
    def test_nobody_else_is_reached_on_a_device(self, audience):
        with pytest.raises(RenderError):
            device_text(told(audience=audience), "nl")

    def test_a_test_press_is_called_a_test(self):
        assert "Test" in device_text(told(AlarmClass.PANIC, purpose=Purpose.TEST), "nl")

    def test_her_own_empty_battery_is_her_own(self):
        own = told(AlarmClass.DEVICE_DYING, device_id="vd-9")
        other = told(AlarmClass.DEVICE_DYING, device_id="em-4")
        assert "batterij" in device_text(own, "nl")
        assert "batterij" not in device_text(other, "nl")


@asynccontextmanager
async def linked(server, protocol, **changes):
    """A channel over a link to a broker, once it is connected."""
    link = BrokerLink(settings(server.port, protocol=protocol, **changes), SystemClock())
    running = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(10):
            await link.connected()
        yield link, DeviceChannel(link, settings(server.port, protocol=protocol), KEYS.get)
    finally:
        running.cancel()
        await asyncio.wait((running,))


@asynccontextmanager
async def device(server, device_id, **fields):
    async with aiomqtt.Client(
        "127.0.0.1", server.port, protocol=aiomqtt.ProtocolVersion.V5, **fields
    ) as client:
        await client.subscribe(f"em/{device_id}/cmd", qos=1)
        yield client


def now_ms():
    return int(time() * 1000)


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_device_gets_its_text_through_a_broker(tmp_path, protocol):
    server = MosquittoServer(tmp_path).start()
    try:
        async with linked(server, protocol) as (_, reach), device(server, "vd-9") as phone:
            body = told(at_ms=now_ms())
            outcome = await reach.send(delivery_of_notice("p0-1-0-0", body), now_ms())
            assert (outcome.status, outcome.detail) == (OutcomeStatus.DELIVERED, "broker")
            async with asyncio.timeout(10):
                message = await anext(aiter(phone.messages))
            assert str(message.topic) == "em/vd-9/cmd"
            assert read(message.payload, "vd-9").text.startswith("Gevaar dichtbij")
            assert not message.retain
            if protocol == "5":
                assert 0 < message.properties.MessageExpiryInterval <= TTL_MS / 1000
            # Many at once: each gets its own answer.
            bodies = [command(command_id=n, expires_ms=now_ms() + 60_000) for n in range(1, 200)]
            async with device(server, "em-4"):
                outcomes = await asyncio.gather(
                    *[
                        reach.send(delivery_of_command(f"k{b.command_id}", b), now_ms())
                        for b in bodies
                    ]
                )
            assert {one.status for one in outcomes} == {OutcomeStatus.DELIVERED}
    finally:
        server.stop()


@pytest.mark.servers
@pytest.mark.slow
async def test_a_broker_that_nobody_listens_at_or_that_forbids_is_no_delivery(tmp_path):
    acl = tmp_path / "acl"
    acl.write_text("topic read em/#\ntopic write em/vd-9/cmd\n")
    server = MosquittoServer(tmp_path, extra=f"acl_file {acl}").start()
    try:
        async with linked(server, "5") as (_, reach):
            body = told(at_ms=now_ms())
            outcome = await reach.send(delivery_of_notice("p0-1-0-0", body), now_ms())
            assert (outcome.status, outcome.detail) == (OutcomeStatus.RETRY, "device not connected")
            assert outcome.reached_target is True  # one device away is not the broker's fault
            async with device(server, "em-4"):
                forbidden = command(expires_ms=now_ms() + 60_000)
                outcome = await reach.send(delivery_of_command("k", forbidden), now_ms())
            assert (outcome.status, outcome.detail) == (OutcomeStatus.RETRY, "mqtt-0x87")
    finally:
        server.stop()


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_broker_that_dies_and_comes_back(tmp_path, protocol):
    server = MosquittoServer(tmp_path / "one").start()
    port = server.port
    try:
        async with linked(server, protocol) as (link, reach):
            server.pause()
            sending = asyncio.create_task(
                reach.send(delivery_of_notice("k", told(at_ms=now_ms())), now_ms())
            )
            await asyncio.sleep(0.05)
            assert not sending.done()
            server.kill()  # while a message is under way
            async with asyncio.timeout(10):
                outcome = await sending
            assert outcome.status is OutcomeStatus.RETRY
            assert outcome.reached_target is False
            outcome = await reach.send(delivery_of_notice("k", told(at_ms=now_ms())), now_ms())
            assert "not connected" in outcome.detail
            server = MosquittoServer(tmp_path / "two", port=port).start()
            async with asyncio.timeout(15), device(server, "vd-9"):
                await link.connected()
                outcome = await reach.send(delivery_of_notice("k", told(at_ms=now_ms())), now_ms())
            assert outcome.status is OutcomeStatus.DELIVERED
    finally:
        server.stop()


@pytest.mark.slow
async def test_without_a_broker_a_message_is_to_be_tried_again():
    link = BrokerLink(settings(free_port()), SystemClock())
    running = asyncio.create_task(link.run())
    reach = DeviceChannel(link, settings(), KEYS.get)
    outcome = await reach.send(delivery_of_notice("k", told()), START_MS)
    running.cancel()
    await asyncio.wait((running,))
    assert outcome.status is OutcomeStatus.RETRY


async def test_an_expired_text_is_not_shown():
    reach = DeviceChannel(NO_LINK, settings(), KEYS.get)
    outcome = await reach.send(delivery_of_notice("k", told()), START_MS + TTL_MS)
    assert (outcome.status, outcome.detail) == (OutcomeStatus.FAILED, "expired")
    assert outcome.reached_target is None
