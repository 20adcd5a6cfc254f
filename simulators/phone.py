"""A phone with OwnTracks on a real broker: publishes timed messages, QoS 1."""

from collections.abc import Callable, Sequence

import aiomqtt

from simulators.client import CONNECT_TIMEOUT_S, NO_DELAY, PUBLISH_TIMEOUT_S, Broker
from simulators.clock import SimulationClock
from simulators.playback import TimedMessage


async def play(
    messages: Sequence[TimedMessage],
    broker: Broker,
    clock: SimulationClock,
    *,
    client_id: str,
    taken: Callable[[TimedMessage, int], None] | None = None,
) -> int:
    """Publish messages at their times over one connection; return how many the broker has taken.

    Messages whose time has passed go out at once, in order. Raises aiomqtt.MqttError when the
    connection breaks.
    """
    modern = broker.version == "5"
    async with aiomqtt.Client(
        broker.host,
        broker.port,
        identifier=client_id,
        username=None if broker.username is None else broker.username.format(device=client_id),
        password=None if broker.password is None else broker.password(client_id),
        protocol=aiomqtt.ProtocolVersion.V5 if modern else aiomqtt.ProtocolVersion.V311,
        timeout=CONNECT_TIMEOUT_S,
        socket_options=[NO_DELAY],
        tls_context=None if broker.tls is None else broker.tls(client_id),
    ) as client:
        for message in messages:
            if message.at_ms > clock.now_ms():
                await clock.sleep_until(message.at_ms)
            await client.publish(message.topic, message.payload, qos=1, timeout=PUBLISH_TIMEOUT_S)
            if taken is not None:
                taken(message, clock.now_ms())

    return len(messages)
