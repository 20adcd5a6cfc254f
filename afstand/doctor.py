"""`afstand doctor`: looks at everything the service stands on, and says what to do.

It changes nothing: it reads the configuration, asks the store, connects to the broker under a name
of its own, and looks at clocks, disks, certificates, receivers and the service's own processes.
"""

import argparse
import asyncio
import contextlib
import ctypes
import json
import math
import os
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import aiomqtt
from cryptography import x509

from afstand.config import Config, ConfigError
from afstand.consultations import key_name, newest_key_name
from afstand.limits import (
    DOCTOR_CERTIFICATE_DAYS_MIN,
    DOCTOR_CLOCK_FAIL_MS,
    DOCTOR_CLOCK_WARN_MS,
    DOCTOR_DISK_FREE_BYTES_MIN,
    DOCTOR_DISK_FREE_SHARE_MIN,
    DOCTOR_MEMORY_SHARE_MAX,
    DOCTOR_PENDING_MAX,
    DOCTOR_QUIET_S_MAX,
    DOCTOR_WAIT_S,
)
from afstand.roles import mqtt_client, open_store
from alerting.notify.settings import MailTarget, Target
from ingest.journal import Journal
from ingest.store import Store, StoreUnavailableError, command, outbox_key

STORE_VERSION_MIN: Final = (7, 0)
MOSQUITTO_VERSION_MIN: Final = (2, 0, 22)
BROKER_VERSION: Final = "$SYS/broker/version"
BROKER_DROPPED: Final = "$SYS/broker/publish/messages/dropped"
_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronised


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


class Finding(NamedTuple):
    """What was looked at, how it is, and what to do when that is not well."""

    level: Level
    subject: str
    found: str
    do: str = ""


def ok(subject: str, found: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, subject, found)


def warn(subject: str, found: str, do: str) -> Finding:
    """It works, and should not stay so."""
    return Finding(Level.WARN, subject, found, do)


def fail(subject: str, found: str, do: str) -> Finding:
    """It does not work, or it will lose something."""
    return Finding(Level.FAIL, subject, found, do)


# --- configuration --------------------------------------------------------------------------------


def look_at_configuration(config: Config) -> Iterator[Finding]:
    """Secrets that cannot be had, ports that two roles want, alarms with nobody to tell."""
    subject = "configuration"
    whole = True
    for check in config.secret_checks():
        try:
            check()
        except ConfigError as error:
            whole = False
            for problem in error.problems:
                yield fail(subject, str(problem), "put the secret where the configuration says")
    wanted: dict[int, list[str]] = {}
    for name, port in _health_ports(config).items():
        wanted.setdefault(port, []).append(name)
    wanted.setdefault(config.notify.port, []).append("notify.port")
    wanted.setdefault(config.console.port, []).append("console.port")
    for port, names in wanted.items():
        if port and len(names) > 1:
            whole = False
            yield warn(subject, f"port {port} is wanted by {', '.join(names)}", "give each its own")
    if not config.targets:
        whole = False
        yield fail(subject, "no [targets]: nobody is told of an alarm", "see docs/integrators")
    if config.watch.replicas < 2:
        whole = False
        yield warn(
            subject, "one replica only: its death stops every decision", "watch.replicas = 2"
        )
    if whole:
        yield ok(subject, f"{config.source}: {len(config.targets)} targets, every secret is there")


def _health_ports(config: Config) -> dict[str, int]:
    watch = config.watch
    ports = {
        f"watch-{index}": watch.health_port + index if watch.health_port else 0
        for index in range(watch.replicas)
    }
    return ports | {
        "intake": config.intake.health_port,
        "notify": config.notify.health_port,
        "archiver": config.archive.health_port,
        "trackers": config.trackers.health_port,
        "auditor": config.audit.health_port,
        "console": config.console.health_port,
    }


# --- clock ----------------------------------------------------------------------------------------


def synchronised() -> bool | None:
    """Whether the kernel says that something steers this clock; None where it cannot say."""
    try:
        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    state = int(call(ctypes.create_string_buffer(512)))  # all zero: a question, changes nothing
    return None if state < 0 else state != _TIME_ERROR


def look_at_clock(steered: bool | None) -> Finding:
    """Whether this machine's clock is steered."""
    if steered is None:
        return warn("clock", "the system does not say whether it is steered", "run chrony or ntpd")
    if not steered:
        do = "start chrony or systemd-timesyncd: reports, deadlines and signatures use this clock"
        return warn("clock", "nothing steers this machine's clock", do)
    return ok("clock", "steered")


