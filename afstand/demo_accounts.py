"""Who may sign in to the console of the demo: one password, and one second factor for all.

Only the demo does this: its data are played, and it ends with its folder.
"""

from typing import Final

import pyotp
from rich.panel import Panel

from afstand.console_role import make_account
from afstand.site import Site, in_environment
from alerting.book.roles import Role
from console.access.passwords import new_totp_secret

PASSWORD: Final = "afstand-demo"  # noqa: S105 - printed by the demo, which is all it opens
ACCOUNTS: Final = (
    ("operator", Role.OPERATOR),
    ("collega", Role.OPERATOR),
    ("leiding", Role.SHIFT_LEAD),
    ("toezicht", Role.SUPERVISOR),
    ("auditor", Role.AUDITOR),
)
_STEP_S: Final = 30


class DemoAccounts:
    """The accounts, made when this is made."""

    def __init__(self, site: Site) -> None:
        self._url = site.console_url
        self._secret = new_totp_secret()
        with in_environment(site.environ):
            for name, role in ACCOUNTS:
                make_account(site.config, name, role, PASSWORD, self._secret)

    def code(self, now_ms: int) -> str:
        """The present code of the second factor, for every account."""
        return pyotp.TOTP(self._secret).at(now_ms // 1000)

    def introduction(self) -> str:
        """Where to go and who to be, in words."""
        names = ", ".join(f"{name} ({role})" for name, role in ACCOUNTS)
        return (
            f"the console is at {self._url}\n"
            f"  names: {names}\n"
            f"  password: {PASSWORD}; the code is shown below and changes every {_STEP_S} s"
        )

    def panel(self, now_ms: int) -> Panel:
        """The same for the live view, with the code that counts now."""
        left_s = _STEP_S - now_ms // 1000 % _STEP_S
        code = self.code(now_ms)
        names = ", ".join(name for name, _ in ACCOUNTS)
        return Panel(
            f"[bold]{self._url}[/]   {names}   password [bold]{PASSWORD}[/]   "
            f"code [bold]{code[:3]} {code[3:]}[/] ({left_s} s)",
            title="Console: open it in a browser",
        )
