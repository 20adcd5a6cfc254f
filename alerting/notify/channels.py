"""From settings to lanes that can be used: the shared session, the shared link, the channels."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp

from alerting.book.types import TARGET_PROTECTED_DEVICE, TARGET_WEARER_DEVICE, Audience
from alerting.notify.cap import CapRenderer
from alerting.notify.clock import Clock
from alerting.notify.delivery import LANE_COMMANDS
from alerting.notify.driver import Destination
from alerting.notify.events import EventsRenderer
from alerting.notify.mqtt import BrokerLink, DeviceChannel, DeviceKey
from alerting.notify.settings import CapTarget, NotifySettings, Target
from alerting.notify.signing import Signer
from alerting.notify.webhook import Renderer, WebhookChannel, new_session, tls_context

_DEVICE_LANES = {
    TARGET_PROTECTED_DEVICE: frozenset({Audience.PROTECTED_PERSON}),
    TARGET_WEARER_DEVICE: frozenset({Audience.WEARER}),
    LANE_COMMANDS: frozenset[Audience](),
}


@asynccontextmanager
async def open_destinations(
    settings: NotifySettings, clock: Clock, device_key: DeviceKey
) -> AsyncIterator[dict[str, Destination]]:
    """Open every channel of the settings; nobody is reached before the first delivery.

    The lanes to devices share one connection to the broker, kept open meanwhile. Raises OSError or
    ssl.SSLError for certificates that cannot be used.
    """
    async with new_session() as session:
        found = {
            name: Destination(
                _webhook(session, target, clock), target.lane, frozenset(target.audiences)
            )
            for name, target in settings.targets.items()
        }
        if settings.broker is None:
            yield found
            return
        link = BrokerLink(settings.broker, clock)
        channel = DeviceChannel(link, settings.broker, device_key)
        for name, audiences in _DEVICE_LANES.items():
            found[name] = Destination(channel, settings.broker.lane, audiences)
        keeping = asyncio.create_task(link.run())
        try:
            yield found
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping


def _webhook(session: aiohttp.ClientSession, target: Target, clock: Clock) -> WebhookChannel:
    render: Renderer
    render = CapRenderer(target) if isinstance(target, CapTarget) else EventsRenderer(target)
    return WebhookChannel(
        session,
        target.url,
        Signer(target.secrets),
        render,
        clock,
        bearer_token=target.bearer_token,
        tls=tls_context(target.tls) if target.url.startswith("https:") else None,
    )