def compare_clocks(ours_ms: float, theirs_ms: float, took_ms: float) -> Finding:
    """How far the store's clock, which stamps every decision, is from ours."""
    apart_ms = abs(theirs_ms - ours_ms)
    found = f"the store's clock is {apart_ms:.0f} ms from ours (question took {took_ms:.0f} ms)"
    apart_ms = max(0.0, apart_ms - took_ms)
    if apart_ms > DOCTOR_CLOCK_FAIL_MS:
        return fail("clock", found, "steer both: times in alarms and reports are wrong by this")
    if apart_ms > DOCTOR_CLOCK_WARN_MS:
        return warn("clock", found, "steer both clocks by the same servers")
    return ok("clock", found)


# --- store ----------------------------------------------------------------------------------------

_WANTED: Final = (
    ("appendonly", "yes", "without it a sudden death of the store loses everything"),
    ("appendfsync", "always", "else acknowledged frames are lost when the power fails"),
    ("maxmemory-policy", "noeviction", "else the store deletes journals when memory is full"),
)


async def look_at_store(config: Config) -> list[Finding]:
    """Version, durability, memory, journals and what waits in the outbox."""
    try:
        async with open_store(config) as store:
            return [finding async for finding in _store(store, config)]
    except StoreUnavailableError as error:
        do = f"is it running, and reachable from here? {config.store.url.rpartition('@')[2]}"
        return [fail("store", str(error), do)]


async def _store(store: Store, config: Config) -> AsyncIterator[Finding]:
    began = time.time()
    seconds, micros = await command(store, "TIME")
    took_ms = (time.time() - began) * 1000
    yield compare_clocks(
        began * 1000 + took_ms / 2, int(seconds) * 1000 + int(micros) / 1000, took_ms
    )
    info = _info(await command(store, "INFO"))
    yield _version("store", info.get("valkey_version") or info.get("redis_version", "0"))
    for name, wanted, why in _WANTED:
        yield await _setting(store, name, wanted, why)
    if info.get("aof_last_write_status", "ok") != "ok":
        yield fail("store", "its last write to disk failed", "make room on its disk, read its log")
    if int(info.get("connected_slaves", 0)) and not config.store.copies_wanted:
        found = "has a replica that may lack what was acknowledged when it takes over"
        yield warn("store", found, "set store.copies = 1")
    used, bound = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    bound = bound or int(info.get("total_system_memory", 0))
    if bound and used > DOCTOR_MEMORY_SHARE_MAX * bound:
        found = f"uses {used / 2**20:,.0f} MiB of {bound / 2**20:,.0f}"
        yield fail(
            "store", found, "is the archiver running? `afstand readers list` names who waits"
        )
    yield await _look_ups(store, config)
    for partition in config.partitions:
        yield await _journal(store, partition)
        async for finding in _pending(store, partition):
            yield finding


async def _look_ups(store: Store, config: Config) -> Finding:
    """Whether look-ups can be logged here, under the pseudonyms that are in the log already."""
    subject = "look-ups"
    try:
        key = config.pseudonym_key()
    except ConfigError as error:
        if config.consultations.pseudonym_key:
            return fail(subject, str(error), "put the secret where the configuration says")
        do = "set consultations.pseudonym_key where console or commands show data of persons"
        return warn(subject, "no key: nothing that must be logged is shown from here", do)
    used = await newest_key_name(store)
    if used not in ("", key_name(key)):
        do = "give console and every command line the same consultations.pseudonym_key"
        return fail(subject, "the newest line was written with another key than this one", do)
    return ok(subject, "logged, with one key" if used else "none yet; the key is there")


def _info(answer: Any) -> dict[str, str]:
    """INFO as a client gives it, parsed or not."""
    if isinstance(answer, dict):
        return {str(name): str(value) for name, value in answer.items()}
    lines = bytes(answer).decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _version(subject: str, version: str) -> Finding:
    if _numbers(version) < STORE_VERSION_MIN:
        return fail(subject, f"version {version}", "use Redis 7 or later, or Valkey")
    return ok(subject, f"version {version} answers")


async def _setting(store: Store, name: str, wanted: str, why: str) -> Finding:
    try:
        answer = await command(store, "CONFIG", "GET", name)
    except StoreUnavailableError:
        return warn("store", f"does not tell its {name}", f"make sure that it is {wanted}: {why}")
    pairs = (
        answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    )
    value = next((_text(value) for _, value in pairs), "")
    if value != wanted:
        return fail("store", f"{name} is {value or 'unknown'}", f"set {name} {wanted}: {why}")
    return ok("store", f"{name} {value}")


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


