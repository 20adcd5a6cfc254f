"""The command line of the evidence; what each command needs is loaded when it runs."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

_VIEWS = ("court", "wearer-side", "operator", "shift-lead", "supervisor", "police", "prosecutor",
          "victim-support", "auditor")  # fmt: skip


def add_proof_commands(commands: Any, add_range: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add `replay`, `bundle`, `evidence-key` and `consultations`."""
    text = "compute the alarms of a case again, and compare them bit for bit"
    replays = commands.add_parser("replay", help=text, description=text)
    replays.set_defaults(action=_runs("afstand.proof.commands", "replay_case"))
    _add_case(replays, add_range)
    replays.add_argument(
        "--what-if", type=Path, metavar="ORDERS", help="try other orders and zones instead"
    )
    replays.add_argument("--json", action="store_true", help="for machines")

    text = "write a signed folder of evidence that anybody can check"
    bundles = commands.add_parser("bundle", help=text, description=text)
    bundles.set_defaults(action=_runs("afstand.proof.commands", "bundle_case"))
    _add_case(bundles, add_range)
    bundles.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    bundles.add_argument("--view", choices=_VIEWS, default="court", help="for whom")
    bundles.add_argument("--by", required=True, help="who makes it")
    bundles.add_argument("--reason", required=True, help="why; it is logged")
    bundles.add_argument("--language", choices=("nl", "en"), help="default: notify.language")

    keys = commands.add_parser("evidence-key", help="make a key that bundles are signed with")
    keys.set_defaults(action=_make_key)
    keys.add_argument("file", type=Path)

    text = "who looked at whose data, when and why"
    looked = commands.add_parser("consultations", help=text, description=text)
    looked.set_defaults(action=_runs("afstand.proof.commands", "list_consultations"))
    looked.add_argument("--config", type=Path)
    looked.add_argument("--person", default="", help="data of this person")
    looked.add_argument("--by", default="", help="by this user")


def _add_case(
    command: argparse.ArgumentParser, add_range: Callable[[argparse.ArgumentParser], None]
) -> None:
    command.add_argument("case")
    command.add_argument("--config", type=Path, help="the configuration, a TOML file")
    add_range(command)
    command.add_argument(
        "--from-beginning", action="store_true", help="believe no snapshot; takes longer"
    )


def _runs(module: str, work: str) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        from afstand.cli import run_tool  # noqa: PLC0415 - the command line imports this module

        return run_tool(options, module, work)

    return run


def _make_key(options: argparse.Namespace) -> int:
    from afstand.proof.commands import write_key  # noqa: PLC0415 - loads what signs

    return write_key(options.file)
