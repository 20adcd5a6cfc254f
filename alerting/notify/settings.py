"""What a target is: the structs that the configuration fills.

They check what can be checked without reaching anybody. A struct that is wrong raises ValueError,
which msgspec reports with the path of the value. Secrets
come in as text that the configuration has already resolved from environment or file; no struct
shows them in its repr.
"""

import base64
import binascii
import ipaddress
import re
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from afstand.limits import (
    NOTIFY_AGE_MS_MAX,
    NOTIFY_ATTEMPTS_MAX,
    NOTIFY_MAILBOXES_MAX,
    NOTIFY_QUEUE_MAX,
    NOTIFY_SECRETS_MAX,
    NOTIFY_TARGETS_MAX,
)
from alerting.book.types import TARGET_PROTECTED_DEVICE, TARGET_WEARER_DEVICE, Audience
from alerting.notify.delivery import LANE_COMMANDS

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the public prefix of Standard Webhooks, no secret
SECRET_BYTES_MIN: Final = 24
SECRET_BYTES_MAX: Final = 64
RESERVED_TARGETS: Final = (TARGET_PROTECTED_DEVICE, TARGET_WEARER_DEVICE, LANE_COMMANDS)
"""Lanes to devices: they exist when a broker is configured, and no other target may have their
name.
"""

_TARGET_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
# CAP 1.2, section 3.2.1: identifier and sender must not include spaces, commas or restricted
# characters.
_CAP_NAME: Final = re.compile(r"[^\s,<&>\"']{1,128}")
_OIN: Final = re.compile(r"[0-9]{20}", re.ASCII)
_SYSTEM: Final = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_NUMBER: Final = re.compile(r"\+[1-9][0-9]{7,14}", re.ASCII)  # E.164
_SMS_SENDER: Final = re.compile(r"[A-Za-z0-9]{1,11}|\+[1-9][0-9]{7,14}", re.ASCII)
_MAIL_ADDRESS: Final = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,190}", re.ASCII)


class LaneSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How hard a target is tried. Times in ms."""

    concurrency: int = 8
    urgent_places: int = 4
    """Places beside the concurrency that only panic, proximity and tamper may take."""
    queue_max: int = NOTIFY_QUEUE_MAX
    timeout_ms: int = 5_000
    attempts_max: int = 200
    age_ms_max: int = 900_000
    backoff_ms: int = 250
    backoff_ms_max: int = 15_000
    retry_after_ms_max: int = 60_000
    circuit_failures: int = 5
    circuit_open_ms: int = 10_000

    def __post_init__(self) -> None:
        """Check every number against its bounds."""
        for name, low, high in (
            ("concurrency", 1, 256),
            ("urgent_places", 1, 256),
            ("queue_max", 1, 100_000),
            ("timeout_ms", 10, 60_000),
            ("attempts_max", 1, NOTIFY_ATTEMPTS_MAX),
            ("age_ms_max", 1_000, NOTIFY_AGE_MS_MAX),
            ("backoff_ms", 1, 60_000),
            ("backoff_ms_max", 1, 600_000),
            ("retry_after_ms_max", 0, 3_600_000),
            ("circuit_failures", 1, 1_000),
            ("circuit_open_ms", 1, 600_000),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                msg = f"{name} is {value}, must be {low} to {high}"
                raise ValueError(msg)
        if self.backoff_ms > self.backoff_ms_max:
            msg = (
                f"backoff_ms {self.backoff_ms} is greater than backoff_ms_max {self.backoff_ms_max}"
            )
            raise ValueError(msg)


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the other side is recognised, and how we are.

    Without files: by the machine's own authorities, and by no certificate.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def __post_init__(self) -> None:
        """Check that certificate and key come together."""
        if (self.cert_file is None) != (self.key_file is None):
            msg = "cert_file and key_file must be given together"
            raise ValueError(msg)


class WebhookTarget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every signed webhook has.

    `secrets`: the first is the present one, the others are being rotated out.
    """

    url: str
    secrets: tuple[str, ...]
    audiences: tuple[Audience, ...]
    """A notice for another audience is refused here, whatever a plan says."""
    bearer_token: str | None = None
    allow_http: bool = False
    """Only for a network that is protected otherwise; loopback needs no such permission."""
    tls: TlsSettings = TlsSettings()
    lane: LaneSettings = LaneSettings()

    def __post_init__(self) -> None:
        """Check address, secrets and audiences."""
        check_url(self.url, allow_http=self.allow_http)
        check_secrets(self.secrets, least=1)
        check_audiences(self.audiences)
        check_token(self.bearer_token)

    def __repr__(self) -> str:
        """Show no secret."""
        return f"{type(self).__name__}(url={self.url!r}, audiences={self.audiences!r})"


