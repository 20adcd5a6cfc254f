"""Drives a conformance test of a device over a broker.

It plays the server for one device: acknowledges, withholds, commands. So it wants a broker (or at
least a device) that no intake listens to: the device must not be in the registry of a service that
runs there, and a panic press of an unknown device would open an incident.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import aiomqtt
import msgspec
from paho.mqtt.subscribeoptions import SubscribeOptions

from firmware_contracts import Lane, ack_topic, cmd_topic
from firmware_contracts.codes import EventCode
from firmware_contracts.conformance import Action, Do, Examiner, Phase, Stimulus, Tell
from simulators.client import NO_DELAY

CONNECT_S: Final = 10.0
TICK_S: Final = (0.005, 0.1)
_QOS_MAX: Final = 2  # so that a message of QoS 2 shows as one


class ConformError(Exception):
    """The test cannot be done; the message says why."""


class Hands(Protocol):
    """Who lets things happen to the device."""

    able: frozenset[Stimulus]

    async def do(self, what: Stimulus, argument: int) -> str:
        """Let it happen; "" when it did, else why not."""
        ...


class NoHands:
    """Nobody: only what goes over the broker is tested."""

    able: frozenset[Stimulus] = frozenset()

    async def do(self, what: Stimulus, argument: int) -> str:
        """Never asked, since it is able to do nothing."""
        del what, argument
        return "nobody is there to do it"


_PROMPTS: Final = {
    Stimulus.BOOT: "restart the device (take its power away and give it back)",
    Stimulus.LINK_CUT: "take the device out of coverage, without switching it off, and wait until"
    " its broker connection is lost",
    Stimulus.LINK_UP: "bring the device back into coverage",
    Stimulus.FIX: "let the device take a fix under the open sky",
    Stimulus.NO_FIX: "hide the device from the sky for as long as it takes to report",
    Stimulus.CLOCK_UNSET: "let the device forget the time, without sky and network time",
    Stimulus.CLOCK_SET: "let the device find the time again",
}


class ByHand:
    """A person, who is asked and presses Enter when it is done, or s and Enter to leave it out."""

    able = frozenset(Stimulus)

    async def do(self, what: Stimulus, argument: int) -> str:
        """Ask, and wait for the person."""
        text = _PROMPTS.get(what)
        if what is Stimulus.PRESS:
            text = f"make the device send {EventCode(argument).name} (its button or sensor)"
        sys.stderr.write(f"  > {text}; Enter when done, s to skip: ")
        sys.stderr.flush()
        answer = await asyncio.to_thread(sys.stdin.readline)
        return "skipped" if answer.strip().lower() == "s" or not answer else ""


class Broker(msgspec.Struct, frozen=True):
    """Where the device is, and how the examiner logs in."""

    host: str
    port: int
    version: str = "5"
    username: str | None = None
    password: str | None = None
    tls: aiomqtt.TLSParameters | None = None


async def conform(
    examiner: Examiner, device_id: str, broker: Broker, hands: Hands, say: Callable[[str], None]
) -> None:
    """Run a test to its end. Raises ConformError."""
    modern = broker.version == "5"
    client = aiomqtt.Client(
        broker.host,
        broker.port,
        identifier=f"conform-{device_id}"[:64],
        username=broker.username,
        password=broker.password,
        protocol=aiomqtt.ProtocolVersion.V5 if modern else aiomqtt.ProtocolVersion.V311,
        timeout=CONNECT_S,
        socket_options=[NO_DELAY],
        tls_params=broker.tls,
    )
    try:
        async with client:
            topic = f"em/{device_id}/#"
            if modern:  # whether a message was sent as retained shows with this only
                options = SubscribeOptions(qos=_QOS_MAX, noLocal=True, retainAsPublished=True)
                await client.subscribe(topic, options=options, timeout=CONNECT_S)
            else:
                await client.subscribe(topic, qos=_QOS_MAX, timeout=CONNECT_S)
            await _Run(examiner, device_id, client, hands, say).run()
    except (aiomqtt.MqttError, OSError) as error:
        raise ConformError(f"broker {broker.host}:{broker.port}: {error}") from None


class _Run:
    """One test over one connection."""

    def __init__(
        self,
        examiner: Examiner,
        device_id: str,
        client: aiomqtt.Client,
        hands: Hands,
        say: Callable[[str], None],
    ) -> None:
        self._examiner = examiner
        self._topics = {Lane.ACK: ack_topic(device_id), Lane.CMD: cmd_topic(device_id)}
        self._client = client
        self._hands = hands
        self._say = say
        self._actions: deque[Action] = deque()
        self._more = asyncio.Event()

    async def run(self) -> None:
        """Until the script has ended."""
        self._take(self._examiner.begin(now_ms()))
        work = [
            asyncio.create_task(self._hear()),
            asyncio.create_task(self._act()),
            asyncio.create_task(self._tick()),
        ]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    def _take(self, actions: list[Action]) -> None:
        self._actions.extend(actions)
        self._more.set()

    async def _hear(self) -> None:
        async for message in self._client.messages:
            self._take(
                self._examiner.hear(
                    now_ms(),
                    message.topic.value,
                    message.payload,
                    qos=message.qos,
                    retained=message.retain,
                )
            )

    async def _tick(self) -> None:
        while not self._examiner.finished:
            wait_s = (self._examiner.due_ms - now_ms()) / 1000
            await asyncio.sleep(min(max(wait_s, TICK_S[0]), TICK_S[1]))
            self._take(self._examiner.tick(now_ms()))

    async def _act(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._actions:
                await self._one(self._actions.popleft())

    async def _one(self, action: Action) -> None:
        match action:
            case Phase():
                self._say(action.name)
            case Tell():
                await self._client.publish(self._topics[action.lane], action.payload, qos=1)
            case Do():
                reason = await self._hands.do(action.what, action.argument)
                if reason:
                    self._say(f"  {action.what.value}: {reason}")
                self._take(self._examiner.done(now_ms(), done=not reason))


def now_ms() -> int:
    """This machine's Unix time."""
    return time.time_ns() // 1_000_000
