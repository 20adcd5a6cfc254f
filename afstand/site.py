"""A whole service on one machine, in a folder of its own: for the demo, tests and benchmarks.

Every role is a process of its own, started from the same configuration file as in real use, so that
what is seen here is what runs there. Secrets are made for the run and handed over in the
environment.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from afstand.config import Config, load
from afstand.embedded import Endpoint, broker, free_port, store
from afstand.supervise import Child, afstand_command

READY_S_MAX: Final = 120.0
MASTER_KEY_VARIABLE: Final = "AFSTAND_SITE_MASTER_KEY"
CONSOLE_KEY_VARIABLE: Final = "AFSTAND_SITE_CONSOLE_KEY"
PSEUDONYM_KEY_VARIABLE: Final = "AFSTAND_SITE_PSEUDONYM_KEY"
ROLES: Final = ("intake", "watch-0", "watch-1", "notify")


class SiteError(RuntimeError):
    """The service did not become ready; the message says which process, and why."""


class TargetSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver of the site: what its table in the configuration says."""

    name: str
    kind: str
    url: str
    secret: str
    audiences: tuple[str, ...]
    extra: Mapping[str, str] = {}

    @property
    def variable(self) -> str:
        """The environment variable of its secret."""
        return f"AFSTAND_SITE_SECRET_{self.name.upper().replace('-', '_').replace('.', '_')}"


def prefer_port(port: int) -> int:
    """This port of the loopback interface when it is free, else any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return free_port()
    return port


def new_secret() -> str:
    """A secret in the form of Standard Webhooks."""
    return "whsec_" + secrets.token_urlsafe(48).replace("-", "A").replace("_", "B")[:48]


class Site:
    """The processes of a service and its configuration."""

    def __init__(
        self, folder: Path, config_file: Path, environ: dict[str, str], ports: dict[str, int]
    ) -> None:
        self.folder = folder
        self.config_file = config_file
        self.environ = environ
        self.health_ports = ports
        self.config: Config = load_with(config_file, environ)
        self.children: dict[str, Child] = {}

    @property
    def console_url(self) -> str:
        """Where a browser finds the console."""
        return f"http://127.0.0.1:{self.config.console.port}"

    @property
    def master_key(self) -> bytes:
        """The key under which this site keeps device keys."""
        return bytes.fromhex(self.environ[MASTER_KEY_VARIABLE])

    def command(self, role: str) -> tuple[list[str], dict[str, str]]:
        """Command line and environment of a role, `intake` or `watch-0` or another."""
        name, _, index = role.partition("-")
        arguments = [name, "--config", str(self.config_file)]
        environ = dict(self.environ)
        port = self.health_ports[role]
        if index:
            arguments += ["--replica", index]
            port -= int(index)
        section = "ARCHIVE" if name == "archiver" else name.upper()
        environ[f"AFSTAND_{section}__HEALTH_PORT"] = str(port)
        return afstand_command(*arguments), environ

    def start(self, roles: Sequence[str] = ROLES) -> None:
        """Start processes that are kept running."""
        for role in roles:
            command, environ = self.command(role)
            child = Child(role, command, environ=environ, log_file=self.folder / f"{role}.log")
            self.children[role] = child
            child.start()

    async def ready(self, roles: Sequence[str] = ROLES, within_s: float = READY_S_MAX) -> None:
        """Wait until every process says that it does its work. Raises SiteError."""
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._role_ready(session, role, within_s) for role in roles))

    async def _role_ready(self, session: aiohttp.ClientSession, role: str, within_s: float) -> None:
        url = f"http://127.0.0.1:{self.health_ports[role]}/-/ready"
        said = "no answer"
        try:
            async with asyncio.timeout(within_s):
                while True:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get(url) as response:
                            said = (await response.text()).strip()
                            if response.status == 200:
                                return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            log = self.folder / f"{role}.log"
            end = log.read_text(errors="replace")[-1500:] if log.exists() else ""
            raise SiteError(f"{role} is not ready: {said}\n{end}") from None

    async def metrics(self, role: str) -> str:
        """What a process says at /metrics."""
        url = f"http://127.0.0.1:{self.health_ports[role]}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return await response.text()

    async def stop(self) -> None:
        """End all processes, those that feed the others first."""
        for role in list(self.children):
            await self.children.pop(role).stop()


async def warm_up_apart() -> None:
    """Compile the kernels in a process of their own, once for all that start later."""
    process = await asyncio.create_subprocess_exec(
        *afstand_command("warm-up"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode != 0:
        raise SiteError(f"the kernels cannot be compiled: {said.decode(errors='replace')[-800:]}")


@contextlib.contextmanager
def in_environment(environ: Mapping[str, str]) -> Iterator[None]:
    """The variables are in this process's environment while the block runs."""
    before = {name: os.environ.get(name) for name in environ}
    os.environ.update(environ)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def load_with(config_file: Path, environ: Mapping[str, str]) -> Config:
    """Load a configuration whose secrets are in `environ`."""
    with in_environment(environ):
        return load(config_file)


