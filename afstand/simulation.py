"""`afstand simulate`: simulated devices against the broker of the configuration."""

import asyncio
import sys
import time
from pathlib import Path

from afstand.cases import CasesError, check_cases, dump_json
from afstand.config import Config
from afstand.tools import import_orders
from simulators.client import Broker
from simulators.clock import RealClock
from simulators.demo import build_demo
from simulators.scenario import ScenarioError, load_scenario

START_AFTER_S = 5.0


def broker_of(config: Config) -> Broker:
    """How simulated devices reach the broker."""
    return Broker(config.broker.host, config.broker.port, config.broker.version)


async def simulate(
    config: Config, file: Path, stop: asyncio.Event, *, for_s: float | None, register: bool
) -> None:
    """Play a scenario until `stop`, or for a time. `register`: import its cases first."""
    try:
        scenario = load_scenario(file)
    except ScenarioError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    clock = RealClock()
    start_ms = int((time.time() + START_AFTER_S) * 1000)
    world = build_demo(scenario, start_ms)
    if register:
        try:
            await import_orders(config, check_cases(dump_json(world.cases), str(file)))
        except CasesError as error:
            print(error, file=sys.stderr)
            raise SystemExit(1) from None
    fleet = world.fleet(broker_of(config), clock, start_ms)
    running = asyncio.create_task(fleet.run())
    waiting = asyncio.create_task(stop.wait())
    async with asyncio.timeout(for_s + START_AFTER_S if for_s is not None else None):
        while not running.done() and not waiting.done():
            await asyncio.wait({running, waiting}, timeout=5, return_when=asyncio.FIRST_COMPLETED)
            counts = fleet.counts
            print(
                f"{counts.connected} connected, {counts.published} frames published, "
                f"{counts.stored_frames} stored on devices",
                file=sys.stderr,
            )
    fleet.stop()
    waiting.cancel()
    await running
