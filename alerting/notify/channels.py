"""From settings to lanes that can be used: the shared session, the shared link, the channels."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp

from alerting.book.types import TARGET_PROTECTED_DEVICE, TARGET_WEARER_DEVICE, Audience
from alerting.notify.cap import CapRenderer
from alerting.notify.clock import Clock
from alerting.notify.delivery import LANE_COMMANDS, Channel
from alerting.notify.driver import Destination
from alerting.notify.events import EventsRenderer
from alerting.notify.mail import MailChannel
from alerting.notify.mqtt import BrokerLink, DeviceChannel, DeviceKey
from alerting.notify.settings import (
    CapTarget,
    EventsTarget,
    MailTarget,
    NotifySettings,
    SmsTarget,
    Target,
    TlsSettings,
)
from alerting.notify.signing import Signer
from alerting.notify.sms import SmsRenderer
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
                _channel(session, target, clock), target.lane, frozenset(target.audiences)
            )
            for name, target in settings.targets.items()
        }
        if settings.broker is None:
            yield found
            return
        link = BrokerLink(settings.broker, clock)
        channel = DeviceChannel(link, settings.broker, device_key, clock)
        for name, audiences in _DEVICE_LANES.items():
            found[name] = Destination(channel, settings.broker.lane, audiences)
        keeping = asyncio.create_task(link.run())
        try:
            yield found
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping


def _channel(session: aiohttp.ClientSession, target: Target, clock: Clock) -> Channel:
    match target:
        case MailTarget():
            tls = None if target.security == "none" else tls_context(target.tls)
            return MailChannel(target, tls)
        case SmsTarget():
            # A gateway knows nothing of our signatures, and nobody stands behind its answer.
            return WebhookChannel(
                session,
                target.url,
                None,
                SmsRenderer(target),
                clock,
                bearer_token=target.bearer_token,
                token_scheme=target.token_scheme,
                tls=_tls(target.url, target.tls),
                takes_on=False,
            )
        case CapTarget():
            return _webhook(session, target, CapRenderer(target), clock)
        case EventsTarget():
            return _webhook(session, target, EventsRenderer(target), clock)


def _webhook(
    session: aiohttp.ClientSession, target: CapTarget | EventsTarget, render: Renderer, clock: Clock
) -> WebhookChannel:
    return WebhookChannel(
        session,
        target.url,
        Signer(target.secrets),
        render,
        clock,
        bearer_token=target.bearer_token,
        tls=_tls(target.url, target.tls),
    )


def _tls(url: str, settings: TlsSettings) -> ssl.SSLContext | None:
    return tls_context(settings) if url.startswith("https:") else None