class CapTarget(
    WebhookTarget,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="cap",
):
    """A control room that takes CAP 1.2.

    Scope Private with `addresses`, else Restricted with `restriction`.
    """

    sender: str
    """Who we are to this control room, for example `meldcentrale@afstand.example`: one word."""
    sender_name: str = "Afstand"
    restriction: str = "Alleen voor politie en meldkamer"
    addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what CAP asks of names, beside what a webhook needs."""
        WebhookTarget.__post_init__(self)
        if not _CAP_NAME.fullmatch(self.sender):
            msg = (
                "sender must be one word of at most 128 characters, without comma, quote, < > or &"
            )
            raise ValueError(msg)
        if not self.restriction:
            msg = "restriction must not be empty"
            raise ValueError(msg)
        if any('"' in address or not address for address in self.addresses):
            msg = "an address must not be empty or contain a quote"
            raise ValueError(msg)

    def __repr__(self) -> str:
        """Show no secret."""
        return WebhookTarget.__repr__(self)


class EventsTarget(
    WebhookTarget,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="cloudevents",
):
    """An organisation that takes CloudEvents 1.0 in the NL GOV profile."""

    oin: str
    """Organisatie-identificatienummer of whoever runs this service: 20 digits."""
    system: str = "afstand"
    mode: Literal["structured", "binary"] = "structured"
    data_url: str | None = None
    """Base of `dataref`: where the receiver, with its own rights, fetches what is too sensitive to
    be sent.
    """

    def __post_init__(self) -> None:
        """Check what the profile asks, beside what a webhook needs."""
        WebhookTarget.__post_init__(self)
        if not _OIN.fullmatch(self.oin):
            msg = "oin must be 20 digits"
            raise ValueError(msg)
        if not _SYSTEM.fullmatch(self.system):
            msg = "system must be 1 to 64 letters, digits or hyphens"
            raise ValueError(msg)
        if self.data_url is not None:
            check_url(self.data_url, allow_http=self.allow_http)

    def __repr__(self) -> str:
        """Show no secret."""
        return WebhookTarget.__repr__(self)


class SmsTarget(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="sms",
):
    """Somebody's phone, by a gateway that takes one POST per text message.

    `fields` are what the gateway wants in its body: names of its own, and for each one of the
    words `{to}`, `{from}`, `{text}`, `{key}`, or a constant.
    """

    url: str
    number: str
    """E.164: `+31612345678`."""
    audiences: tuple[Audience, ...]
    sender: str = "Afstand"
    bearer_token: str | None = None
    token_scheme: str = "Bearer"  # noqa: S105 - the word before the secret
    body: Literal["json", "form"] = "json"
    fields: dict[str, str] = msgspec.field(
        default_factory=lambda: {
            "to": "{to}",
            "from": "{from}",
            "text": "{text}",
            "reference": "{key}",
        }
    )
    language: Literal["nl", "en"] = "nl"
    secrets: tuple[str, ...] = ()
    """Whoever holds one may acknowledge for this target, as a relay of replies does."""
    allow_http: bool = False
    tls: TlsSettings = TlsSettings()
    lane: LaneSettings = LaneSettings()

    def __post_init__(self) -> None:
        """Check address, number, fields and audiences."""
        check_url(self.url, allow_http=self.allow_http)
        check_audiences(self.audiences)
        check_token(self.bearer_token)
        check_secrets(self.secrets, least=0)
        if not _NUMBER.fullmatch(self.number):
            msg = "number must be + and 8 to 15 digits (E.164)"
            raise ValueError(msg)
        if not _SMS_SENDER.fullmatch(self.sender):
            msg = "sender must be 1 to 11 letters and digits, or a number (E.164)"
            raise ValueError(msg)
        if not {"{to}", "{text}"} <= set(self.fields.values()):
            msg = "fields must hold {to} and {text}"
            raise ValueError(msg)

    def __repr__(self) -> str:
        """Show no secret and no number."""
        return f"SmsTarget(url={self.url!r}, audiences={self.audiences!r})"


class MailTarget(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="mail",
):
    """Mailboxes, by a submission server (RFC 6409)."""

    host: str
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    """`none` only on this machine."""
    username: str | None = None
    password: str | None = None
    sender: str
    recipients: tuple[str, ...]
    audiences: tuple[Audience, ...]
    language: Literal["nl", "en"] = "nl"
    data_url: str | None = None
    """Base of the address where a reader with the right to it sees more."""
    secrets: tuple[str, ...] = ()
    """Whoever holds one may acknowledge for this target."""
    tls: TlsSettings = TlsSettings()
    lane: LaneSettings = LaneSettings(timeout_ms=30_000)

    def __post_init__(self) -> None:
        """Check server, addresses and audiences."""
        check_audiences(self.audiences)
        check_secrets(self.secrets, least=0)
        if not 1 <= self.port <= 65535:
            msg = f"port is {self.port}, must be 1 to 65535"
            raise ValueError(msg)
        if self.security == "none" and not _loopback(self.host):
            msg = "security must be starttls or tls: what is sent must not be readable on the way"
            raise ValueError(msg)
        if (self.username is None) != (self.password is None):
            msg = "username and password must be given together"
            raise ValueError(msg)
        if not 1 <= len(self.recipients) <= NOTIFY_MAILBOXES_MAX:
            msg = f"{len(self.recipients)} recipients, must be 1 to {NOTIFY_MAILBOXES_MAX}"
            raise ValueError(msg)
        if not all(_MAIL_ADDRESS.fullmatch(one) for one in (self.sender, *self.recipients)):
            msg = "sender and recipients must be plain addresses, as in piket@afstand.example"
            raise ValueError(msg)
        if self.data_url is not None:
            check_url(self.data_url, allow_http=False)

    def __repr__(self) -> str:
        """Show no secret and no address."""
        return f"MailTarget(host={self.host!r}, audiences={self.audiences!r})"


Target = CapTarget | EventsTarget | SmsTarget | MailTarget


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The MQTT broker through which devices are reached."""

    host: str
    port: int = 1883
    protocol: Literal["5", "3.1.1"] = "5"
    client_id: str = "afstand-notify"
    """Unique per running notifier: two clients with one id throw each other out for ever."""
    username: str | None = None
    password: str | None = None
    tls: TlsSettings | None = None
    keepalive_s: int = 30
    language: Literal["nl", "en"] = "nl"
    """Of the texts on devices."""
    message_ttl_ms: int = 900_000
    """A device must not show a text that is older."""
    lane: LaneSettings = LaneSettings()

    def __post_init__(self) -> None:
        """Check port and times."""
        if not 1 <= self.port <= 65535:
            msg = f"port is {self.port}, must be 1 to 65535"
            raise ValueError(msg)
        if not 5 <= self.keepalive_s <= 3600:
            msg = f"keepalive_s is {self.keepalive_s}, must be 5 to 3600"
            raise ValueError(msg)
        if not 1_000 <= self.message_ttl_ms <= NOTIFY_AGE_MS_MAX:
            msg = f"message_ttl_ms is {self.message_ttl_ms}, must be 1000 to {NOTIFY_AGE_MS_MAX}"
            raise ValueError(msg)

    def __repr__(self) -> str:
        """Show no secret."""
        return f"BrokerSettings(host={self.host!r}, port={self.port}, protocol={self.protocol!r})"


class NotifySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everybody the notifier can reach. Whether they can be reached is not asked here."""

    targets: dict[str, Target] = {}
    broker: BrokerSettings | None = None

    def __post_init__(self) -> None:
        """Check the names of targets and their number."""
        if len(self.targets) > NOTIFY_TARGETS_MAX:
            msg = f"{len(self.targets)} targets, at most {NOTIFY_TARGETS_MAX}"
            raise ValueError(msg)
        for name in self.targets:
            if not _TARGET_ID.fullmatch(name):
                msg = f"target {name!r}: 1 to 64 letters, digits, dots, underscores or hyphens"
                raise ValueError(msg)
            if name in RESERVED_TARGETS:
                msg = f"target {name!r} is the name of a lane to devices"
                raise ValueError(msg)


def check_audiences(audiences: tuple[Audience, ...]) -> None:
    """Raise ValueError for audiences that no target may have."""
    if not audiences:
        msg = "audiences must not be empty"
        raise ValueError(msg)
    if Audience.WEARER in audiences or Audience.PROTECTED_PERSON in audiences:
        msg = "wearer and protected person are reached on their devices, not by a webhook"
        raise ValueError(msg)


def check_token(token: str | None) -> None:
    """Raise ValueError for what cannot stand in a header."""
    if token is not None and not (token.isascii() and token.isprintable()):
        msg = "bearer_token must be ASCII"
        raise ValueError(msg)


def check_secrets(secrets: tuple[str, ...], *, least: int) -> None:
    """Raise ValueError for too few, too many, or what is no secret."""
    if not least <= len(secrets) <= NOTIFY_SECRETS_MAX:
        msg = f"{len(secrets)} secrets, must be {least} to {NOTIFY_SECRETS_MAX}"
        raise ValueError(msg)
    for secret in secrets:
        check_secret(secret)


def check_secret(secret: str) -> None:
    """Raise ValueError for what is no Standard Webhooks secret; the message never contains it."""
    encoded = secret.removeprefix(SECRET_PREFIX)
    try:
        size = len(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
    except (binascii.Error, ValueError):
        msg = f"a secret is base64, with or without the prefix {SECRET_PREFIX}"
        raise ValueError(msg) from None
    if not SECRET_BYTES_MIN <= size <= SECRET_BYTES_MAX:
        msg = f"a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, not {size}"
        raise ValueError(msg)


def check_url(url: str, *, allow_http: bool) -> None:
    """Raise ValueError for what is no address to send to: https, or http on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        msg = f"url cannot be read: {error}"
        raise ValueError(msg) from None
    if parts.scheme not in {"http", "https"} or not host:
        msg = "url must start with https:// and name a host"
        raise ValueError(msg)
    if parts.username is not None or parts.password is not None or parts.fragment:
        msg = "url must have no user, password or fragment"
        raise ValueError(msg)
    if parts.scheme == "http" and not allow_http and not _loopback(host):
        msg = "url must be https: what is sent must not be readable on the way"
        raise ValueError(msg)


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