async def _journal(store: Store, partition: str) -> Finding:
    subject = f"journal {partition}"
    last = await Journal(store).last_id(partition)
    quiet_s = time.time() - last.ms / 1000
    if last.ms == 0:
        return warn(subject, "empty", "nothing was ever imported: `afstand orders import`")
    if quiet_s > DOCTOR_QUIET_S_MAX:
        do = "a running watch ticks four times a second: start `afstand watch`"
        return fail(subject, f"nothing for {quiet_s:,.0f} s", do)
    return ok(subject, f"last entry {max(0.0, quiet_s):.1f} s ago")


async def _pending(store: Store, partition: str) -> AsyncIterator[Finding]:
    subject = f"outbox {partition}"
    try:
        groups = await command(store, "XINFO", "GROUPS", outbox_key(partition))
    except StoreUnavailableError:
        yield warn(
            subject, "empty or without a reader", "start `afstand watch` and `afstand notify`"
        )
        return
    for raw in groups:
        group = raw if isinstance(raw, dict) else dict(zip(raw[::2], raw[1::2], strict=True))
        waits = int(group.get(b"pending") or 0) + int(group.get(b"lag") or 0)
        found = f"{waits} entries wait for {_text(group.get(b'name', b''))}"
        if waits > DOCTOR_PENDING_MAX:
            yield fail(subject, found, "is `afstand notify` running and its receivers reachable?")
        else:
            yield ok(subject, found)


# --- broker ---------------------------------------------------------------------------------------


async def look_at_broker(config: Config) -> list[Finding]:
    """Whether it lets us in, and which it is."""
    broker = config.broker
    where = f"{broker.host}:{broker.port}"
    found = []
    try:
        async with asyncio.timeout(DOCTOR_WAIT_S):
            async with mqtt_client(config, f"afstand-doctor-{os.getpid()}") as client:
                found.append(ok("broker", f"{where} lets us in over MQTT {broker.version}"))
                found += look_at_what_the_broker_says(await _broker_says(client))
    except (aiomqtt.MqttError, OSError, TimeoutError, ConfigError) as error:
        if not found:
            reason = str(error) or "no answer"
            do = "is it running? do user, password and certificate fit its configuration?"
            found.append(fail("broker", f"{where}: {reason}", do))
    if not broker.tls and broker.host not in ("127.0.0.1", "::1", "localhost"):
        found.append(fail("broker", "without TLS over a network", "broker.tls = true"))
    return found


async def _broker_says(client: aiomqtt.Client) -> dict[str, str]:
    """What a mosquitto says of itself; others say nothing, and a strict ACL forbids it."""
    said: dict[str, str] = {}
    with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
        async with asyncio.timeout(2.0):
            for topic in (BROKER_VERSION, BROKER_DROPPED):
                await client.subscribe(topic)
            async for message in client.messages:
                said[str(message.topic)] = _text(message.payload)
                if len(said) == 2:
                    break
    return said


def look_at_what_the_broker_says(said: Mapping[str, str]) -> list[Finding]:
    """Its version, and whether it ever dropped what it could not queue."""
    found = []
    text = said.get(BROKER_VERSION)
    if text is not None:
        number = _numbers(text.rpartition(" ")[2])
        if "mosquitto" in text and number < MOSQUITTO_VERSION_MIN:
            wanted = ".".join(map(str, MOSQUITTO_VERSION_MIN))
            found.append(warn("broker", text, f"use mosquitto {wanted} or later: it loses less"))
        else:
            found.append(ok("broker", text))
    dropped = said.get(BROKER_DROPPED, "0")
    if dropped != "0":
        what = f"dropped {dropped} messages since it started; devices sent theirs again, phones not"
        do = "is an intake behind or away for long? raise max_queued_messages and max_queued_bytes"
        found.append(warn("broker", what, do))
    return found


# --- disks, certificates, receivers, processes ----------------------------------------------------


def look_at_disk(folder: Path, what: str) -> Finding:
    """Whether a folder can be written to, and for how long yet."""
    subject = f"disk {what}"
    there = folder
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK):
        return fail(subject, f"{folder} cannot be written to", f"give {_user()} the right to")
    usage = shutil.disk_usage(there)
    share = usage.free / usage.total
    found = f"{folder}: {usage.free / 2**30:,.1f} GiB free, {share:.0%}"
    if usage.free < DOCTOR_DISK_FREE_BYTES_MIN or share < DOCTOR_DISK_FREE_SHARE_MIN:
        return fail(subject, found, "make room: snapshots and archive stop when it is full")
    return ok(subject, found)


