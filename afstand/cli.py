"""The command `afstand`: one subcommand per role, and the tools around them.

Exit codes: 0 done, 1 could not be done (the reason is on standard error), 2 wrong usage.
"""

import argparse
import asyncio
import importlib
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from afstand import __version__, logs
from afstand.config import Config, ConfigError, load
from afstand.proof.arguments import add_proof_commands


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
    watch.add_argument("--shadow", metavar="NAME", help="write nothing, compare with the watches")
    watch.add_argument(
        "--refold", action="store_true", help="fold anew when the snapshots are of other rules"
    )
    add_configured("notify", "deliver what the watches decided", _notify)
    add_configured("archiver", "move old entries of the store into the archive", _archiver)
    add_configured("auditor", "check that everything runs, and ping a heartbeat", _auditor)

    verify = add_configured("verify", "find what is not as it was written", _verify)
    verify.add_argument("--partition", help="this one alone")
    _add_range(verify)
    add_proof_commands(commands, _add_range)
    _add_reader_commands(commands)
    _add_partition_commands(commands)
    add_configured("trackers", "carry packets of Teltonika trackers to the broker", _trackers)

    add_configured("console", "the operators' console: API, live page, replay", _console)
    accounts = commands.add_parser("accounts", help="local accounts of the console")
    _add_account_commands(accounts)

    simulate = add_configured("simulate", "simulated devices against the broker", _simulate)
    simulate.add_argument("scenario", type=Path, help="a scenario file")
    simulate.add_argument("--for", dest="for_s", type=float, help="end after SECONDS")
    simulate.add_argument("--register", action="store_true", help="import its cases first")

    _add_conform(add_configured("conform", "test whether a device keeps the contract", _conform))

    _add_load(add_configured("load", "valid frames of many devices against any broker", _load))

    orders = commands.add_parser("orders", help="persons, devices, zones, orders and plans")
    orders_commands = orders.add_subparsers(title="commands", metavar="COMMAND", required=True)
    imports = orders_commands.add_parser("import", help="check a cases document and put it in")
    imports.set_defaults(action=_orders_import)
    imports.add_argument("file", type=Path)
    imports.add_argument("--config", type=Path)
    imports.add_argument("--check", action="store_true", help="check only, write nothing")

    _add_plan_commands(commands)
    _add_device_commands(commands.add_parser("devices", help="which there are, and new keys"))

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
    explained.add_argument("--by", default="", help="who looks; asked for with --positions")
    explained.add_argument("--reason", default="", help="why; it is logged, with --positions")

    _add_checks(add, add_configured)
    return parser


def _add_checks(add: Callable[..., Any], add_configured: Callable[..., Any]) -> None:
    doctor = add_configured("doctor", "look at all it stands on, and say what to do", _doctor)
    doctor.add_argument("--json", action="store_true", help="for machines")
    trace = add_configured("trace", "send traces of alarms to an OpenTelemetry collector", _trace)
    trace.add_argument("--otlp", metavar="URL", help="where to (OTEL_EXPORTER_OTLP_ENDPOINT)")
    trace.add_argument("--print", action="store_true", help="print them as JSON lines instead")
    servers = add("servers", "a store and a broker on this machine, to try things out", _servers)
    servers.add_argument("--dir", type=Path, default=Path("servers"), help="their files (servers)")
    servers.add_argument("--store-port", type=int, default=6379, help="(6379)")
    servers.add_argument("--broker-port", type=int, default=1883, help="(1883)")
    servers.add_argument("--broker", choices=("mosquitto", "nats"), default="", help="which broker")
    check = add("check-config", "read a configuration and say what is wrong with it", _check_config)
    check.add_argument("file", type=Path)
    add("warm-up", "compile all kernels and keep them", _warm_up)


def _add_plan_commands(commands: Any) -> None:
    plans = commands.add_parser("plans", help="escalation plans and duty rosters")
    plans_commands = plans.add_subparsers(title="commands", metavar="COMMAND", required=True)
    checks = plans_commands.add_parser(
        "check", help="what is wrong with them, and who is told when if nobody answers"
    )
    checks.set_defaults(action=_plans_check)
    checks.add_argument("files", type=Path, nargs="+", help="plans, rosters or cases documents")
    checks.add_argument("--config", type=Path, help="whose targets must exist")
    checks.add_argument("--class", dest="alarm_class", help="only this class of alarm")
    checks.add_argument("--at", help="when it happens, in Dutch time: 2026-03-29T02:30")
    checks.add_argument("--json", action="store_true", help="as JSON")


