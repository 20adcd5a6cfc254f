"""`afstand load`: valid frames of many devices against any broker, measured from the plan on."""

import argparse
import asyncio
import json
import math
import ssl
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from afstand.config import ConfigError, load
from simulators.load import LoadError, LoadRecord, LoadTarget, connected, publish
from simulators.load_report import (
    PhaseResult,
    ProgressLine,
    figures,
    phase_result,
    plot,
    rows,
)
from simulators.load_scenario import (
    LoadPhase,
    LoadScenario,
    LoadScenarioError,
    cases_of,
    checked,
    load_devices,
    plan_phase,
    read_scenario,
)

START_AFTER_MS: Final = 200
DRAIN_S: Final = 30.0
WINDOW: Final = 1_000


class LoadCommandError(Exception):
    """The load cannot be run; the message says why."""


def run(options: argparse.Namespace) -> int:
    """Run the command: 0 when every message was acknowledged, 1 when not."""
    try:
        scenario = _scenario(options)
        if options.cases is not None:
            with options.cases.open("wb") as file:
                file.writelines(cases_of(load_devices(scenario)))
            print(f"cases of {scenario.devices} devices: {options.cases}", file=sys.stderr)
            return 0
        target = _target(options, scenario)
        results = asyncio.run(_run(scenario, target, quiet=options.quiet))
    except (LoadScenarioError, LoadCommandError, ConfigError) as error:
        print(error, file=sys.stderr)
        return 1
    except (LoadError, OSError, TimeoutError) as error:
        print(f"the broker: {str(error) or 'does not answer'}", file=sys.stderr)
        return 1
    return _report(results, scenario, options)


def _scenario(options: argparse.Namespace) -> LoadScenario:
    scenario = LoadScenario() if options.scenario is None else read_scenario(options.scenario)
    given = {
        name: getattr(options, name)
        for name in ("devices", "connections", "fixes_per_frame", "seed", "prefix")
        if getattr(options, name) is not None
    }
    if options.interval is not None or options.for_s is not None or options.panics is not None:
        first = scenario.phases[0] if scenario.phases else LoadPhase(60.0, 10.0)
        phase = LoadPhase(
            options.for_s if options.for_s is not None else scenario.for_s,
            options.interval if options.interval is not None else first.interval_s,
            options.panics if options.panics is not None else first.panics_per_s,
        )
        given["phases"] = (phase,)
    try:  # the bounds of the scenario hold for options as well
        changed = msgspec.structs.replace(scenario, **given)
        return checked(msgspec.convert(msgspec.to_builtins(changed), LoadScenario))
    except msgspec.ValidationError as error:
        raise LoadScenarioError(f"options: {error}") from None


def _target(options: argparse.Namespace, scenario: LoadScenario) -> LoadTarget:
    settings: dict[str, Any] = {"host": "127.0.0.1", "port": 1883, "version": options.mqtt or "5"}
    if options.config is not None:
        broker = load(options.config).broker
        settings |= {"host": broker.host, "port": broker.port}
        settings["version"] = options.mqtt or broker.version
        settings["username"] = broker.username or None
        if broker.password:
            settings["password"] = load(options.config).secret("broker.password", broker.password)
        if broker.tls:
            context = ssl.create_default_context(cafile=broker.ca_file or None)
            if broker.cert_file:
                context.load_cert_chain(broker.cert_file, broker.key_file or None)
            settings["tls"] = context
    if options.broker is not None:
        host, _, port = options.broker.rpartition(":")
        if not host or not port.isdigit():
            raise LoadCommandError(f"not HOST:PORT: {options.broker!r}")
        settings |= {"host": host.strip("[]"), "port": int(port)}
    return LoadTarget(
        **settings,
        connections=scenario.connection_count,
        window=options.window or WINDOW,
        client_prefix=f"{scenario.prefix}-load",
    )


async def _run(scenario: LoadScenario, target: LoadTarget, *, quiet: bool) -> list[PhaseResult]:
    devices = load_devices(scenario)
    total = sum(scenario.messages(phase) for phase in scenario.phases)
    progress = ProgressLine(total)
    results: list[PhaseResult] = []
    done = 0
    # A boot that is larger than in any run before: these devices keep nothing.
    boot, sequence = int(time.time()), 1

    def tell(record: LoadRecord) -> None:
        if not quiet:
            print(progress.line(record, done), file=sys.stderr, flush=True)

    _say(f"{target.host}:{target.port}: {target.connections} connections ...", quiet=quiet)
    async with connected(target) as connections:
        for number in range(len(scenario.phases)):
            cost_ms = START_AFTER_MS + scenario.messages(scenario.phases[number]) // 100
            start_ms = time.time_ns() // 1_000_000 + cost_ms
            plan = plan_phase(
                scenario, devices, number, start_ms=start_ms, boot=boot, first_sequence=sequence
            )
            cpu_s = time.process_time()
            record = await publish(plan, connections, drain_s=DRAIN_S, progress=tell)
            cpu_s = time.process_time() - cpu_s
            results.append(phase_result(record, plan.panic, scenario.fixes_per_frame, cpu_s))
            done += record.acked
            sequence = int(plan.sequence.max(initial=sequence)) + 1
    return results


def _say(text: str, *, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr, flush=True)


# --- the result -----------------------------------------------------------------------------------


def _report(results: list[PhaseResult], scenario: LoadScenario, options: argparse.Namespace) -> int:
    found = figures(results)
    print(_table(rows(results)))
    print(
        f"\n{found['fixes']:,.0f} fixes of {scenario.devices:,} devices,"
        f" {found['fixes_per_s']:,.0f} per second; {found['us_per_fix']:.1f} us of this process"
        f" per fix; {found['messages_not_acknowledged']:,.0f} messages not acknowledged"
    )
    if options.json is not None:
        document = {
            "format": "afstand.load-result/1",
            "scenario": msgspec.to_builtins(scenario),
            "figures": {
                name: value if math.isfinite(value) else None for name, value in found.items()
            },
        }
        options.json.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", "utf-8")
    if options.plot is not None:
        _draw(results, options.plot)
    return 1 if found["messages_not_acknowledged"] or found["messages_refused"] else 0


def _table(lines: list[dict[str, object]]) -> str:
    names = list(lines[0])
    shown = [[_number(line[name]) for name in names] for line in lines]
    widths = [max(len(cells[i]) for cells in [names, *shown]) for i in range(len(names))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        for cells in [names, *shown]
    )


def _number(value: object) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def _draw(results: list[PhaseResult], path: Path) -> None:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - a second, for those who draw
    except ImportError:
        print("no plot: install matplotlib (afstand[bench])", file=sys.stderr)
        return
    figure = Figure(figsize=(9, 6), layout="constrained")
    plot(figure, results)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"plot: {path}", file=sys.stderr)
