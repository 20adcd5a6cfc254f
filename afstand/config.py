"""The configuration: one TOML file, environment overrides, checked on load.

Every problem names file, key and reason, and all sections are checked before the first answer, so
that an engineer mends a file in one go. Secrets are never in the file: a value `env:NAME` or
`file:PATH` says where each one is. An environment variable `AFSTAND_SECTION__KEY` (two underscores
between levels) replaces a key, e.g. `AFSTAND_BROKER__PORT=8883`.
"""

import base64
import binascii
import os
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from afstand.limits import STORE_COPIES_MAX
from alerting.book.roles import Role
from alerting.notify.settings import BrokerSettings, NotifySettings, Target, TlsSettings
from console.settings import OidcSettings, Settings, TileSettings
from console.tiles import Tiles, TilesError

ENV_PREFIX: Final = "AFSTAND_"
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Partition = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,32}$")]


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with the configuration."""

    file: str
    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.reason}"


class ConfigError(ValueError):
    """The configuration cannot be used; `problems` has every reason found."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file: an unknown key is an error, not a wish unheard."""


class Store(Section, frozen=True, kw_only=True):
    """The Redis or Valkey server that keeps journal, outbox and registry (`appendfsync always`).

    With `cluster`, `url` is any node of a cluster that is up. With `copies`, a frame is
    acknowledged when so many replicas of the server (or of the node) have it too; one in a cluster,
    where a replica takes over by itself, unless something else is said.
    """

    url: Annotated[str, msgspec.Meta(pattern=r"^(redis|rediss|unix)://")] = (
        "redis://127.0.0.1:6379/0"
    )
    password: str = ""
    cluster: bool = False
    copies: Annotated[int, msgspec.Meta(ge=0, le=STORE_COPIES_MAX)] | None = None

    @property
    def copies_wanted(self) -> int:
        """How many replicas must have what is acknowledged."""
        return int(self.cluster) if self.copies is None else self.copies


class Broker(Section, frozen=True, kw_only=True):
    """The MQTT broker."""

    host: str = "127.0.0.1"
    port: Port = 1883
    version: Literal["5", "3.1.1"] = "5"
    username: str = ""
    password: str = ""
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


class Intake(Section, frozen=True, kw_only=True):
    """The intake's identity at the broker; each intake has its own `client_id`."""

    client_id: Name = "afstand-intake-1"
    group: Name = "intake"
    health_port: Port = 9101


class Watch(Section, frozen=True, kw_only=True):
    """The replicas that fold the journal.

    Each keeps snapshots in a folder of its own below `data_dir`.
    """

    replicas: Annotated[int, msgspec.Meta(ge=1, le=9)] = 2
    data_dir: str = "afstand-data"
    snapshot_entries: Annotated[int, msgspec.Meta(ge=100)] = 20_000
    health_port: Port = 9110
    """Of replica 0; replica n listens on the n-th port after it (0: any free port)."""


class Archive(Section, frozen=True, kw_only=True):
    """Where the archiver moves old entries, and where all others read them."""

    dir: str = "afstand-archive"
    keep_minutes: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    """So long entries stay in the store at least."""
    file_minutes: Annotated[float, msgspec.Meta(ge=0)] = 15.0
    """So much time goes into one file."""
    reader_silent_minutes: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    retention: str = ""
    """What is kept how long: a file of the site's own. Empty: the shipped one."""
    health_port: Port = 9103


class Notify(Section, frozen=True, kw_only=True):
    """The notifier; receivers post their later acknowledgements to `port`."""

    consumer: Name = "notifier-1"
    host: str = "127.0.0.1"
    port: Port = 8480
    health_port: Port = 9102
    client_id: Name = "afstand-notify-1"
    language: Literal["nl", "en"] = "nl"
    """Of the texts on devices and of `afstand explain`."""


class Audit(Section, frozen=True, kw_only=True):
    """The auditor: a process that checks the others, and is itself missed when it stops."""

    heartbeat_url: str = ""
    """Reference to the address that is called while nothing is missing; it is a secret."""
    heartbeat_s: Annotated[float, msgspec.Meta(ge=1)] = 60.0
    settle_minutes: Annotated[float, msgspec.Meta(gt=0)] = 20.0
    """A notice without a receipt for so long is missing: longer than any target is tried."""
    health_port: Port = 9105


class Trackers(Section, frozen=True, kw_only=True):
    """The bridge for Teltonika trackers.

    A tracker proves nothing, so `host` is an address of a private network (APN, VPN).
    """

    host: str = "127.0.0.1"
    port: Port = 5027
    client_id: Name = "afstand-trackers-1"
    health_port: Port = 9104


