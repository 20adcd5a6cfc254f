"""The roles that the command line knows, and where each is configured."""

import argparse
import inspect

from afstand.cli import _parser

NOT_OF_A_SITE = {"simulate", "servers"}  # to try things out
SECTIONS = {"archiver": "archive", "auditor": "audit"}  # of the configuration; others have theirs


def command_roles() -> list[str]:
    """Whatever `afstand` runs until it is told to stop."""
    (commands,) = [one for one in _parser()._actions if isinstance(one, argparse._SubParsersAction)]
    actions = {name: one.get_default("action") for name, one in commands.choices.items()}
    found = [
        name for name, one in actions.items() if one and "_run_role(" in inspect.getsource(one)
    ]
    return sorted(set(found) - NOT_OF_A_SITE)
