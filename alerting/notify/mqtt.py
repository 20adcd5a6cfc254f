"""Texts and commands to devices: one frame of the device contract per delivery, over the broker.

Delivered means here that the broker has taken it for the device. What the device made of it comes
back as an event of the device (command-done, -refused, -expired), through the journal.
"""

import asyncio
import logging
import ssl
import struct
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final

import aiomqtt
from paho.mqtt.client import MQTT_ERR_SUCCESS
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from afstand.limits import (
    NOTIFY_CONNECT_WAIT_MS_MAX,
    NOTIFY_KEYLESS_MAX,
    NOTIFY_KEYLESS_MS_MAX,
    NOTIFY_RECONNECT_MS_MAX,
)
from alerting.book.types import DeviceCommand, DeviceCommandCode, Notice
from alerting.notify.backoff import backoff_ms
from alerting.notify.clock import Clock, SystemClock, within
from alerting.notify.delivery import Delivery, Outcome, OutcomeStatus, RenderError
from alerting.notify.device_texts import device_text, prompt_text
from alerting.notify.settings import BrokerSettings
from alerting.notify.webhook import error_text, tls_context
from firmware_contracts.codes import CommandCode
from firmware_contracts.frames import encode_command
from firmware_contracts.topics import cmd_topic

DeviceKey = Callable[[str], bytes | None]
"""Gives the key of a device; None for one that is not known, not yet known, or out of use."""

REASON_NOBODY_THERE: Final = 0x10
"""MQTT 5, 3.4.2.1: no matching subscribers. The device is away and has no session."""
REASON_REFUSED_MIN: Final = 0x80
_QOS: Final = 1
_VERSIONS: Final = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}
_CODES: Final = {
    DeviceCommandCode.FIX_NOW: CommandCode.FIX_NOW,
    DeviceCommandCode.BURST: CommandCode.BURST,
    DeviceCommandCode.MESSAGE: CommandCode.MESSAGE,
    DeviceCommandCode.VIBRATE: CommandCode.VIBRATE,
}
# Ids of texts are taken from the key of the notice, above those that the alarm book counts, and fit
# the signed 32 bits of the device's answer.
_TEXT_ID_BIT: Final = 1 << 30


