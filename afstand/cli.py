"""The command `afstand`: one subcommand per role, and the tools around them.

Exit codes: 0 done, 1 could not be done (the reason is on standard error), 2 wrong usage.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from afstand import __version__, logs
from afstand.config import Config, ConfigError, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.action is None:
        parser.print_help()
        return 2
    try:
        return int(options.action(options))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="afstand", description="Electronic monitoring and victim alerts."
    )
    parser.add_argument("--version", action="version", version=f"afstand {__version__}")
    parser.set_defaults(action=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(name: str, text: str, action: Callable[[argparse.Namespace], int]) -> Any:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=action)
        return command

    def add_configured(name: str, text: str, action: Callable[[argparse.Namespace], int]) -> Any:
        command = add(name, text, action)
        command.add_argument("--config", type=Path, help="the configuration, a TOML file")
        return command

    demo = add("demo", "everything on this machine, with simulated people", _demo)
    demo.add_argument("--for", dest="for_s", type=float, help="end by itself after SECONDS")
    demo.add_argument("--plain", action="store_true", help="lines of text instead of a live view")
    demo.add_argument("--broker", choices=("mosquitto", "nats"), default="", help="which broker")
    demo.add_argument("--scenario", type=Path, help="another scenario file")

    add_configured("intake", "take messages from the broker into the journal", _intake)
    watch = add_configured("watch", "fold the journal into the outbox", _watch)
    watch.add_argument("--replica", type=int, help="run this replica alone, in this process")
    add_configured("notify", "deliver what the watches decided", _notify)

    simulate = add_configured("simulate", "simulated devices against the broker", _simulate)
    simulate.add_argument("scenario", type=Path, help="a scenario file")
    simulate.add_argument("--for", dest="for_s", type=float, help="end after SECONDS")
    simulate.add_argument("--register", action="store_true", help="import its cases first")

    orders = commands.add_parser("orders", help="persons, devices, zones, orders and plans")
    orders_commands = orders.add_subparsers(title="commands", metavar="COMMAND", required=True)
    imports = orders_commands.add_parser("import", help="check a cases document and put it in")
    imports.set_defaults(action=_orders_import)
    imports.add_argument("file", type=Path)
    imports.add_argument("--config", type=Path)
    imports.add_argument("--check", action="store_true", help="check only, write nothing")

    incidents = commands.add_parser(
        "incidents", help="what is open, and what operators do about it"
    )
    _add_incident_commands(incidents)

    explained = add_configured("explain", "why an alarm was given, in plain words", _explain)
    explained.add_argument("id", metavar="ALARM", help="an id of an alarm or an incident")
    explained.add_argument("--language", choices=("nl", "en"), help="default: notify.language")
    explained.add_argument("--timezone", default="Europe/Amsterdam", help="of the clock times")
    explained.add_argument("--json", action="store_true", help="for machines")
    explained.add_argument(
        "--positions", action="store_true", help="where the persons were, for those who may know"
    )

    check = add("check-config", "read a configuration and say what is wrong with it", _check_config)
    check.add_argument("file", type=Path)
    add("warm-up", "compile all kernels and keep them", _warm_up)
    return parser


def _add_incident_commands(incidents: argparse.ArgumentParser) -> None:
    commands = incidents.add_subparsers(title="commands", metavar="COMMAND", required=True)
    shown = commands.add_parser("list", help="open incidents")
    shown.set_defaults(action=_incidents_list)
    shown.add_argument("--config", type=Path)
    for name, text in (("acknowledge", "take it in hand"), ("dispose", "close it with a reason")):
        command = commands.add_parser(name, help=text)
        command.set_defaults(action=_incident_command, what=name)
        command.add_argument("incident")
        command.add_argument("--config", type=Path)
        command.add_argument("--by", required=True, help="who does it")
        if name == "dispose":
            command.add_argument("--disposition", required=True)
            command.add_argument("--note", default="")
            command.add_argument("--despite-active", action="store_true")


def _configured(options: argparse.Namespace, role: str) -> Config:
    config = load(options.config)
    logs.configure(level=config.log.level, role=role)
    return config


def _run_role(role: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run a role until SIGTERM or SIGINT."""

    async def run() -> None:
        from afstand.supervise import stop_on_signals

        await role(stop_on_signals())

    asyncio.run(run())
    return 0


def _intake(options: argparse.Namespace) -> int:
    from afstand import roles

    config = _configured(options, "intake")
    return _run_role(lambda stop: roles.intake(config, stop))


def _watch(options: argparse.Namespace) -> int:
    from afstand import roles

    config = _configured(options, "watch")
    if options.replica is not None:
        return _run_role(lambda stop: roles.watch(config, options.replica, stop))
    return _run_role(lambda stop: roles.watch_replicas(config, options.config, stop))


def _notify(options: argparse.Namespace) -> int:
    from afstand import roles

    config = _configured(options, "notify")
    return _run_role(lambda stop: roles.notify(config, stop))


def _simulate(options: argparse.Namespace) -> int:
    from afstand import simulation

    config = _configured(options, "simulate")
    return _run_role(
        lambda stop: simulation.simulate(
            config, options.scenario, stop, for_s=options.for_s, register=options.register
        )
    )


def _demo(options: argparse.Namespace) -> int:
    from afstand import demo

    return demo.run(
        for_s=options.for_s,
        plain=options.plain,
        broker=options.broker,
        scenario_file=options.scenario,
    )


def _orders_import(options: argparse.Namespace) -> int:
    from afstand import tools
    from afstand.cases import CasesError, read_cases

    config = _configured(options, "orders")
    try:
        cases = read_cases(options.file)
    except CasesError as error:
        print(error, file=sys.stderr)
        return 1
    if options.check:
        print(f"{options.file}: good; nothing was written")
        return 0
    return _tool(tools.import_orders(config, cases))


def _incidents_list(options: argparse.Namespace) -> int:
    from afstand import tools

    return _tool(tools.list_incidents(_configured(options, "incidents")))


def _incident_command(options: argparse.Namespace) -> int:
    from afstand import tools

    return _tool(tools.incident_command(_configured(options, "incidents"), options))


def _explain(options: argparse.Namespace) -> int:
    from afstand import tools

    return _tool(tools.explain(_configured(options, "explain"), options))


def _tool(work: Coroutine[Any, Any, int]) -> int:
    from ingest.store import StoreUnavailableError

    try:
        return asyncio.run(work)
    except StoreUnavailableError as error:
        print(f"the store does not answer: {error}", file=sys.stderr)
        return 1


def _check_config(options: argparse.Namespace) -> int:
    config = load(options.file)
    problems = []
    for check in (config.master_key, config.notify_settings, config.store_url):
        try:
            check()
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    print(f"{options.file}: good; {len(config.targets)} targets, partitions {config.partitions}")
    return 0


def _warm_up(_: argparse.Namespace) -> int:
    from geofence.warming import warm_up

    started = time.perf_counter()
    warm_up()
    print(f"kernels ready in {time.perf_counter() - started:.1f} s", file=sys.stderr)
    return 0
