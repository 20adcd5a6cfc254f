"""The intake's MQTT client: one subscription, taken in batches, acknowledged by hand.

Nothing is acknowledged before the caller says so, and all acknowledgements of a batch go out in one
write. Back-pressure is not acknowledging (Receive Maximum) and not reading; no queue here discards
anything. The session is persistent: what was not acknowledged when a connection ended comes again
on the next one.

A packet id has a meaning on the connection it came on only. A broker that lost its session counts
from 1 again, and an old id would acknowledge a message that nobody has seen; so acknowledgements of
an earlier connection are let go.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy.typing as npt

from afstand.limits import (
    MQTT_CONNECT_TIMEOUT_S,
    MQTT_RECEIVE_MAX,
    MQTT_RECONNECT_DELAY_S_MAX,
)
from ingest.mqtt311 import Mqtt311Codec
from ingest.mqtt_codec import (
    DISCONNECT,
    Codec,
    ConnAck,
    ConnectOptions,
    Control,
    Disconnect,
    Message,
    Mqtt5Codec,
    OtherPacket,
    SubAck,
    pubacks,
)
from ingest.mqtt_link import Inbox, Link, Taken
from ingest.scan import puback_bytes

__all__ = ["Acked", "Message", "MqttClient", "MqttSettings", "TlsSettings"]

_RECONNECT_DELAY_S_MIN: Final = 0.1
# A connection that lived shorter than this was no success: two clients of one id would throw each
# other out for ever.
_LIVED_S_MIN: Final = 10.0
_SUBSCRIBE_ID: Final = 1
_TAKEN_OVER: Final = "session-taken-over"


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TLS to the broker.

    Without `ca_file` the system's authorities count; `cert_file` and `key_file` are the client's
    own.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """Return the context; raises OSError or ssl.SSLError for files that cannot be used."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context


class MqttSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the broker is and who we are.

    `protocol` "auto" begins with 5 and goes to 3.1.1 when the broker says that it does not know 5.
    `shared_on_311` says that the broker has shared subscriptions under 3.1.1 too, which that
    version cannot ask.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    client_id: str = "afstand-intake"
    username: str | None = None
    password: str | None = None
    tls: TlsSettings | None = None
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    shared_on_311: bool = False
    keep_alive_s: int = 30
    session_expiry_s: int = 7 * 86_400
    receive_max: int = MQTT_RECEIVE_MAX

    def __repr__(self) -> str:
        where = f"{self.host}:{self.port}"
        return f"MqttSettings({where}, client_id={self.client_id!r})"  # never the password


class Acked(NamedTuple):
    """Packet ids of one connection."""

    link: int
    packet_ids: npt.NDArray[Any]