class _Client(aiomqtt.Client):
    """aiomqtt's client, with the answer of the broker to a publish: aiomqtt 2 throws it away."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answers: dict[int, asyncio.Future[int]] = {}

    async def publish_confirmed(
        self, topic: str, payload: bytes, properties: Properties | None
    ) -> int:
        """Publish with QoS 1 and give the reason code of the broker; always 0 over MQTT 3.1.1."""
        info = self._client.publish(topic, payload, _QOS, retain=False, properties=properties)
        if info.rc != MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(info.rc, "could not publish")
        # The answer is read by this same loop, so it cannot have come before this line.
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._answers[info.mid] = answer
        try:
            done, _ = await asyncio.wait(
                (answer, self._disconnected), return_when=asyncio.FIRST_COMPLETED
            )
            if answer in done:
                return answer.result()
            msg = "disconnected before the broker answered"
            raise aiomqtt.MqttError(msg)
        finally:
            del self._answers[info.mid]

    def _on_publish(
        self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any
    ) -> None:
        answer = self._answers.get(mid)
        if answer is not None and not answer.done():
            answer.set_result(int(reason_code.value))
        super()._on_publish(client, userdata, mid, reason_code, properties)


class BrokerLink:
    """The one connection to the broker; `run` keeps it open."""

    def __init__(self, settings: BrokerSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._log = logging.getLogger(__name__)
        self._tls: ssl.SSLContext | None = tls_context(settings.tls) if settings.tls else None
        self._client: _Client | None = None
        self._up = asyncio.Event()

    async def connected(self) -> None:
        """Return when the broker is there."""
        await self._up.wait()

    async def run(self) -> None:
        """Connect, and connect again with back-off, until cancelled."""
        failures = 0
        while True:
            client = self._new_client()
            try:
                async with client:
                    self._client = client
                    self._up.set()
                    failures = 0
                    # Nothing is subscribed to: this ends when the connection does.
                    async for _ in client.messages:
                        pass
            except Exception as error:  # noqa: BLE001 - the link outlives every fault of the client
                self._log.warning("broker lost or not reached: %s", error_text(error))
            finally:
                self._client = None
                self._up.clear()
            failures += 1
            wait_ms = backoff_ms(self._settings.client_id, failures, 200, NOTIFY_RECONNECT_MS_MAX)
            await self._clock.sleep_ms(wait_ms)

    async def publish(self, topic: str, payload: bytes, ttl_ms: int) -> int:
        """Give the broker's reason code; aiomqtt.MqttError when it is not there or went away."""
        if self._client is None:
            # At a start or a short loss of the broker: better than a back-off of the lane.
            with suppress(TimeoutError):
                await within(self._clock, NOTIFY_CONNECT_WAIT_MS_MAX, self._up.wait())
        client = self._client
        if client is None:
            msg = "not connected to the broker"
            raise aiomqtt.MqttError(msg)
        properties = None
        if self._settings.protocol == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = max(1, -(-ttl_ms // 1000))
        return await client.publish_confirmed(topic, payload, properties)

    def _new_client(self) -> _Client:
        settings = self._settings
        protocol = _VERSIONS[settings.protocol]
        return _Client(
            settings.host,
            settings.port,
            identifier=settings.client_id,
            username=settings.username,
            password=settings.password,
            protocol=protocol,
            clean_session=None if protocol is aiomqtt.ProtocolVersion.V5 else True,
            keepalive=settings.keepalive_s,
            tls_context=self._tls,
        )


class _NoKeyError(Exception):
    """The registry has no key of the device, or not yet."""


class DeviceChannel:
    """One lane to devices, through the shared link."""

    def __init__(
        self,
        link: BrokerLink,
        settings: BrokerSettings,
        key_of: DeviceKey,
        clock: Clock | None = None,
    ) -> None:
        self._link = link
        self._settings = settings
        self._key_of = key_of
        self._clock = clock or SystemClock()
        self._keyless: OrderedDict[str, int] = OrderedDict()  # since when, by delivery

    async def send(self, delivery: Delivery, now_ms: int) -> Outcome:
        """Publish one command frame; RenderError for what no device may or can get."""
        try:
            device_id, frame, expires_ms = self.frame(delivery, now_ms)
            topic = cmd_topic(device_id)
        except _NoKeyError:
            return self._without_key(delivery.key, self._clock.steady_ms())
        except (ArithmeticError, LookupError, TypeError, ValueError, struct.error) as error:
            raise RenderError(error_text(error)) from error
        if expires_ms <= now_ms:
            return Outcome(status=OutcomeStatus.FAILED, detail="expired", reached_target=None)
        try:
            reason = await self._link.publish(topic, frame, expires_ms - now_ms)
        except (aiomqtt.MqttError, OSError) as error:
            return Outcome(
                status=OutcomeStatus.RETRY, detail=error_text(error), reached_target=False
            )
        if reason == REASON_NOBODY_THERE:
            return Outcome(status=OutcomeStatus.RETRY, detail="device not connected")
        if reason >= REASON_REFUSED_MIN:
            # The broker's rights are wrong for this device: no fault of its neighbours.
            return Outcome(status=OutcomeStatus.RETRY, detail=f"mqtt-{reason:#04x}")
        return Outcome(status=OutcomeStatus.DELIVERED, detail="broker")

    def _without_key(self, key: str, steady_ms: int) -> Outcome:
        """Wait a little for the registry: at a start, or for a device given out just now.

        By a clock that never steps: one set forward must not end the waiting at once.
        """
        first_ms = self._keyless.setdefault(key, steady_ms)
        while len(self._keyless) > NOTIFY_KEYLESS_MAX:
            self._keyless.popitem(last=False)
        if steady_ms - first_ms > NOTIFY_KEYLESS_MS_MAX:
            msg = "device without a key: unknown or out of use"
            raise RenderError(msg)
        return Outcome(
            status=OutcomeStatus.RETRY, detail="device without a key", reached_target=None
        )

    def frame(self, delivery: Delivery, now_ms: int) -> tuple[str, bytes, int]:
        """Give device, command frame and the time after which the device must not obey it."""
        body = delivery.body
        command = self._text_command(delivery.key, body) if isinstance(body, Notice) else body
        key = self._key_of(command.device_id)
        if key is None:
            raise _NoKeyError
        frame = encode_command(
            command.device_id,
            key,
            command_id=command.command_id,
            expires_ms=command.expires_ms,
            code=_CODES[command.code],
            arg1=command.interval_s,
            arg2=command.duration_s,
            text=command.text or prompt_text(command, self._settings.language),
            server_time_ms=now_ms,
        )
        return command.device_id, frame, command.expires_ms

    def _text_command(self, key: str, notice: Notice) -> DeviceCommand:
        if notice.subject_device_id is None:
            msg = "notice names no device"
            raise RenderError(msg)
        return DeviceCommand(
            device_id=notice.subject_device_id,
            code=DeviceCommandCode.MESSAGE,
            command_id=text_command_id(key),
            at_ms=notice.at_ms,
            expires_ms=notice.at_ms + self._settings.message_ttl_ms,
            text=device_text(notice, self._settings.language),
            incident_id=notice.incident_id,
            reason=notice.reason,
        )


def text_command_id(key: str) -> int:
    """Give the command id of a notice shown on a device: the same each time it is sent."""
    digest = blake2b(key.encode(), digest_size=4).digest()
    return _TEXT_ID_BIT | (int.from_bytes(digest, "little") & (_TEXT_ID_BIT - 1))
