"""`afstand demo`: the whole service on this machine, with simulated people and scripted events.

The same processes as in real use (one intake, two watch replicas, one notifier) on an embedded
store and broker; devices, police and reclassering are played. In the end it says of each true
event, which only the simulated world knows, whether those who had to know were told, and how fast.
"""

import asyncio
import contextlib
import errno
import importlib.resources
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live

from afstand import logs
from afstand.cases import check_cases, dump_json, import_cases
from afstand.demo_accounts import DemoAccounts
from afstand.demo_state import DemoState
from afstand.demo_view import Rate, line, page, summary
from afstand.embedded import EmbeddedError, Endpoint
from afstand.roles import open_store
from afstand.site import (
    ROLES,
    Site,
    SiteError,
    TargetSpec,
    new_secret,
    open_site,
    prefer_port,
    warm_up_apart,
)
from afstand.supervise import stop_on_signals
from afstand.tail import Tail, wall_ms
from ingest.journal import Journal
from ingest.registry import KeyBox, Registry
from simulators.client import Broker
from simulators.clock import RealClock
from simulators.demo import DemoWorld, build_demo
from simulators.fleet import Fleet, FleetObserver
from simulators.receivers import Kind, Receiver
from simulators.scenario import Scenario, ScenarioError, load_scenario

START_AFTER_MS: Final = 3_000
SIGN_IN_MS: Final = 20_000  # somebody who opens the console sees things happen, not that they did
KNOWN: Final = "afstand_intake_devices"
KNOWN_MS_MAX: Final = 20_000
LAST_MS: Final = 1_500
PLAIN_STATUS_S: Final = 5.0
ACKNOWLEDGE_AFTER_MS: Final = 45_000  # whoever looks at the console sees it wait for an answer
DEMO_ROLES: Final = (*ROLES, "console")
CONSOLE_PORT: Final = 8490
CENTRE: Final = (4.48, 51.92, 11.0)
OIN: Final = "00000001823288444000"
RECEIVERS: Final = (
    ("meldkamer", Kind.CAP, ("police",)),
    ("reclassering", Kind.EVENTS, ("probation",)),
    ("monitoring-centre", Kind.EVENTS, ("monitoring-centre",)),
    ("shift-lead", Kind.EVENTS, ("shift-lead",)),
)


def run(*, for_s: float | None, plain: bool, broker: str, scenario_file: Path | None) -> int:
    """Run the demo; 0 when every true event reached everybody it had to reach."""
    console = Console()
    logs.configure(level="warning", role="demo")
    try:
        scenario = _scenario(scenario_file)
        with tempfile.TemporaryDirectory(prefix="afstand-demo-") as folder:
            live = console.is_terminal and not plain
            return asyncio.run(_run(console, Path(folder), scenario, for_s, live, broker))
    except (EmbeddedError, SiteError, ScenarioError) as error:
        console.print(str(error), markup=False)
        return 1


def _scenario(file: Path | None) -> Scenario:
    if file is not None:
        return load_scenario(file)
    shipped = importlib.resources.files("simulators") / "scenarios" / "demo.json"
    with importlib.resources.as_file(shipped) as path:
        return load_scenario(path)


async def _run(
    console: Console,
    folder: Path,
    scenario: Scenario,
    for_s: float | None,
    live: bool,
    prefer_broker: str,
) -> int:
    asyncio.get_running_loop().set_exception_handler(_unless_closed)
    stop = stop_on_signals()
    receivers, targets = await _receivers()
    try:
        console.print("starting an embedded store and broker ...")
        console_port = prefer_port(CONSOLE_PORT)
        async with open_site(
            folder,
            targets,
            prefer_broker=prefer_broker,
            console={"port": console_port, "site_name": "Afstand demo", "centre": CENTRE},
        ) as parts:
            return await _play(console, parts, scenario, receivers, for_s, live, stop)
    finally:
        for receiver in receivers:
            await receiver.stop()