class ConsoleOidc(Section, frozen=True, kw_only=True):
    """An OpenID Connect provider for the console.

    `roles`: value of the claim `role_claim` -> role of the console; others may not in.
    """

    issuer: str = ""
    client_id: str = ""
    client_secret: str = ""
    role_claim: str = "groups"
    name_claim: str = "preferred_username"
    roles: dict[str, Role] = {}


class ConsoleTiles(Section, frozen=True, kw_only=True):
    """The background of the console's map.

    Without `url` and `file` there is none. With `file`, a PMTiles archive of pictures, the console
    serves it itself, and no server outside learns which place is looked at.
    """

    url: str = ""
    file: str = ""
    attribution: str = ""
    max_zoom: Annotated[int, msgspec.Meta(ge=0, le=22)] = 19


class Console(Section, frozen=True, kw_only=True):
    """The operators' console.

    `key`: 32 bytes under which it keeps second factors. `public_url`: where browsers reach it when
    a proxy stands before it. With `cert_file` and `key_file` it speaks TLS itself.
    """

    host: str = "127.0.0.1"
    port: Port = 8490
    health_port: Port = 9106
    data_dir: str = "afstand-console"
    key: str = ""
    public_url: Annotated[str, msgspec.Meta(pattern=r"^(https?://[^/?#]+)?$")] = ""
    trusted_proxies: tuple[str, ...] = ()
    cert_file: str = ""
    key_file: str = ""
    local_accounts: bool = True
    language: Literal["nl", "en"] = "nl"
    site_name: Annotated[str, msgspec.Meta(max_length=60)] = ""
    centre: tuple[float, float, float] = (5.3, 52.15, 6.5)
    """Longitude, latitude and zoom of the map at rest."""
    oidc: ConsoleOidc = ConsoleOidc()
    tiles: ConsoleTiles = ConsoleTiles()


class Registry(Section, frozen=True, kw_only=True):
    """Where device keys are encrypted at rest."""

    master_key: str = ""
    """`env:NAME` or `file:PATH` of 32 bytes, as hexadecimal or base64."""


class Evidence(Section, frozen=True, kw_only=True):
    """What bundles are signed with."""

    signing_key: str = ""
    """`env:NAME` or `file:PATH` of an Ed25519 private key in PEM (`afstand evidence-key`)."""


class Consultations(Section, frozen=True, kw_only=True):
    """The log of who looked at whom, which console and command line write alike."""

    pseudonym_key: str = ""
    """`env:NAME` or `file:PATH` of 32 bytes that make the pseudonyms of the Logboek."""


class Http(Section, frozen=True, kw_only=True):
    """The interface on which every role serves `/metrics`, `/-/healthy` and `/-/ready`."""

    host: str = "127.0.0.1"