def write_config(
    folder: Path,
    store_url: str,
    at_broker: Endpoint,
    targets: Sequence[TargetSpec],
    *,
    replicas: int = 2,
    snapshot_entries: int = 2_000,
    archive: Mapping[str, float] | None = None,
    console: Mapping[str, Any] | None = None,
) -> Site:
    """Write the configuration of a site into `folder`."""
    ports = {role: free_port() for role in ("intake", "notify", "archiver", "console")}
    ports |= {f"watch-{index}": free_port() for index in range(replicas)}
    environ = {
        MASTER_KEY_VARIABLE: secrets.token_hex(32),
        CONSOLE_KEY_VARIABLE: secrets.token_hex(32),
        PSEUDONYM_KEY_VARIABLE: secrets.token_hex(32),
    }
    tables: dict[str, dict[str, Any]] = {
        "store": {"url": store_url},
        "broker": {"host": "127.0.0.1", "port": at_broker.port, "version": at_broker.mqtt_version},
        "registry": {"master_key": f"env:{MASTER_KEY_VARIABLE}"},
        "consultations": {"pseudonym_key": f"env:{PSEUDONYM_KEY_VARIABLE}"},
        "watch": {
            "replicas": replicas,
            "data_dir": str(folder / "snapshots"),
            "snapshot_entries": snapshot_entries,
        },
        "archive": {"dir": str(folder / "archive"), **(archive or {})},
        "notify": {"port": free_port()},
        "console": {
            "port": free_port(),
            "data_dir": str(folder / "console"),
            "key": f"env:{CONSOLE_KEY_VARIABLE}",
            **(console or {}),
        },
        "log": {"level": "warning"},
    }
    for target in targets:
        environ[target.variable] = target.secret
        tables[f"targets.{target.name}"] = {
            "kind": target.kind,
            "url": target.url,
            "secrets": [f"env:{target.variable}"],
            "audiences": list(target.audiences),
            **target.extra,
        }
    file = folder / "afstand.toml"
    file.write_text(_toml(tables))
    return Site(folder, file, environ, ports)


def _toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """The tables as TOML; strings, numbers and lists only, which JSON writes alike."""
    lines = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


@contextlib.asynccontextmanager
async def open_site(
    folder: Path,
    targets: Sequence[TargetSpec],
    *,
    prefer_broker: str = "",
    console: Mapping[str, Any] | None = None,
) -> AsyncIterator[tuple[Site, Endpoint, Endpoint]]:
    """An embedded store and broker with a configuration for them; stops all in the end."""
    with store(folder) as at_store, broker(folder, prefer=prefer_broker) as at_broker:
        url = f"redis://127.0.0.1:{at_store.port}/0"
        site = write_config(folder, url, at_broker, targets, console=console)
        try:
            yield site, at_store, at_broker
        finally:
            await site.stop()
