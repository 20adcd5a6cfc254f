"""A writer for the journal that costs little.

One connection, commands out in one write, answers in order (RESP 2).

The general client costs more per call than all checks of a batch. This does the one thing an intake
does every tick, and has the same outcomes as `Journal.append_many`. It knows one server; for a
cluster there is one of these per node (see `cluster_writer.py`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from afstand.limits import STORE_CONNECT_TIMEOUT_S, STORE_COPIES_MS, STORE_TIMEOUT_S
from ingest.journal import Append, xadd_command
from ingest.store import EntryId, StoreUnavailableError

Answer = bytes | int | None | StoreUnavailableError


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a store is. `path` is that of a unix socket."""

    host: str = ""
    port: int = 6379
    path: str = ""
    tls: bool = False
    database: int = 0
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"Address({self.path or f'{self.host}:{self.port}'})"  # never the password


def parse_address(url: str) -> Address:
    """Read `redis://`, `rediss://` or `unix://`.

    Raises ValueError (which never quotes the password).
    """
    parts = urlsplit(url)
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if parts.query or parts.fragment:
        raise ValueError("store address: options behind ? are not understood here")
    if parts.scheme == "unix":
        return Address(path=parts.path, username=user, password=password)
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
        raise ValueError(f"store address: {parts.scheme or 'nothing'}:// with no host")
    database = parts.path.strip("/")
    if database and not database.isdecimal():
        raise ValueError(f"store address: not a database number: {database!r}")
    return Address(
        host=parts.hostname,
        port=parts.port or 6379,
        tls=parts.scheme == "rediss",
        database=int(database or 0),
        username=user,
        password=password,
    )


def encode_commands(commands: Sequence[Sequence[Any]]) -> bytes:
    """Return commands as RESP arrays of bulk strings. Arguments are bytes, str or int."""
    out: list[bytes] = []
    for args in commands:
        out.append(b"*%d\r\n" % len(args))
        for arg in args:
            raw = arg if isinstance(arg, bytes) else str(arg).encode("utf-8")
            out += (b"$%d\r\n" % len(raw), raw, b"\r\n")
    return b"".join(out)


