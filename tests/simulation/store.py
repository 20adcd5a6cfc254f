"""The simulated store: a Redis that writes to disk before it answers, and dies now and then.

`appendfsync always`, as shipped: the answers to what was read together go out when that is on disk.
What was not on disk when it died is gone, but for a beginning of it. Without room on disk it
refuses writes (MISCONF), or dies, as Redis does.
"""

import asyncio
import random
import re
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import redis.exceptions

from afstand.limits import STORE_TIMEOUT_S
from tests.simulation.loop import Process, SimulationLoop, settle
from tests.simulation.net import Net, Wire
from tests.simulation.redis_model import (
    WRITES,
    RedisModel,
    ReplyError,
    blocks_ms,
    text,
)

PORT: Final = 6379
NAME: Final = "store"
Args = tuple[Any, ...]
_KEY_AT: Final = {"XREAD": -2, "XREADGROUP": -2, "XINFO": 2, "XGROUP": 2, "EVAL": 3}
_OF_PARTITION: Final = re.compile(r"\{(p\d)\}")


class Request:
    """Commands that came in one write.

    `answer` takes their answers, an exception for an error; `fail` is called when none will come.
    """

    __slots__ = ("answer", "commands", "fail", "key")

    def __init__(
        self,
        commands: list[Args],
        answer: Callable[[list[Any]], None],
        fail: Callable[[], None] = lambda: None,
    ) -> None:
        self.commands = commands
        self.answer = answer
        self.fail = fail
        self.key = ""  # of the stream that it waits for