class Log(Section, frozen=True, kw_only=True):
    """Logs are JSON lines on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration after defaults, file and environment."""

    store: Store = Store()
    broker: Broker = Broker()
    intake: Intake = Intake()
    watch: Watch = Watch()
    archive: Archive = Archive()
    notify: Notify = Notify()
    trackers: Trackers = Trackers()
    audit: Audit = Audit()
    console: Console = Console()
    registry: Registry = Registry()
    evidence: Evidence = Evidence()
    consultations: Consultations = Consultations()
    http: Http = Http()
    log: Log = Log()
    partitions: tuple[Partition, ...] = ("0",)
    targets: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    """Whom the notifier can reach, as the file says it: checked, with references for secrets.

    Who is to reach them asks `notify_settings`; the other roles have no secret of theirs.
    """
    source: str = "(defaults)"

    def master_key(self) -> bytes:
        """The 32 bytes under which device keys are kept.

        Raises ConfigError when they cannot be had.
        """
        return self._key("registry.master_key", self.registry.master_key)

    def console_key(self) -> bytes:
        """The 32 bytes under which the console keeps second factors. Raises ConfigError."""
        return self._key("console.key", self.console.key)

    def pseudonym_key(self) -> bytes:
        """The 32 bytes that make pseudonyms of persons in the log of who looked at whom.

        A key of its own: whoever shows data must have it, and it opens nothing. Raises ConfigError.
        """
        return self._key("consultations.pseudonym_key", self.consultations.pseudonym_key)

    def _key(self, key: str, reference: str) -> bytes:
        text = self.secret(key, reference)
        for decode in (bytes.fromhex, base64.b64decode):
            try:
                found = decode(text)
            except (ValueError, binascii.Error):
                continue
            if len(found) == 32:
                return found
        raise ConfigError([Problem(self.source, key, "not 32 bytes in hexadecimal or base64")])

    def console_settings(self) -> Settings:
        """What the console needs to know. Raises ConfigError for a secret that cannot be had."""
        console, oidc = self.console, self.console.oidc
        provider = None
        if oidc.issuer:
            provider = OidcSettings(
                issuer=oidc.issuer,
                client_id=oidc.client_id,
                client_secret=self.secret("console.oidc.client_secret", oidc.client_secret),
                role_claim=oidc.role_claim,
                name_claim=oidc.name_claim,
                roles=oidc.roles,
            )
        return Settings(
            public_url=console.public_url,
            secure=bool(console.cert_file) or console.public_url.startswith("https://"),
            local_accounts=console.local_accounts,
            oidc=provider,
            tiles=self._tiles(),
            language=console.language,
            site_name=console.site_name,
            centre=console.centre,
        )

    def _tiles(self) -> TileSettings:
        tiles = self.console.tiles
        zoom_max = tiles.max_zoom
        if tiles.file:
            try:
                zoom_max = min(zoom_max, Tiles(Path(tiles.file)).zoom_max)
            except TilesError as error:
                problem = Problem(self.source, "console.tiles.file", str(error))
                raise ConfigError([problem]) from None
        return TileSettings(
            url=tiles.url,
            file=Path(tiles.file) if tiles.file else None,
            attribution=tiles.attribution,
            max_zoom=zoom_max,
        )

    def secret_checks(self) -> list[Callable[[], object]]:
        """Calls that raise ConfigError for each secret of this configuration that cannot be had."""
        optional = {
            "evidence.signing_key": self.evidence.signing_key,
            "audit.heartbeat_url": self.audit.heartbeat_url,
        }
        checks: list[Callable[[], object]]
        checks = [self.master_key, self.notify_settings, self.store_url]
        checks += [partial(self.optional_secret, *one) for one in optional.items()]
        if self.consultations.pseudonym_key or self.console.key or self.evidence.signing_key:
            checks.append(self.pseudonym_key)
        if self.console.key:
            checks += [self.console_key, self.console_settings]
        return checks

    def store_url(self) -> str:
        """The address of the store with its password in it. Raises ConfigError."""
        password = self.optional_secret("store.password", self.store.password)
        if not password:
            return self.store.url
        parts = urlsplit(self.store.url)
        return urlunsplit(parts._replace(netloc=f":{quote(password, safe='')}@{parts.netloc}"))

    def notify_settings(self) -> NotifySettings:
        """What the notifier needs to know. Raises ConfigError for secrets that cannot be had."""
        broker = self.broker
        problems: list[Problem] = []
        targets = {
            name: _target(self.source, name, table, self.secret, problems)
            for name, table in self.targets.items()
        }
        if problems:
            raise ConfigError(problems)
        tls = TlsSettings(
            ca_file=broker.ca_file or None,
            cert_file=broker.cert_file or None,
            key_file=broker.key_file or None,
        )
        return NotifySettings(
            targets={name: one for name, one in targets.items() if one is not None},
            broker=BrokerSettings(
                host=broker.host,
                port=broker.port,
                protocol=broker.version,
                client_id=self.notify.client_id,
                username=broker.username or None,
                password=self.optional_secret("broker.password", broker.password) or None,
                tls=tls if broker.tls else None,
                language=self.notify.language,
            ),
        )

    def secret(self, key: str, reference: str) -> str:
        """The secret behind `env:NAME` or `file:PATH`. Raises ConfigError naming `key`."""
        return resolve_secret(self.source, key, reference)

    def optional_secret(self, key: str, reference: str) -> str:
        """As `secret`, with "" for no reference."""
        return self.secret(key, reference) if reference else ""


_NO_REFERENCE: Final = "must say env:NAME or file:PATH; a secret is never in the file itself"


def resolve_secret(source: str, key: str, reference: str) -> str:
    """Read one secret. Raises ConfigError that names file, key and reason, never the secret."""
    kind, _, where = reference.partition(":")
    if kind == "env" and where:
        value = os.environ.get(where)
        if value:
            return value
        reason = f"the environment has no {where}"
    elif kind == "file" and where:
        try:
            text = Path(where).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = f"cannot read {where}: {error}"
        else:
            if text:
                return text
            reason = f"{where} is empty"
    else:
        reason = _NO_REFERENCE
    raise ConfigError([Problem(source, key, reason)])


