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

    text = "give a whole case to another agency, or take one, with a verified round trip"
    transfer = commands.add_parser("transfer", help=text, description=text)
    kinds = transfer.add_subparsers(title="commands", metavar="COMMAND", required=True)
    given = kinds.add_parser("export", help="write the document of a case")
    given.set_defaults(action=_runs("afstand.proof.commands", "export_case_file"))
    given.add_argument("case")
    given.add_argument("--out", type=Path, required=True, help="a file that is not there yet")
    given.add_argument("--by", required=True, help="who makes it")
    given.add_argument("--reason", required=True, help="why; it is logged")
    given.add_argument("--config", type=Path)
    taken = kinds.add_parser("import", help="take a document into an archive partition of its own")
    taken.set_defaults(action=_runs("afstand.proof.commands", "import_case_file"))
    taken.add_argument("file", type=Path)
    taken.add_argument("--partition", required=True, help="the name of the new partition")
    taken.add_argument("--config", type=Path)

    keys = commands.add_parser("evidence-key", help="make a key that bundles are signed with")
    keys.set_defaults(action=_make_key)
    keys.add_argument("file", type=Path)

    _add_erasure(commands)
    _add_case_commands(commands)
    text = "who looked at whose data, when and why"
    looked = commands.add_parser("consultations", help=text, description=text)
    looked.set_defaults(action=_runs("afstand.proof.commands", "list_consultations"))
    looked.add_argument("--config", type=Path)
    looked.add_argument("--person", default="", help="data of this person")
    looked.add_argument("--by", default="", help="by this user")
    looked.add_argument(
        "--logboek", action="store_true", help="the person's lines in the Logboek, as JSON"
    )


def _add_erasure(commands: Any) -> None:
    text = "what is kept how long: legal hold, erasure of cases, its proof"
    erasure = commands.add_parser("erasure", help=text, description=text)
    kinds = erasure.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run = kinds.add_parser("run", help="show what is due; with --apply erase it")
    run.set_defaults(action=_runs("afstand.erasure.commands", "run_erasure"))
    run.add_argument("--apply", action="store_true", help="destroy the keys; there is no way back")
    run.add_argument("--case", help="this case, before its term")
    run.add_argument("--category", choices=("positions", "records"), default="positions")
    held = kinds.add_parser("hold", help="set a legal hold: nothing of the case is erased")
    held.set_defaults(action=_runs("afstand.erasure.commands", "set_hold"), lift=False)
    lifted = kinds.add_parser("lift", help="lift the legal hold of a case")
    lifted.set_defaults(action=_runs("afstand.erasure.commands", "set_hold"), lift=True)
    for one in (held, lifted):
        one.add_argument("case")
    for one in (run, held, lifted):
        needed = one is not run
        one.add_argument("--by", required=needed, default="", help="who does it")
        one.add_argument("--authority", required=needed, default="", help="by whose order")
        one.add_argument("--reason", required=needed, default="", help="why")
    proofs = kinds.add_parser("proof", help="print proofs of erasure, and check them")
    proofs.set_defaults(action=_runs("afstand.erasure.commands", "show_proofs"))
    proofs.add_argument("case", nargs="?")
    proofs.add_argument("--public-key", default="", help="they must be signed with this one")
    for one in (run, held, lifted, proofs):
        one.add_argument("--config", type=Path, help="the configuration, a TOML file")


def _add_case_commands(commands: Any) -> None:
    text = "what people do about a case: screening, review, logbook, check-in, activation"
    case = commands.add_parser("case", help=text, description=text)
    kinds = case.add_subparsers(title="commands", metavar="COMMAND", required=True)
    text = "the case for a case conference, as a role may see it"
    summary = kinds.add_parser("summary", help=text, description=text)
    summary.set_defaults(action=_runs("afstand.proof.case_commands", "case_summary"))
    summary.add_argument("--view", choices=_VIEWS, required=True, help="for whom")
    summary.add_argument("--reason", required=True, help="why; it is logged")
    text = "what happened with my alarm: for the protected person, in plain words"
    told = kinds.add_parser("feedback", help=text, description=text)
    told.set_defaults(action=_runs("afstand.proof.case_commands", "case_feedback"))
    told.add_argument("incident", metavar="INCIDENT")
    told.add_argument("--language", choices=("nl", "en"), help="default: notify.language")
    said = [summary, told]
    for name, (text, value) in QUESTIONS.items():
        command = kinds.add_parser(name, help=text, description=text)
        command.set_defaults(action=_runs("afstand.proof.case_commands", "case_command"), what=name)
        command.add_argument("value", metavar=value)
        command.add_argument("--note", default="", help="in words")
        said.append(command)
        match name:
            case "log":
                command.add_argument("--happened", type=_moment_ms, help="when; default: now")
                command.add_argument("--file-name", default="")
                command.add_argument("--file-sha256", default="", help="of a picture she keeps")
            case "check-in":
                command.add_argument("--not-well", action="store_true", help="asks to be called")
            case "activate":
                command.add_argument("--not-urgent", action="store_true")
            case "activation-step":
                command.add_argument("--step", required=True, help="handed-over or instructed")
            case "tell-cause":
                command.add_argument("--cause", required=True, help="see docs/case.md")
            case _:
                pass
    for command in said:
        command.add_argument("--case", required=True)
        command.add_argument("--by", required=True, help="who says it")
        command.add_argument("--config", type=Path, help="the configuration, a TOML file")


QUESTIONS = {
    "screen": ("the outcome of a risk screening", "low|moderate|high"),
    "review": ("what the case conference decided", "keep|tighten|scale-down|end"),
    "log": ("put the words of the protected person on the timeline", "PERSON"),
    "check-in": ("the protected person was heard", "PERSON"),
    "check-in-every": ("how often the protected person is heard; 0: no more", "HOURS"),
    "activate": ("make a button live, with a checklist", "DEVICE"),
    "activation-step": ("a step of that was done", "DEVICE"),
    "tell-cause": ("explain to the protected person why there was an alarm", "INCIDENT"),
}
"""What can be said of a case: a text, and the name of what it is about."""


def _moment_ms(text: str) -> int:
    from afstand.evidence import moment  # noqa: PLC0415 - reads the store's ids, needed here alone

    return moment(text).ms


def _add_case(
    command: argparse.ArgumentParser, add_range: Callable[[argparse.ArgumentParser], None]
) -> None:
    command.add_argument("case")
    command.add_argument("--config", type=Path, help="the configuration, a TOML file")
    add_range(command)
    command.add_argument("--partition", help="of a case that moved: what was there")
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