class MqttClient:
    """One persistent session.

    `filters(shared)` gives the topic filters, for a broker with or without shared subscriptions.
    `on_change` is called whenever `connected` or `reason` has changed. One consumer calls `wait`,
    `take` and `ack`.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        client_id: str,
        filters: Callable[[bool], Sequence[str]],
        paced: bool,
        now_ms: Callable[[], int],
        on_change: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._filters = filters
        self._paced = paced
        self._now_ms = now_ms
        self._on_change = on_change
        self._ssl = settings.tls.context() if settings.tls else None
        self._codec: Codec = Mqtt311Codec() if settings.protocol == "3.1.1" else Mqtt5Codec()
        self._link: Link | None = None
        self._number = 0
        self._controls: asyncio.Queue[Control] = asyncio.Queue()
        self._waiter: asyncio.Future[None] | None = None
        self._woken = False
        self._keep_alive_s: int | None = None
        self._left = Inbox()  # read on a connection that is gone: still worth writing
        self._left_taken = asyncio.Event()
        self.connected = False  # and subscribed
        self.reason = "not connected yet"
        self.shared = False
        self.connections = 0
        self.others = 0  # packets that mean nothing to us

    @property
    def version(self) -> str:
        """The protocol version in use."""
        return self._codec.version

    @property
    def ticking(self) -> bool:
        """Whether messages are read by ticks at present."""
        return self._link is not None and self._link.ticking

    # --- the consumer's side

    @property
    def waiting(self) -> bool:
        """Whether something has arrived and is not taken."""
        return len(self._left) > 0 or (self._link is not None and self._link.waiting())

    async def wait(self, timeout_s: float | None = None) -> None:
        """Return when there is something to take, after `wake`, or after `timeout_s`."""
        if self._woken or self.waiting:
            self._woken = False
            return
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiter = waiter
        timer = loop.call_later(timeout_s, self.wake) if timeout_s is not None else None
        try:
            await waiter
        finally:
            self._waiter = None
            self._woken = False
            if timer is not None:
                timer.cancel()

    def wake(self) -> None:
        """Let `wait` return."""
        self._woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def take(self, limit: int, singles_max: int) -> Taken:
        """Return up to `limit` of the messages that have arrived, oldest first.

        Those that are no plain fixes come first, and are at most `singles_max`. What is taken must
        be acknowledged in time.
        """
        if len(self._left):
            taken = self._left.take(limit, singles_max)
            if not len(self._left):
                self._left_taken.set()
            return taken
        return Taken([], []) if self._link is None else self._link.take(limit, singles_max)

    def ack(self, messages: Iterable[Message], runs: Iterable[Acked] = ()) -> int:
        """Acknowledge messages in one write.

        Return how many are of an earlier connection, and were not.
        """
        link = self._link
        number = link.number if link is not None else 0
        stale = 0
        packet_ids: list[int] = []
        out: list[bytes] = []
        for message in messages:
            if message.link != number:
                stale += 1
            elif message.packet_id:
                packet_ids.append(message.packet_id)
        for acked in runs:
            if acked.link == number:
                out.append(puback_bytes(acked.packet_ids))
            else:
                stale += len(acked.packet_ids)
        if packet_ids:
            out.append(pubacks(packet_ids))
        if out and link is not None:
            link.write(b"".join(out))
        return stale

    def publish(self, messages: Sequence[tuple[str, bytes]]) -> bool:
        """Send (topic, payload) at QoS 0 in one write and return True.

        False, and nothing sent, when there is no connection or the broker does not keep up.
        """
        link = self._link
        if link is None or not self.connected or not link.writable:
            return False
        encode = self._codec.publish
        link.write(b"".join([encode(topic, payload) for topic, payload in messages]))
        return True

    # --- the connection

    async def run(self) -> None:
        """Keep the session connected until cancelled."""
        loop = asyncio.get_running_loop()
        delay_s = _RECONNECT_DELAY_S_MIN
        while True:
            began_s = loop.time()
            try:
                reason = await self._session()
            finally:
                self._end_session()
            if loop.time() - began_s >= _LIVED_S_MIN:
                delay_s = _RECONNECT_DELAY_S_MIN
            if reason.startswith(_TAKEN_OVER):
                delay_s = MQTT_RECONNECT_DELAY_S_MAX
            self._set(False, reason)
            while len(self._left):  # bounded: one connection's messages at a time
                self._left_taken.clear()
                await self._left_taken.wait()
            await asyncio.sleep(delay_s * random.uniform(0.8, 1.2))  # noqa: S311 spreads reconnects, guards nothing
            delay_s = min(2 * delay_s, MQTT_RECONNECT_DELAY_S_MAX)

    async def _session(self) -> str:
        """Connect, subscribe and stay; return why it ended."""
        self._number += 1
        self._controls = asyncio.Queue()
        settings = self._settings
        try:
            async with asyncio.timeout(MQTT_CONNECT_TIMEOUT_S):
                link = await self._connect()
                reason = await self._handshake(link)
        except TimeoutError:
            return "connect: timeout"
        except (OSError, ssl.SSLError) as error:
            return f"connect: {type(error).__name__}: {error}"
        if reason:
            return reason
        self.connections += 1
        self._set(True, "")
        return await self._stay(link, self._keep_alive_s or settings.keep_alive_s)

    async def _connect(self) -> Link:
        settings = self._settings
        controls = self._controls
        loop = asyncio.get_running_loop()
        server_name = settings.tls.server_name if settings.tls else None

        def new_link() -> Link:
            return Link(
                self._number,
                self._codec,
                paced=self._paced,
                now_ms=self._now_ms,
                on_control=self._take_control,
                on_messages=self._messages_arrived,
                on_lost=lambda reason: controls.put_nowait(Disconnect(reason)),
            )

        _, link = await loop.create_connection(
            new_link,
            settings.host,
            settings.port,
            ssl=self._ssl,
            server_hostname=(server_name or settings.host) if self._ssl else None,
        )
        self._link = link
        return link

    async def _handshake(self, link: Link) -> str:
        """Send CONNECT and SUBSCRIBE; return an empty string, or why it failed."""
        settings = self._settings
        password = None if settings.password is None else settings.password.encode("utf-8")
        link.write(
            self._codec.connect(
                ConnectOptions(
                    self._client_id,
                    settings.username,
                    password,
                    settings.keep_alive_s,
                    settings.session_expiry_s,
                    settings.receive_max,
                )
            )
        )
        answer = await self._controls.get()
        if not isinstance(answer, ConnAck):
            return answer.reason if isinstance(answer, Disconnect) else "no CONNACK"
        if not answer.accepted:
            if answer.wrong_version and settings.protocol == "auto" and self._codec.version == "5":
                self._codec = Mqtt311Codec()
            return f"refused: {answer.reason}"
        self._keep_alive_s = answer.keep_alive_s
        self.shared = answer.shared_available or (
            self._codec.version == "3.1.1" and settings.shared_on_311
        )
        link.write(self._codec.subscribe(_SUBSCRIBE_ID, self._filters(self.shared)))
        subscribed = await self._controls.get()
        if not isinstance(subscribed, SubAck):
            return subscribed.reason if isinstance(subscribed, Disconnect) else "no SUBACK"
        refused = [code for code in subscribed.codes if code >= 128]
        return f"subscription refused: {refused}" if refused else ""

    async def _stay(self, link: Link, keep_alive_s: int) -> str:
        """Keep the connection alive until it ends; return why it did."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(keep_alive_s / 4):
                    control = await self._controls.get()
            except TimeoutError:
                now_s = loop.time()
                # While we do not read we cannot see the broker's answer, and it is not the broker
                # that is slow.
                if now_s - link.read_s > 1.5 * keep_alive_s and not link.held_back:
                    link.abort("keep-alive timeout")
                elif now_s - min(link.written_s, link.read_s) >= keep_alive_s / 2:
                    link.ping()
                continue
            if isinstance(control, Disconnect):
                return control.reason
            return f"protocol error: {type(control).__name__} out of place"

    def _take_control(self, control: Control) -> None:
        if isinstance(control, OtherPacket):
            self.others += 1
        else:
            self._controls.put_nowait(control)

    def _messages_arrived(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _end_session(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._left.add_taken(link.take(sys.maxsize, sys.maxsize))
            link.write(DISCONNECT)  # the session stays: its expiry was set in CONNECT
            link.close("closed by us")

    def _set(self, connected: bool, reason: str) -> None:
        self.connected = connected
        self.reason = reason
        self._on_change()
        self.wake()
