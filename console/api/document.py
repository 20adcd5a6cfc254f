"""`python -m console.api.document`: writes docs/console-rights.md from the routes and the roles."""

import sys
from pathlib import Path
from typing import Final

from alerting.book.roles import RIGHTS, Right, Role
from console.api.app import ROUTES
from console.api.http import Route

FILE: Final = Path(__file__).resolve().parent.parent.parent / "docs" / "console-rights.md"
_HEAD: Final = """\
# Who may see and do what in the console

Generated from `alerting/book/roles.py` and the routes of `console/api/` by
`python -m console.api.document`; do not edit by hand. A test asks every route as every role.
"""


def allowed(route: Route, role: Role | None) -> bool:
    """Whether a role may use a route; None: nobody is signed in."""
    if route.rights is None:
        return True
    if role is None:
        return False
    return not route.rights or bool(RIGHTS[role].intersection(route.rights))


def markdown() -> str:
    """The whole document."""
    roles = list(Role)
    lines = [_HEAD, "## Rights of each role", "", _row(["right", *roles]), _rule(len(roles) + 1)]
    for right in Right:
        marks = ["yes" if right in RIGHTS[role] else "" for role in roles]
        lines.append(_row([f"`{right}`", *marks]))
    lines += ["", "## Routes", "", _row(["route", *roles, "left out without further rights"])]
    lines.append(_rule(len(roles) + 2))
    for route in sorted(ROUTES, key=lambda one: (one.path, one.method)):
        marks = ["yes" if allowed(route, role) else "" for role in roles]
        lines.append(_row([f"`{route.method} {route.path}`", *marks, route.masks]))
    lines += [
        "",
        "Without signing in: "
        + ", ".join(f"`{r.method} {r.path}`" for r in ROUTES if r.rights is None)
        + ", the page itself and `/v1/openapi.json`.",
        "",
    ]
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _rule(count: int) -> str:
    return "|" + " --- |" * count


def main() -> int:
    """Write the file."""
    FILE.write_text(markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
