"""Signing in, sessions and their end, and how often somebody may ask.

Time comes in as an argument. A session that nobody uses is locked: the screen hides what it showed,
the count of alarms goes on, and the password opens it again. After a shift and a half it ends.
"""

from collections import OrderedDict
from enum import StrEnum
from typing import Final, NamedTuple

from afstand.limits import (
    CONSOLE_ATTEMPTS_MAX,
    CONSOLE_ATTEMPTS_REMEMBERED_MAX,
    CONSOLE_ATTEMPTS_WINDOW_S,
    CONSOLE_REQUESTS_BURST,
    CONSOLE_REQUESTS_PER_S,
    CONSOLE_SESSION_H_MAX,
    CONSOLE_SESSION_IDLE_MIN,
    CONSOLE_SESSIONS_MAX,
)
from alerting.book.roles import ON_DUTY, Role
from console.access.passwords import Passwords, Sealer, totp_step
from console.access.store import AccessStore, Session, token_hash

_KEEP_EVERY_MS: Final = 60_000
"""Activity is written to disk at most this often, by `keep_due`."""


class SignInFault(StrEnum):
    """Why nobody was signed in. One word for every wrong part: it must not say which one it was."""

    WRONG = "wrong-name-password-or-code"
    TOO_MANY = "too-many-attempts"
    FULL = "too-many-sessions"


class SignedIn(NamedTuple):
    """A new session and the token for the browser."""

    token: str
    session: Session


class Buckets:
    """Token buckets by key, the least used forgotten first."""

    def __init__(self, per_s: float, burst: float, keys_max: int) -> None:
        self._per_s, self._burst, self._keys_max = per_s, burst, keys_max
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def take(self, key: str, now_ms: int) -> float:
        """Take one. Gives 0 when there was one, else the seconds until there is."""
        left, at_ms = self._buckets.pop(key, (self._burst, now_ms))
        left = min(self._burst, left + max(0, now_ms - at_ms) / 1000 * self._per_s)
        taken = left >= 1
        self._buckets[key] = (left - 1 if taken else left, now_ms)
        while len(self._buckets) > self._keys_max:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - left) / self._per_s


class Gate:
    """Who is signed in. Keeps the sessions in memory beside the file, so that asking is cheap."""

    def __init__(self, store: AccessStore, passwords: Passwords, sealer: Sealer) -> None:
        self._store = store
        self._passwords = passwords
        self._sealer = sealer
        self._sessions = {session.token: session for session in store.sessions()}
        self._kept_ms = {token: one.active_ms for token, one in self._sessions.items()}
        self._due: dict[bytes, Session] = {}
        per_s = CONSOLE_ATTEMPTS_MAX / CONSOLE_ATTEMPTS_WINDOW_S
        self._attempts = Buckets(per_s, CONSOLE_ATTEMPTS_MAX, CONSOLE_ATTEMPTS_REMEMBERED_MAX)
        self._requests = Buckets(
            CONSOLE_REQUESTS_PER_S, CONSOLE_REQUESTS_BURST, CONSOLE_SESSIONS_MAX
        )

    def may_attempt(self, name: str, address: str, now_ms: int) -> float:
        """Seconds to wait before another attempt with this name or from this address; 0: now."""
        by_name = self._attempts.take(f"name {name}", now_ms)
        by_address = self._attempts.take(f"from {address}", now_ms)
        return max(by_name, by_address)

    def may_request(self, key: str, now_ms: int) -> float:
        """Seconds to wait before another request; 0: now."""
        return self._requests.take(key, now_ms)

    def check(self, name: str, password: str, code: str, now_ms: int) -> Role | None:
        """The role of whoever knows all three; takes the time of argon2. A code counts once."""
        account = self._store.account(name)
        good = self._passwords.matches(account.password if account else None, password)
        if account is None or account.disabled or not good:
            return None
        secret = self._sealer.open(name, account.totp)
        step = totp_step(secret, code, now_ms // 1000, account.totp_step)
        if step is None or not self._store.use_code(name, step):
            return None
        return account.role

    def knows_password(self, name: str, password: str) -> bool:
        """Whether this is the password of the account; to open a locked screen."""
        account = self._store.account(name)
        return self._passwords.matches(
            account.password if account and not account.disabled else None, password
        )

    def open(self, name: str, role: Role, source: str, now_ms: int) -> SignedIn | SignInFault:
        """Open a session for somebody who was checked."""
        self._end_old(now_ms)
        if len(self._sessions) >= CONSOLE_SESSIONS_MAX:
            return SignInFault.FULL
        token, session = self._store.open_session(name, role, source, now_ms)
        self._sessions[session.token] = session
        self._kept_ms[session.token] = now_ms
        return SignedIn(token, session)

    def session(self, token: str, now_ms: int, *, active: bool) -> Session | None:
        """The session of a token. `active`: a person asks, not the page by itself."""
        return self.session_by_hash(token_hash(token), now_ms, active=active)

    def session_by_hash(self, token: bytes, now_ms: int, *, active: bool = False) -> Session | None:
        """As `session`, by what is kept of the token."""
        found = self._sessions.get(token)
        if found is None:
            return None
        if now_ms - found.created_ms > CONSOLE_SESSION_H_MAX * 3_600_000:
            self.end(found)
            return None
        if not found.locked and now_ms - found.active_ms > CONSOLE_SESSION_IDLE_MIN * 60_000:
            found.locked = True
            self._due[found.token] = found
        if active and not found.locked:
            found.active_ms = now_ms
        if now_ms - self._kept_ms.get(found.token, 0) > _KEEP_EVERY_MS:
            self._kept_ms[found.token] = now_ms
            self._due[found.token] = found
        return found

    def keep_due(self) -> None:
        """Write what was only noted so far. Waits for the disk: not to be called on a loop.

        A session that the file no longer has was ended elsewhere, as all of an account that is
        disabled; it ends here too.
        """
        while self._due:
            _, session = self._due.popitem()
            self._store.keep_session(session)
        before = list(self._sessions.values())  # one that is opened meanwhile is in neither
        there = self._store.tokens()
        for session in before:
            if session.token not in there:
                self._forget(session)

    def lock(self, session: Session) -> None:
        """Lock: nothing is shown until the password is said again."""
        session.locked = True
        self._keep(session, session.active_ms)

    def unlock(self, session: Session, now_ms: int) -> None:
        """Open again."""
        session.locked = False
        session.active_ms = now_ms
        self._keep(session, now_ms)

    def end(self, session: Session) -> None:
        """Sign out."""
        self._forget(session)
        self._store.end_session(session.token)

    def _forget(self, session: Session) -> None:
        self._sessions.pop(session.token, None)
        self._kept_ms.pop(session.token, None)

    def on_duty(self, now_ms: int) -> list[str]:
        """Who shares the alarm load now: names of operators and shift leads, each once."""
        self._end_old(now_ms)
        names = {s.name: None for s in self._sessions.values() if s.role in ON_DUTY}
        return sorted(names)

    def _end_old(self, now_ms: int) -> None:
        oldest_ms = now_ms - CONSOLE_SESSION_H_MAX * 3_600_000
        for session in [s for s in self._sessions.values() if s.created_ms < oldest_ms]:
            self.end(session)

    def _keep(self, session: Session, now_ms: int) -> None:
        """Write what is known of a session; one that the file no longer has was ended elsewhere."""
        self._kept_ms[session.token] = now_ms
        if not self._store.keep_session(session):
            self.end(session)