class RespReader:
    """Takes bytes as they come and gives whole answers.

    Simple and bulk strings as bytes, integers, errors as exceptions.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, raw: bytes) -> list[Answer]:
        """Return the answers that are complete now.

        Raises ValueError when what comes is not RESP, or an array.
        """
        self._buffer += raw
        buffer = self._buffer
        answers: list[Answer] = []
        at = 0
        while (end := buffer.find(b"\r\n", at)) >= 0:
            line = bytes(buffer[at + 1 : end])
            kind = buffer[at : at + 1]
            after = end + 2
            if kind == b"$":
                size = int(line)
                if size >= 0:
                    if len(buffer) < after + size + 2:
                        break
                    answers.append(bytes(buffer[after : after + size]))
                    after += size + 2
                else:
                    answers.append(None)
            elif kind == b"+":
                answers.append(line)
            elif kind == b":":
                answers.append(int(line))
            elif kind == b"-":
                answers.append(StoreUnavailableError(line.decode("utf-8", "replace")))
            else:
                raise ValueError(f"an answer of kind {bytes(kind)!r}")
            at = after
        del buffer[:at]
        return answers


class _Pipe(asyncio.Protocol):
    """The connection: answers go to who waits for them, in order."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._reader = RespReader()
        self._waiting: deque[tuple[int, asyncio.Future[list[Answer]]]] = deque()
        self._answers: list[Answer] = []

    @property
    def usable(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._answers += self._reader.feed(data)
        except ValueError as error:
            self.abort(f"not understood: {error}")
            return
        while self._waiting and len(self._answers) >= self._waiting[0][0]:
            count, future = self._waiting.popleft()
            answers, self._answers = self._answers[:count], self._answers[count:]
            if not future.done():
                future.set_result(answers)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._fail(f"connection lost: {type(exc).__name__ if exc else 'closed'}")

    def abort(self, why: str) -> None:
        if self.transport is not None:
            self.transport.abort()
        self._fail(why)

    def send(self, commands: Sequence[Sequence[Any]]) -> asyncio.Future[list[Answer]]:
        if self.transport is None:  # lost since it was looked at
            raise StoreUnavailableError("connection lost")
        future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append((len(commands), future))
        self.transport.write(encode_commands(commands))
        return future

    def _fail(self, why: str) -> None:
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(StoreUnavailableError(why))


class RespWriter:
    """Appends to journals over one connection, made when first needed and after each failure.

    With `copies`, what was written counts when so many replicas of the store have it too.
    """

    def __init__(
        self,
        address: Address,
        *,
        ca_file: str | None = None,
        timeout_s: float = STORE_TIMEOUT_S,
        copies: int = 0,
    ) -> None:
        self._copies = copies
        self._address = address
        self._ssl = ssl.create_default_context(cafile=ca_file) if address.tls else None
        self._timeout_s = timeout_s
        self._pipe: _Pipe | None = None
        self._connecting = asyncio.Lock()

    async def append_many(
        self, appends: Sequence[Append], also: Sequence[tuple[Any, ...]] = ()
    ) -> tuple[list[EntryId | StoreUnavailableError], list[Any]]:
        """See `Journal.append_many`."""
        commands = [*(xadd_command(append) for append in appends), *also]
        if not commands:
            return [], []
        if self._copies:
            commands.append(("WAIT", self._copies, STORE_COPIES_MS))
        answers = await self._run(commands)
        if self._copies:
            there = answers.pop()
            if isinstance(there, StoreUnavailableError):
                raise there
            if not isinstance(there, int) or there < self._copies:
                raise StoreUnavailableError(f"{there!r} replicas have it, not {self._copies}")
        entry_ids = [_entry_id(answer) for answer in answers[: len(appends)]]
        return entry_ids, answers[len(appends) :]

    async def aclose(self) -> None:
        """Close the connection."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.abort("closed")

    async def _run(self, commands: Sequence[Sequence[Any]]) -> list[Answer]:
        pipe = self._pipe
        if pipe is None or not pipe.usable:
            async with self._connecting:
                pipe = self._pipe
                if pipe is None or not pipe.usable:
                    pipe = self._pipe = await self._connect()
        return await self._answers(pipe, commands, self._timeout_s)

    async def _answers(
        self, pipe: _Pipe, commands: Sequence[Sequence[Any]], timeout_s: float
    ) -> list[Answer]:
        future = pipe.send(commands)
        timer = asyncio.get_running_loop().call_later(timeout_s, pipe.abort, "timeout")
        try:
            return await future
        finally:
            timer.cancel()

    async def _connect(self) -> _Pipe:
        loop = asyncio.get_running_loop()
        address = self._address
        try:
            async with asyncio.timeout(STORE_CONNECT_TIMEOUT_S):
                if address.path:
                    _, pipe = await loop.create_unix_connection(_Pipe, address.path)
                else:
                    _, pipe = await loop.create_connection(
                        _Pipe, address.host, address.port, ssl=self._ssl
                    )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            problem = f"connect: {type(error).__name__}: {error}"
            raise StoreUnavailableError(problem) from error
        hello: list[tuple[Any, ...]] = []
        if address.password is not None:
            user = (address.username,) if address.username else ()
            hello.append(("AUTH", *user, address.password))
        if address.database:
            hello.append(("SELECT", address.database))
        if hello:
            for answer in await self._answers(pipe, hello, STORE_CONNECT_TIMEOUT_S):
                if isinstance(answer, StoreUnavailableError):
                    pipe.abort("refused")
                    raise answer
        return pipe


def _entry_id(answer: Answer) -> EntryId | StoreUnavailableError:
    if isinstance(answer, StoreUnavailableError):
        return answer
    try:
        return EntryId.parse(answer if isinstance(answer, bytes) else b"")
    except ValueError:
        return StoreUnavailableError(f"XADD: answered {answer!r}")