def _user() -> str:
    return f"user {os.getuid()}"


def look_at_certificate(file: Path, now: datetime) -> Finding:
    """How long a certificate is still good for."""
    subject = f"certificate {file.name}"
    try:
        certificates = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        return fail(subject, f"{file}: {error}", "put a PEM certificate there")
    until = min(one.not_valid_after_utc for one in certificates)
    days = (until - now).total_seconds() / 86_400
    found = f"good until {until:%Y-%m-%d}"
    if days < 0:
        return fail(subject, found, "renew it: nobody lets us in with it")
    if days < DOCTOR_CERTIFICATE_DAYS_MIN:
        return warn(subject, found, f"renew it: {math.floor(days)} days left")
    return ok(subject, found)


async def look_at_receiver(name: str, target: Target) -> Finding:
    """Whether a receiver's address can be reached; nothing is sent."""
    subject = f"receiver {name}"
    host, port = _address_of(target)
    try:
        async with asyncio.timeout(DOCTOR_WAIT_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        do = "ask the receiver, look at DNS and firewall; plans go to their fallback meanwhile"
        return fail(subject, f"{host}:{port}: {str(error) or 'no answer'}", do)
    writer.close()
    return ok(subject, f"{host}:{port} can be reached")


def _address_of(target: Target) -> tuple[str, int]:
    if isinstance(target, MailTarget):
        return target.host, target.port
    parts = urlsplit(target.url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


async def look_at_process(name: str, host: str, port: int) -> Finding:
    """What one process of the service says of itself."""
    subject = f"process {name}"
    url = f"http://{host}:{port}/-/ready"
    timeout = aiohttp.ClientTimeout(total=DOCTOR_WAIT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            text = (await answer.text()).strip()
    except (aiohttp.ClientError, OSError, TimeoutError):
        needed = name not in ("archiver", "trackers", "auditor", "console")
        role = name.partition("-")[0]
        say = fail if needed else warn
        return say(subject, f"nobody answers on {host}:{port}", f"start `afstand {role}`")
    if answer.status != 200:
        return fail(subject, f"not ready: {text}", "see its log; docs/on-call/runbooks.md")
    return ok(subject, "ready")


# --- all of it ------------------------------------------------------------------------------------


async def examine(config: Config) -> list[Finding]:
    """Look at everything. Raises nothing for what it finds."""
    now = datetime.now(UTC)
    found = [*look_at_configuration(config), look_at_clock(synchronised())]
    found.append(look_at_disk(Path(config.watch.data_dir), "snapshots"))
    found.append(look_at_disk(Path(config.archive.dir), "archive"))
    if config.console.key:
        found.append(look_at_disk(Path(config.console.data_dir), "console"))
    files = [config.broker.ca_file, config.broker.cert_file] if config.broker.tls else []
    files.append(config.console.cert_file)
    found += [look_at_certificate(Path(file), now) for file in files if file]
    several: list[Awaitable[list[Finding]]] = []
    try:
        config.store_url()
        several.append(look_at_store(config))
    except ConfigError:
        pass  # told above
    several.append(look_at_broker(config))
    single: list[Awaitable[Finding]] = []
    try:
        targets = config.notify_settings().targets
        single += [look_at_receiver(name, target) for name, target in targets.items()]
    except ConfigError:
        pass  # told above
    single += [
        look_at_process(name, config.http.host, port)
        for name, port in _health_ports(config).items()
        if port
    ]
    for part in await asyncio.gather(*several):
        found += part
    return found + list(await asyncio.gather(*single))


async def run(config: Config, options: argparse.Namespace) -> int:
    """Print every finding; 1 when one of them is a failure."""
    found = await examine(config)
    if options.json:
        print(json.dumps([one._asdict() for one in found], indent=1))
    else:
        width = max(len(one.subject) for one in found)
        for one in found:
            print(f"{one.level.value:4}  {one.subject:{width}}  {one.found}")
            if one.do:
                print(f"      {'':{width}}  -> {one.do}")
    failures = sum(one.level is Level.FAIL for one in found)
    warnings = sum(one.level is Level.WARN for one in found)
    print(
        f"{socket.gethostname()}: {failures} failures, {warnings} warnings,"
        f" {len(found) - failures - warnings} in order",
        file=sys.stderr,
    )
    return 1 if failures else 0
