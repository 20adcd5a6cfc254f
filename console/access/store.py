"""Accounts, sessions and the spool of look-ups, in one SQLite file of this console.

It is the console's own, beside the service's store: who was signed in stays so when the console is
killed and started again, or when the store is away. Tokens are kept as hashes only.
"""

import contextlib
import hashlib
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from alerting.book.roles import Role

STORE_FORMAT: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS format (version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS accounts (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    password TEXT NOT NULL,
    totp BLOB NOT NULL,
    totp_step INTEGER NOT NULL DEFAULT 0,
    disabled INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS sessions (
    token BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    source TEXT NOT NULL,
    csrf TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    active_ms INTEGER NOT NULL,
    locked INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS spool (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    said BLOB NOT NULL
) STRICT;
"""


class AccessStoreError(RuntimeError):
    """The file cannot be used; the message says why."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may sign in. `totp` is sealed."""

    name: str
    role: Role
    password: str
    totp: bytes
    totp_step: int = 0
    disabled: bool = False
    created_ms: int


class Session(msgspec.Struct, kw_only=True):
    """Somebody who is signed in. `token` is the hash of what the browser holds."""

    token: bytes
    name: str
    role: Role
    source: str
    csrf: str
    created_ms: int
    active_ms: int
    locked: bool = False


def token_hash(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


class AccessStore:
    """The file. Calls take milliseconds at most; each change is on disk when it returns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        path.touch(mode=0o600, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        found = self._db.execute("SELECT version FROM format").fetchone()
        if found is None:
            self._db.execute("INSERT INTO format VALUES (?)", (STORE_FORMAT,))
        elif found[0] != STORE_FORMAT:
            raise AccessStoreError(f"{path}: format {found[0]}, this program has {STORE_FORMAT}")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # --- accounts -----------------------------------------------------------------------------

    def put_account(self, account: Account) -> None:
        """Write an account, new or changed; its sessions end when it changed."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    account.name,
                    account.role.value,
                    account.password,
                    account.totp,
                    account.totp_step,
                    int(account.disabled),
                    account.created_ms,
                ),
            )
            self._db.execute(
                "DELETE FROM sessions WHERE name = ? AND source = 'local'", (account.name,)
            )

    def account(self, name: str) -> Account | None:
        """The account of this name."""
        row = self._db.execute("SELECT * FROM accounts WHERE name = ?", (name,)).fetchone()
        return None if row is None else _account(row)

    def accounts(self) -> list[Account]:
        """All accounts, by name."""
        return [_account(row) for row in self._db.execute("SELECT * FROM accounts ORDER BY name")]

    def use_code(self, name: str, step: int) -> bool:
        """Note that the code of this step was used; False when one as new was used before."""
        changed = self._db.execute(
            "UPDATE accounts SET totp_step = ? WHERE name = ? AND totp_step < ?",
            (step, name, step),
        )
        return changed.rowcount == 1

    # --- sessions -----------------------------------------------------------------------------

    def open_session(self, name: str, role: Role, source: str, now_ms: int) -> tuple[str, Session]:
        """Open a session; gives the token for the browser."""
        token = secrets.token_urlsafe(32)
        session = Session(
            token=token_hash(token),
            name=name,
            role=role,
            source=source,
            csrf=secrets.token_urlsafe(24),
            created_ms=now_ms,
            active_ms=now_ms,
        )
        self._db.execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
            (
                session.token,
                name,
                role.value,
                source,
                session.csrf,
                now_ms,
                now_ms,
            ),
        )
        return token, session

    def sessions(self) -> list[Session]:
        """All sessions, open and locked."""
        return [_session(row) for row in self._db.execute("SELECT * FROM sessions")]

    def tokens(self) -> set[bytes]:
        """What is kept of the tokens of all sessions."""
        return {token for (token,) in self._db.execute("SELECT token FROM sessions")}

    def keep_session(self, session: Session) -> bool:
        """Write when a session was active last, and whether it is locked. False: it was ended."""
        changed = self._db.execute(
            "UPDATE sessions SET active_ms = ?, locked = ? WHERE token = ?",
            (session.active_ms, int(session.locked), session.token),
        )
        return changed.rowcount == 1

    def end_session(self, token: bytes) -> None:
        """End a session."""
        self._db.execute("DELETE FROM sessions WHERE token = ?", (token,))

    # --- the spool of look-ups ------------------------------------------------------------------

    def spool(self, said: bytes) -> None:
        """Keep a line of the log until the store takes it."""
        self._db.execute("INSERT INTO spool (said) VALUES (?)", (said,))

    def spooled(self, count: int) -> list[tuple[int, bytes]]:
        """The oldest lines that the store has not taken."""
        rows = self._db.execute("SELECT number, said FROM spool ORDER BY number LIMIT ?", (count,))
        return [(number, said) for number, said in rows]

    def unspool(self, number: int) -> None:
        """The store has this line."""
        self._db.execute("DELETE FROM spool WHERE number = ?", (number,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _account(row: tuple[str, str, str, bytes, int, int, int]) -> Account:
    return Account(
        name=row[0],
        role=Role(row[1]),
        password=row[2],
        totp=row[3],
        totp_step=row[4],
        disabled=bool(row[5]),
        created_ms=row[6],
    )


def _session(row: tuple[bytes, str, str, str, str, int, int, int]) -> Session:
    return Session(
        token=row[0],
        name=row[1],
        role=Role(row[2]),
        source=row[3],
        csrf=row[4],
        created_ms=row[5],
        active_ms=row[6],
        locked=bool(row[7]),
    )