def _add_conform(command: argparse.ArgumentParser) -> None:
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--device", help="the device to test")
    what.add_argument("--judge", type=Path, metavar="FILE", help="judge a recorded test again")
    what.add_argument("--owntracks", type=Path, metavar="FILE", help="judge messages of a phone")
    command.add_argument("--key-file", type=Path, help="the device's key, 32 hexadecimal digits")
    command.add_argument("--broker", metavar="HOST:PORT", help="instead of the configuration's")
    command.add_argument("--mqtt", choices=("5", "3.1.1"), default="5")
    hands = command.add_mutually_exclusive_group()
    hands.add_argument("--rig", metavar="HOST:PORT", help="who restarts it, presses its button ...")
    hands.add_argument("--by-hand", action="store_true", help="ask a person to")
    hands.add_argument(
        "--program", type=Path, help="a firmware compiled for this machine, in lockstep, no broker"
    )
    command.add_argument(
        "--memory", type=int, default=0, metavar="FRAMES", help="fill a memory of so many frames"
    )
    command.add_argument(
        "--patience", type=float, default=1.0, metavar="FACTOR", help="wait so many times as long"
    )
    command.add_argument("--record", type=Path, metavar="FILE", help="keep the whole test")
    command.add_argument("--json", action="store_true", help="verdicts as JSON")


def _add_range(command: argparse.ArgumentParser) -> None:
    from afstand.evidence import moment

    text = "an entry id or a time, such as 2026-11-21T22:00"
    command.add_argument("--from", dest="since", type=moment, help=f"from here on: {text}")
    command.add_argument("--to", dest="until", type=moment, help=f"up to here: {text}")


def _add_reader_commands(commands: Any) -> None:
    readers = commands.add_parser("readers", help="who still needs entries of the store")
    kinds = readers.add_subparsers(title="commands", metavar="COMMAND", required=True)
    shown = kinds.add_parser("list", help="all readers and how far each is")
    shown.set_defaults(action=_readers_list)
    shown.add_argument("--config", type=Path)
    forget = kinds.add_parser("forget", help="keep nothing for a reader that is gone for good")
    forget.set_defaults(action=_readers_forget)
    forget.add_argument("name")
    forget.add_argument("--config", type=Path)


def _add_partition_commands(commands: Any) -> None:
    partitions = commands.add_parser("partitions", help="how many are where, and moves")
    kinds = partitions.add_subparsers(title="commands", metavar="COMMAND", required=True)
    shown = kinds.add_parser("list", help="all partitions and their devices")
    moved = kinds.add_parser("move", help="let a person, and all who are tied to them, move")
    moved.add_argument("person")
    moved.add_argument("--to", required=True, metavar="PARTITION")
    moved.add_argument("--by", required=True, metavar="NAME", help="who does it")
    for parser, what in ((shown, "list"), (moved, "move")):
        parser.set_defaults(action=_partitions, what=what)
        parser.add_argument("--config", type=Path)


def _add_load(command: argparse.ArgumentParser) -> None:
    command.add_argument("--scenario", type=Path, help="a file; the options below replace parts")
    command.add_argument("--devices", type=int, help="how many (1000)")
    command.add_argument("--interval", type=float, help="seconds between frames of one (10)")
    command.add_argument("--for", dest="for_s", type=float, help="seconds (60)")
    command.add_argument("--panics", type=float, metavar="PER_S", help="button presses per second")
    command.add_argument("--fixes-per-frame", type=int, help="1 to 64 (1)")
    command.add_argument("--connections", type=int, help="(one per device, up to 1000)")
    command.add_argument("--window", type=int, help="unacknowledged messages per connection")
    command.add_argument("--seed", type=int, help="other places, other keys (0)")
    command.add_argument("--prefix", help="of the device ids (load)")
    command.add_argument("--broker", metavar="HOST:PORT", help="(127.0.0.1:1883)")
    command.add_argument("--mqtt", choices=("5", "3.1.1"))
    command.add_argument("--cases", type=Path, metavar="FILE", help="write who they are, and end")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    command.add_argument("--plot", type=Path, metavar="FILE", help="draw rate and latency")
    command.add_argument("--quiet", action="store_true", help="no progress")


