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
REPORT_EVERY_S = 5.0


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
    end_s = None if for_s is None else time.monotonic() + START_AFTER_S + for_s
    running = asyncio.create_task(fleet.run())
    waiting = asyncio.create_task(stop.wait())
    while not running.done() and not waiting.done():
        left_s = REPORT_EVERY_S if end_s is None else min(REPORT_EVERY_S, end_s - time.monotonic())
        if left_s <= 0:
            break
        await asyncio.wait({running, waiting}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        counts = fleet.counts
        print(
            f"{counts.connected} connected, {counts.published} frames published, "
            f"{counts.stored_frames} stored on devices",
            file=sys.stderr,
        )
    fleet.stop()
    waiting.cancel()
    await running