class SimulatedStore:
    """The server. `written` is called for every command that changed something, once durable."""

    def __init__(
        self, loop: SimulationLoop, draw: random.Random, start_ms: int,
        written: Callable[[Args], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._draw = draw
        self._start_ms = start_ms
        self._written = written
        self.offset_ms = 0  # of its clock
        self.up = True
        self.model = RedisModel()
        self.disk_full = ""  # "refuse" or "die"
        self.stall_s = 0.0  # what the disk takes beside the usual
        self.stopped = False
        self.away: set[str] = set()  # partitions whose node of the cluster is not there
        self._log: list[tuple[Args, int]] = []  # the append-only file: what is on disk
        self._unsynced: list[tuple[Args, int]] = []
        self._queue: deque[Request] = deque()
        self._doing: list[Request] = []
        self._blocked: list[Request] = []
        self._busy = False
        self._life = 0

    def now_ms(self) -> int:
        """What its clock says."""
        return self._start_ms + int(self._loop.time() * 1000) + self.offset_ms

    def put(self, *args: Any) -> Any:
        """Do a command before the run begins."""
        now_ms = self.now_ms()
        answer = self.model.run(args, now_ms)
        self._log.append((args, now_ms))
        return answer

    # --- life and death ---------------------------------------------------------------------------

    def die(self) -> None:
        """Kill -9, or the power goes: of what is not on disk a beginning may be."""
        self.up = False
        self._life += 1
        self._busy = False
        for request in (*self._queue, *self._doing, *self._blocked):
            request.fail()
        self._queue.clear()
        self._doing.clear()
        self._blocked.clear()
        kept = int(self._draw.random() * (len(self._unsynced) + 1))
        for command, now_ms in self._unsynced[:kept]:
            self._log.append((command, now_ms))
            self._written(command)
        self._unsynced.clear()

    def start(self) -> None:
        """Read the file again."""
        self.model = RedisModel()
        for args, now_ms in self._log:
            self.model.run(args, now_ms)
        self.up = True

    def halt(self) -> None:
        """SIGSTOP."""
        self.stopped = True

    def go_on(self) -> None:
        """SIGCONT."""
        self.stopped = False
        self._wake()

    # --- requests ---------------------------------------------------------------------------------

    def take(self, request: Request) -> None:
        """A request arrives."""
        if self.up:
            self._queue.append(request)
            self._wake()
        else:
            request.fail()

    def _wake(self) -> None:
        if not self._busy and self._queue and not self.stopped:
            self._busy = True
            self._loop.post(self._loop.world, 0.0, self._turn, self._life)

    def _turn(self, life: int) -> None:
        """Do what has arrived, bring it to disk, then answer."""
        if life != self._life:
            return
        if self.stopped:
            self._busy = False
            return
        self._doing = list(self._queue)
        self._queue.clear()
        answered: list[tuple[Request, list[Any]]] = []
        for request in self._doing:
            self._do(request, answered)
        if self._unsynced:
            fresh = {text(args[1]) for args, _ in self._unsynced}
            for request in tuple(self._blocked):
                if request.key in fresh:
                    self._do_blocked(request, answered)
            delay_s = 0.0001 + self._draw.expovariate(1.0) * 0.0005 + self.stall_s
            self._loop.post(self._loop.world, delay_s, self._synced, self._life, answered)
        else:
            self._synced(life, answered)

    def _do(self, request: Request, answered: list[tuple[Request, list[Any]]]) -> None:
        answers = [self._one(args) for args in request.commands]
        waits = len(answers) == 1 and answers[0] is None
        block_ms = blocks_ms(request.commands[0]) if waits else None
        if block_ms is not None:
            request.key = text(request.commands[0][-2])
            self._blocked.append(request)
            self._loop.post(self._loop.world, block_ms / 1000, self._give_up, self._life, request)
        else:
            answered.append((request, answers))

    def _do_blocked(self, request: Request, answered: list[tuple[Request, list[Any]]]) -> None:
        answer = self._one(request.commands[0])
        if answer is not None:
            self._blocked.remove(request)
            answered.append((request, [answer]))

    def _give_up(self, life: int, request: Request) -> None:
        if life == self._life and request in self._blocked and not self.stopped:
            self._blocked.remove(request)
            request.answer([None])

    def _one(self, args: Args) -> Any:
        now_ms = self.now_ms()
        if self.away and self._is_away(args):
            return redis.exceptions.ResponseError("CLUSTERDOWN Hash slot not served")
        name = text(args[0])
        writes = name in WRITES
        if writes and self.disk_full == "refuse":
            return redis.exceptions.ResponseError("MISCONF Errors writing to the AOF file")
        try:
            answer = self.model.run(args, now_ms)
        except ReplyError as error:
            return redis.exceptions.ResponseError(str(error))
        if writes and answer is not None:
            if name == "XADD":
                args = self._with_id(args, answer)
            self._unsynced.append((args, now_ms))
        return answer

    def _is_away(self, args: Args) -> bool:
        found = _OF_PARTITION.search(text(args[_KEY_AT.get(text(args[0]), 1)]))
        return found is not None and found[1] in self.away

    def _synced(self, life: int, answered: list[tuple[Request, list[Any]]]) -> None:
        if life != self._life:
            return
        if self._unsynced and self.disk_full == "die":
            self.die()
            return
        self._log += self._unsynced
        for command, _ in self._unsynced:
            self._written(command)
        self._unsynced.clear()
        self._doing.clear()
        for request, answers in answered:
            request.answer(answers)
        self._busy = False
        self._wake()

    @staticmethod
    def _with_id(args: Args, entry_id: bytes) -> Args:
        """An append as it stands in the file: under the id that it was given."""
        at = 5 if text(args[2]) == "MAXLEN" else 2
        return (*args[:at], entry_id, *args[at + 1 :])

    # --- bytes, as the intake's writer sends them -------------------------------------------------

    def opened(self, wire: Wire) -> None:
        wire.state = bytearray()

    def received(self, wire: Wire, data: bytes) -> None:
        wire.state += data
        commands = []
        while (found := _read_command(wire.state)) is not None:
            commands.append(found)

        def answer(answers: list[Any]) -> None:
            wire.to_client(b"".join(_encode(one) for one in answers))

        if commands:
            self.take(Request(commands, answer))

    def lost(self, wire: Wire) -> None:
        """Nothing of a client is kept."""


def _read_command(buffer: bytearray) -> Args | None:
    end = buffer.find(b"\r\n")
    if end < 0:
        return None
    assert buffer[:1] == b"*"
    count, at = int(buffer[1:end]), end + 2
    args: list[bytes] = []
    for _ in range(count):
        end = buffer.find(b"\r\n", at)
        if end < 0:
            return None
        size = int(buffer[at + 1 : end])
        at = end + 2 + size + 2
        if at > len(buffer):
            return None
        args.append(bytes(buffer[end + 2 : at - 2]))
    del buffer[:at]
    return tuple(args)


def _encode(answer: Any) -> bytes:
    if answer is None:
        return b"*-1\r\n"  # nothing came while a read waited
    if isinstance(answer, Exception):
        return b"-ERR %s\r\n" % str(answer).encode()
    if isinstance(answer, int):
        return b":%d\r\n" % answer
    if isinstance(answer, dict):
        answer = [one for pair in answer.items() for one in pair]
    if isinstance(answer, list | tuple):
        return b"*%d\r\n%s" % (len(answer), b"".join(map(_encode, answer)))
    return b"$%d\r\n%s\r\n" % (len(answer), answer)


class StoreClient:
    """What `ingest.store.Store` is to a process: its answers come late, or not at all."""

    def __init__(self, net: Net, process: Process, store: SimulatedStore) -> None:
        self._net = net
        self._process = process
        self._store = store

    async def execute_command(self, *args: Any) -> Any:
        """Do one command; raises what the client library raises."""
        (answer,) = await self._ask([args])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pipeline(self, transaction: bool = True) -> "_Pipeline":
        return _Pipeline(self)

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _ask(self, commands: list[Args]) -> list[Any]:
        net = self._net
        future: asyncio.Future[list[Any]] = net.loop.create_future()
        request = Request(
            commands,
            lambda answers: self._back(future, answers, None),
            lambda: self._back(future, None, redis.exceptions.ConnectionError("connection lost")),
        )
        net.message(self._process, NAME, self._store.take, request)
        late: list[Exception] = []

        def give_up() -> None:
            late.append(redis.exceptions.TimeoutError("timeout reading from the store"))
            settle(future, None, late[0])

        # `asyncio.timeout`, at a fifth of its cost: what is late is late, though the answer came
        # before the process was given time to see it.
        timer = net.loop.call_later(STORE_TIMEOUT_S, give_up)
        try:
            answers = await future
        finally:
            timer.cancel()
        if late:
            raise late[0]
        return answers

    def _back(
        self, future: asyncio.Future[list[Any]], answers: list[Any] | None, error: Any
    ) -> None:
        self._net.message(self._process, NAME, settle, future, answers, error, to_process=True)


class _Pipeline:
    def __init__(self, client: StoreClient) -> None:
        self._client = client
        self._commands: list[Args] = []

    def execute_command(self, *args: Any) -> None:
        self._commands.append(args)

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        return await self._client._ask(self._commands)