def _add_device_commands(devices: argparse.ArgumentParser) -> None:
    commands = devices.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, text in (
        ("list", "all devices of the registry"),
        ("rotate", "ask a device for its next key, and wait until it has it"),
        ("provision", "first contact: its profile, then a key that no file holds"),
    ):
        command = commands.add_parser(name, help=text)
        command.set_defaults(action=_devices, what=name)
        command.add_argument("--config", type=Path)
        if name == "list":
            continue
        command.add_argument("device")
        command.add_argument("--wait", type=float, default=60.0, help="seconds (60)")
        if name == "provision":
            command.add_argument("--moving", type=int, default=60, help="s between fixes (60)")
            command.add_argument("--rest", type=int, default=3600, help="s at rest (3600)")


def _add_incident_commands(incidents: argparse.ArgumentParser) -> None:
    commands = incidents.add_subparsers(title="commands", metavar="COMMAND", required=True)
    shown = commands.add_parser("list", help="open incidents")
    shown.set_defaults(action=_incidents_list)
    shown.add_argument("--config", type=Path)
    for name, text in (
        ("acknowledge", "take it in hand"),
        ("dispose", "close it with a reason; what is critical is proposed"),
        ("countersign", "agree, as a second person, with the closing that was proposed"),
    ):
        command = commands.add_parser(name, help=text)
        command.set_defaults(action=_incident_command, what=name)
        command.add_argument("incident")
        command.add_argument("--config", type=Path)
        command.add_argument("--by", required=True, help="who does it")
        if name == "dispose":
            command.add_argument("--disposition", required=True)
            command.add_argument("--note", default="")
            command.add_argument("--despite-active", action="store_true")


