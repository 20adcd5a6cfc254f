"""The process of the console, and its local accounts.

A process of its own: it reads journal and outbox, writes commands and its log of look-ups, and
nobody waits for it.
"""

import asyncio
import contextlib
import getpass
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import segno
import structlog
from prometheus_client import CollectorRegistry

from afstand.config import Config
from afstand.console_link import Follower, StoreLink, restored
from afstand.limits import CONSOLE_KEEP_SESSIONS_S, CONSOLE_UNSPOOL_EVERY_S
from afstand.roles import observed
from alerting.book.roles import Role
from console.access.gate import Gate
from console.access.passwords import (
    PasswordError,
    Passwords,
    Sealer,
    new_totp_secret,
    totp_uri,
)
from console.access.store import AccessStore, Account
from console.api.app import application
from console.api.services import Services
from console.hub import Hub
from console.ports import UnavailableError
from console.server import serving as serving_app
from ingest.store import connect_store

log = structlog.get_logger()
_FILE = "console.db"


def access_store(config: Config) -> AccessStore:
    """The console's own file of accounts and sessions."""
    return AccessStore(Path(config.console.data_dir) / _FILE)


async def console(config: Config, stop: asyncio.Event) -> None:
    """Serve the console until `stop`."""
    settings = config.console_settings()
    folder = Path(config.console.data_dir)
    registry = CollectorRegistry()
    async with contextlib.AsyncExitStack() as stack:
        accounts = access_store(config)
        stack.callback(accounts.close)
        store = connect_store(config.store_url(), cluster=config.store.cluster)
        stack.push_async_callback(store.aclose)
        hub = Hub(restored(folder), config.partitions)
        link = StoreLink(store, config.pseudonym_key())
        gate = Gate(accounts, Passwords(), Sealer(config.console_key()))
        services = Services(settings, hub, link, gate, accounts, registry)
        services.duty_changed(link.now_ms())
        follower = Follower(store, hub, link, folder)
        await stack.enter_async_context(
            observed(config, config.console.health_port, registry, lambda: follower.not_ready)
        )
        tasks = [
            asyncio.create_task(follower.run()),
            asyncio.create_task(_keep_unspooling(services)),
            asyncio.create_task(keep_sessions(gate)),
            asyncio.create_task(stop.wait()),
        ]
        stack.push_async_callback(_ended, tasks)
        at = await stack.enter_async_context(
            serving_app(
                application(services),
                config.console.host,
                config.console.port,
                cert_file=config.console.cert_file,
                key_file=config.console.key_file,
                trusted_proxies=config.console.trusted_proxies,
            )
        )
        log.info("serving the console", port=at)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


async def _ended(tasks: Sequence[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def keep_sessions(gate: Gate) -> None:
    """Write when sessions were used last, beside the loop: each write waits for the disk."""
    while True:
        writing = asyncio.create_task(asyncio.to_thread(gate.keep_due))
        try:
            await asyncio.shield(writing)
        finally:
            await writing  # the file is closed only after the last write
        await asyncio.sleep(CONSOLE_KEEP_SESSIONS_S)


async def _keep_unspooling(services: Services) -> None:
    while True:
        with contextlib.suppress(UnavailableError):
            await services.consultations.unspool()
        await asyncio.sleep(CONSOLE_UNSPOOL_EVERY_S)


# --- accounts -------------------------------------------------------------------------------------


def make_account(
    config: Config, name: str, role: Role, password: str, secret: str | None = None
) -> str:
    """Make or replace an account; gives the secret of its second factor. Raises PasswordError."""
    secret = secret or new_totp_secret()
    store = access_store(config)
    try:
        store.put_account(
            Account(
                name=name,
                role=role,
                password=Passwords().hash(password),
                totp=Sealer(config.console_key()).seal(name, secret),
                created_ms=time.time_ns() // 1_000_000,
            )
        )
    finally:
        store.close()
    return secret


def add_account(config: Config, name: str, role: str) -> int:
    """Ask for a password, make the account, show the second factor once."""
    password = getpass.getpass("password: ") if sys.stdin.isatty() else sys.stdin.readline().strip()
    try:
        secret = make_account(config, name, Role(role), password)
    except PasswordError as error:
        print(f"password: {error}", file=sys.stderr)
        return 1
    uri = totp_uri(secret, name)
    print(f"{name} is a {role}. Put this into an authenticator app; it is shown only once:")
    if sys.stdout.isatty():
        segno.make(uri).terminal(compact=True)
    print(uri)
    return 0


def list_accounts(config: Config) -> int:
    """Print the accounts."""
    store = access_store(config)
    for account in store.accounts():
        print(f"{account.name:24} {account.role:16} {'disabled' if account.disabled else ''}")
    store.close()
    return 0


def disable_account(config: Config, name: str) -> int:
    """Let nobody in with this account any more; its sessions end."""
    store = access_store(config)
    try:
        account = store.account(name)
        if account is None:
            print(f"no account {name}", file=sys.stderr)
            return 1
        store.put_account(
            Account(
                name=account.name,
                role=account.role,
                password=account.password,
                totp=account.totp,
                totp_step=account.totp_step,
                disabled=True,
                created_ms=account.created_ms,
            )
        )
    finally:
        store.close()
    print(f"{name} is disabled")
    return 0