_SECTIONS: Final[Mapping[str, Any]] = {
    "store": Store,
    "broker": Broker,
    "intake": Intake,
    "watch": Watch,
    "archive": Archive,
    "notify": Notify,
    "trackers": Trackers,
    "audit": Audit,
    "console": Console,
    "registry": Registry,
    "evidence": Evidence,
    "consultations": Consultations,
    "http": Http,
    "log": Log,
    "partitions": tuple[Partition, ...],
}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError([Problem(str(path), "-", "no such file")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), "-", f"cannot be read: {error}")]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(str(path), "-", f"not TOML: {error}")]) from None


def _toml_value(text: str) -> Any:
    """An environment value as TOML would read it; else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _overridden(document: dict[str, Any], environ: Mapping[str, str]) -> list[Problem]:
    """Put the environment's values into `document`; gives the variables that fit nowhere."""
    problems = []
    for variable in sorted(environ):
        if not variable.startswith(ENV_PREFIX) or "__" not in variable:
            continue
        *tables, key = variable.removeprefix(ENV_PREFIX).lower().split("__")
        table: Any = document
        for name in tables:
            table = table.setdefault(name, {}) if isinstance(table, dict) else None
        if not isinstance(table, dict):
            problems.append(Problem("environment", variable, "names a value as if it were a table"))
            continue
        table[key] = _toml_value(environ[variable])
    return problems


def _converted(file: str, key: str, value: Any, kind: Any, problems: list[Problem]) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$")
        path = where.rstrip("`").lstrip(".")
        problems.append(Problem(file, ".".join(part for part in (key, path) if part), reason))
        return None


def _targets(file: str, tables: Any, problems: list[Problem]) -> dict[str, dict[str, Any]]:
    """The targets as they are written, checked as far as that goes without their secrets."""
    if not isinstance(tables, dict):
        problems.append(Problem(file, "targets", "must be a table of tables"))
        return {}
    found: dict[str, Target] = {}
    for name, table in tables.items():
        target = _target(file, name, table, partial(_stand_in, file), problems)
        if target is not None:
            found[name] = target
    try:
        NotifySettings(targets=found)
    except ValueError as error:
        problems.append(Problem(file, "targets", str(error)))
    return {name: tables[name] for name in found}


def _stand_in(file: str, key: str, reference: str) -> str:
    """Something of the shape of a secret. Raises ConfigError for what is no reference to one."""
    kind, _, where = reference.partition(":")
    if kind not in ("env", "file") or not where:
        raise ConfigError([Problem(file, key, _NO_REFERENCE)])
    return "whsec_" + "A" * 32


def _target(
    file: str,
    name: str,
    table: Any,
    secret: Callable[[str, str], str],
    problems: list[Problem],
) -> Target | None:
    """One target with its secrets, which `secret` gives for key and reference."""
    key = f"targets.{name}"
    resolved = dict(table) if isinstance(table, dict) else table

    def given(at: str, reference: Any) -> str:
        try:
            return secret(f"{key}.{at}", str(reference))
        except ConfigError as error:
            problems.extend(error.problems)
            # Something of the right shape, so that the other keys of the table are checked too.
            return _stand_in(file, at, "env:X")

    if isinstance(resolved, dict):
        if isinstance(resolved.get("secrets"), list):
            resolved["secrets"] = [
                given(f"secrets[{n}]", reference) for n, reference in enumerate(resolved["secrets"])
            ]
        for part in ("bearer_token", "password"):
            if isinstance(resolved.get(part), str):
                resolved[part] = given(part, resolved[part])
    target: Target | None = _converted(file, key, resolved, Target, problems)
    return target


def load(path: Path | None, environ: Mapping[str, str] | None = None) -> Config:
    """Read, override and check.

    `path` None: defaults and environment only. Raises ConfigError with all problems.
    """
    file = "(defaults)" if path is None else str(path)
    document = {} if path is None else _read(path)
    problems = _overridden(document, os.environ if environ is None else environ)
    found: dict[str, Any] = {"source": file}
    targets = document.pop("targets", {})
    for key, value in document.items():
        if key not in _SECTIONS:
            problems.append(Problem(file, key, f"unknown; known: targets, {', '.join(_SECTIONS)}"))
            continue
        found[key] = _converted(file, key, value, _SECTIONS[key], problems)
    found["targets"] = _targets(file, targets, problems)
    partitions = found.get("partitions", ("0",))
    if partitions is not None and (not partitions or len(set(partitions)) != len(partitions)):
        problems.append(Problem(file, "partitions", "must name at least one, each once"))
    if problems:
        raise ConfigError(problems)
    return Config(**found)