def _add_account_commands(accounts: argparse.ArgumentParser) -> None:
    from alerting.book.roles import Role

    commands = accounts.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, text in (
        ("add", "make or replace one; the password is read from standard input"),
        ("list", "who may sign in"),
        ("disable", "let nobody in with it any more"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=_accounts, what=name)
        command.add_argument("--config", type=Path)
        if name != "list":
            command.add_argument("name")
        if name == "add":
            command.add_argument("--role", required=True, choices=[role.value for role in Role])


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
    refold = bool(options.refold)
    if options.shadow is not None:
        return _run_role(lambda stop: roles.shadow(config, options.shadow, stop, refold=refold))
    if options.replica is not None:
        return _run_role(lambda stop: roles.watch(config, options.replica, stop, refold=refold))
    return _run_role(lambda stop: roles.watch_replicas(config, options.config, stop))


def _notify(options: argparse.Namespace) -> int:
    from afstand import roles

    config = _configured(options, "notify")
    return _run_role(lambda stop: roles.notify(config, stop))


def _archiver(options: argparse.Namespace) -> int:
    from afstand import archiving

    config = _configured(options, "archiver")
    return _run_role(lambda stop: archiving.archiver(config, stop))


def _auditor(options: argparse.Namespace) -> int:
    from afstand import auditing

    config = _configured(options, "auditor")
    return _run_role(lambda stop: auditing.auditor(config, stop))


def _verify(options: argparse.Namespace) -> int:
    from afstand import evidence

    return _tool(evidence.verify(_configured(options, "verify"), options))


def _readers_list(options: argparse.Namespace) -> int:
    from afstand import evidence

    return _tool(evidence.list_readers(_configured(options, "readers")))


def _readers_forget(options: argparse.Namespace) -> int:
    from afstand import evidence

    return _tool(evidence.forget_reader(_configured(options, "readers"), options))


def _partitions(options: argparse.Namespace) -> int:
    from afstand import moving

    return _tool(moving.run(_configured(options, "partitions"), options))


def _trackers(options: argparse.Namespace) -> int:
    from afstand import roles

    config = _configured(options, "trackers")
    return _run_role(lambda stop: roles.trackers(config, stop))


def _console(options: argparse.Namespace) -> int:
    from afstand.console_role import console

    config = _configured(options, "console")
    return _run_role(lambda stop: console(config, stop))


def _accounts(options: argparse.Namespace) -> int:
    from afstand import console_role

    config = _configured(options, "accounts")
    if options.what == "list":
        return console_role.list_accounts(config)
    if options.what == "disable":
        return console_role.disable_account(config, options.name)
    return console_role.add_account(config, options.name, options.role)


def _simulate(options: argparse.Namespace) -> int:
    from afstand import simulation

    config = _configured(options, "simulate")
    return _run_role(
        lambda stop: simulation.simulate(
            config, options.scenario, stop, for_s=options.for_s, register=options.register
        )
    )


def _conform(options: argparse.Namespace) -> int:
    from afstand import conform_command, tools

    logs.configure(level="warning", role="conform")
    return conform_command.run(
        options, lambda: tools.device_access(load(options.config), options.device)
    )


def _demo(options: argparse.Namespace) -> int:
    from afstand import demo

    return demo.run(
        for_s=options.for_s,
        plain=options.plain,
        broker=options.broker,
        scenario_file=options.scenario,
    )


def _servers(options: argparse.Namespace) -> int:
    from afstand.embedded import EmbeddedError, broker, store

    async def wait(stop: asyncio.Event) -> None:
        await stop.wait()

    options.dir.mkdir(parents=True, exist_ok=True)
    try:
        with (
            store(options.dir, port=options.store_port) as at_store,
            broker(options.dir, prefer=options.broker, port=options.broker_port) as at_broker,
        ):
            print(f"store: {at_store.name} at 127.0.0.1:{at_store.port}")
            print(f"broker: {at_broker.name} at 127.0.0.1:{at_broker.port}", end="")
            print(f", MQTT {at_broker.mqtt_version}. Ctrl-C stops both.", flush=True)
            return _run_role(wait)
    except EmbeddedError as error:
        print(error, file=sys.stderr)
        return 1


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


def _plans_check(options: argparse.Namespace) -> int:
    from afstand import plan_check
    from alerting.book.calendar import parse_local

    if options.alarm_class is not None and options.alarm_class not in plan_check.CLASSES:
        print(f"--class must be one of {', '.join(plan_check.CLASSES)}", file=sys.stderr)
        return 2
    try:
        options.at_ms = None if options.at is None else parse_local(options.at)
    except ValueError as error:
        print(f"--at: {error}", file=sys.stderr)
        return 2
    targets = None if options.config is None else tuple(load(options.config).targets)
    return plan_check.check(options, targets)


def _load(options: argparse.Namespace) -> int:
    from afstand import load_command

    return load_command.run(options)


def _devices(options: argparse.Namespace) -> int:
    from afstand import devices

    return _tool(devices.run(_configured(options, "devices"), options))


def _incidents_list(options: argparse.Namespace) -> int:
    from afstand import tools

    return _tool(tools.list_incidents(_configured(options, "incidents")))


def _incident_command(options: argparse.Namespace) -> int:
    from afstand import tools

    return _tool(tools.incident_command(_configured(options, "incidents"), options))


def _explain(options: argparse.Namespace) -> int:
    from afstand import tools

    return _tool(tools.explain(_configured(options, "explain"), options))


def run_tool(options: argparse.Namespace, module: str, work: str) -> int:
    """Run a coroutine function of a module, with the configuration."""
    action = getattr(importlib.import_module(module), work)
    return _tool(action(_configured(options, work), options))


def _tool(work: Coroutine[Any, Any, int]) -> int:
    from ingest.archive.names import ArchiveError, GapError
    from ingest.store import StoreUnavailableError

    try:
        return asyncio.run(work)
    except (ArchiveError, GapError) as error:
        print(f"the past cannot be read whole: {error}", file=sys.stderr)
        return 1
    except StoreUnavailableError as error:
        print(f"the store does not answer: {error}", file=sys.stderr)
        return 1


def _doctor(options: argparse.Namespace) -> int:
    from afstand import doctor

    return asyncio.run(doctor.run(load(options.config), options))


def _trace(options: argparse.Namespace) -> int:
    from afstand import tracing

    return tracing.main(_configured(options, "trace"), options, _run_role)


def _check_config(options: argparse.Namespace) -> int:
    config = load(options.file)
    problems = []
    for check in config.secret_checks():
        try:
            check()
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    print(f"{options.file}: good; {len(config.targets)} targets, partitions {config.partitions}")
    return 0


def _warm_up(_: argparse.Namespace) -> int:
    from afstand.watch.warming import warm_up
    from ingest.bulk import warm_up as warm_up_intake

    started = time.perf_counter()
    warm_up()
    warm_up_intake()
    print(f"kernels ready in {time.perf_counter() - started:.1f} s", file=sys.stderr)
    return 0