async def _play(
    console: Console,
    parts: tuple[Site, Endpoint, Endpoint],
    scenario: Scenario,
    receivers: Sequence[Receiver],
    for_s: float | None,
    live: bool,
    stop: asyncio.Event,
) -> int:
    site, at_store, at_broker = parts
    names = f"{at_store.name} + {at_broker.name} (MQTT {at_broker.mqtt_version})"
    console.print(f"{names}; placing people ...")
    world = build_demo(scenario, wall_ms())
    acknowledged = f"http://127.0.0.1:{site.config.notify.port}/v1/acknowledgements"
    for receiver in receivers:
        receiver.acknowledge_url = acknowledged
    console.print("compiling kernels (the first time, some minutes) ...")
    await warm_up_apart()
    accounts = await asyncio.to_thread(DemoAccounts, site)
    console.print(f"starting {', '.join(DEMO_ROLES)} ...")
    site.start(DEMO_ROLES)
    await site.ready(DEMO_ROLES)
    await _register(site, world)
    await _known(site, len(world.keys))
    console.print(f"{len(world.keys)} devices registered; they connect now")
    console.print(accounts.introduction(), highlight=False)
    async with open_store(site.config) as store:
        tail = Tail(store, site.config.partitions[0])
        start_ms = wall_ms() + (SIGN_IN_MS if for_s is None else START_AFTER_MS)
        if for_s is None:
            console.print(f"sign in: people begin to move in {SIGN_IN_MS // 1000} s", style="bold")
        state = DemoState(world, tail, receivers, start_ms)
        fleet = world.fleet(
            Broker("127.0.0.1", at_broker.port, at_broker.mqtt_version),
            RealClock(),
            start_ms,
            FleetObserver(shown=state.on_shown),
        )
        following = asyncio.create_task(tail.run())
        driving = asyncio.create_task(fleet.run())
        try:
            work = (following, driving)
            await _show(console, state, fleet, names, accounts, for_s, live, stop, work)
        finally:
            fleet.stop()
            following.cancel()
            await asyncio.gather(driving, following, return_exceptions=True)
        state.update()
        console.print("stopping ...")
    for_ms = wall_ms() - start_ms - LAST_MS
    complete = summary(console, state.rows(for_ms), state)
    # Ctrl-C before the script was played leaves nothing to judge.
    return 0 if complete or (stop.is_set() and for_s is None) else 1


async def _show(
    console: Console,
    state: DemoState,
    fleet: Fleet,
    names: str,
    accounts: DemoAccounts,
    for_s: float | None,
    live: bool,
    stop: asyncio.Event,
    work: Sequence[asyncio.Task[None]],
) -> None:
    """Show what happens until the time is over, Ctrl-C, or a part that must run has ended."""
    end_ms = None if for_s is None else state.start_ms + int(for_s * 1000)
    rate = Rate()
    status_at_ms = wall_ms()
    async with _live(console, enabled=live) as view:
        while not stop.is_set() and (end_ms is None or wall_ms() < end_ms):
            for task in work:
                if task.done():
                    await task
            fresh = state.update()
            now_ms = wall_ms()
            per_s = rate.look(now_ms, state.tail.fixes)
            if view is not None:
                shown = page(state, now_ms, per_s, fleet.counts.connected, names)
                view.update(Group(accounts.panel(now_ms), shown))
            else:
                for one in fresh:
                    console.print(line(one), markup=False, highlight=False)
                if now_ms - status_at_ms >= PLAIN_STATUS_S * 1000:
                    status_at_ms = now_ms
                    console.print(
                        f"-- {max(0, now_ms - state.start_ms) // 1000} s: {fleet.counts.connected} "
                        f"devices connected, {per_s:.1f} fixes/s, "
                        f"{len(state.tail.incidents)} open incidents; "
                        f"sign-in code {accounts.code(now_ms)}",
                        highlight=False,
                    )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.4)


@contextlib.asynccontextmanager
async def _live(console: Console, *, enabled: bool) -> AsyncIterator[Live | None]:
    if not enabled:
        yield None
        return
    with Live(console=console, refresh_per_second=4, transient=True) as view:
        yield view


async def _receivers() -> tuple[list[Receiver], list[TargetSpec]]:
    receivers, targets = [], []
    for name, kind, audiences in RECEIVERS:
        secret = new_secret()
        receiver = Receiver(name, kind, [secret], acknowledge_after_ms=ACKNOWLEDGE_AFTER_MS)
        url = await receiver.start()
        extra = {"sender": "demo@afstand.example"} if kind is Kind.CAP else {"oin": OIN}
        receivers.append(receiver)
        targets.append(
            TargetSpec(
                name=name,
                kind=kind.value,
                url=url,
                secret=secret,
                audiences=audiences,
                extra=extra,
            )
        )
    return receivers, targets


async def _register(site: Site, world: DemoWorld) -> None:
    cases = check_cases(dump_json(world.cases), "demo")
    async with open_store(site.config) as store:
        registry = Registry(store, KeyBox(site.master_key))
        await import_cases(cases, registry, Journal(store), site.config.partitions)


def _unless_closed(loop: asyncio.AbstractEventLoop, said: dict[str, Any]) -> None:
    """Say what went wrong in a callback, but for writers of sockets that are closed already.

    aiomqtt asks for them a turn of the loop later; when 230 devices leave at once, some have left.
    """
    error = said.get("exception")
    if not (isinstance(error, OSError) and error.errno == errno.EBADF):
        loop.default_exception_handler(said)


async def _known(site: Site, devices: int) -> None:
    """Wait until the intake has the devices: what unknown ones say goes to the quarantine."""
    until_ms = wall_ms() + KNOWN_MS_MAX
    while wall_ms() < until_ms:
        said = await site.metrics("intake")
        values = [one.split()[-1] for one in said.splitlines() if one.startswith(f"{KNOWN} ")]
        if values and float(values[0]) >= devices:
            return
        await asyncio.sleep(0.1)
