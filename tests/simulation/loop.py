"""An event loop without a clock, a thread or a socket.

Time is a number that jumps to the next timer when nothing else can run. Everything that runs
belongs to a `Process`; which process runs next is drawn, what one process does stays in its order,
as asyncio promises. So one seed gives one run, and a process can be killed or stopped between any
two steps: at every await.
"""

import asyncio
import contextlib
import contextvars
import itertools
import random
from asyncio import events
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

STEP_S = 5e-6  # what a step takes: whoever spins lets time pass, as on a real machine


class Process:
    """A process of the service, or a machine of the world around it. Dead, it never runs again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stopped = False  # SIGSTOP: it is there and does nothing
        self.steps = 0
        self.dies_at: int | None = None  # kill -9 before this step
        self.eye: Callable[[], None] | None = None  # looks at it after each of its steps
        self.offset_ms = 0  # how wrong the clock of its machine is
        self.ready: deque[Call] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        self.on_death: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return self.name


class Call:
    """What asyncio's handles are to whoever cancels them, without what only its debugging needs."""

    __slots__ = ("_when", "args", "callback", "context", "is_cancelled")

    def __init__(
        self, when: float, callback: Any, args: tuple[Any, ...], context: contextvars.Context
    ) -> None:
        self._when = when
        self.callback = callback
        self.args = args
        self.context = context
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self._when


class SimulationLoop(asyncio.AbstractEventLoop):
    """See the module. `connect` is set by the network."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._now_s = 0.0
        self._timers: list[tuple[float, int, Call, Process]] = []
        self._numbers = itertools.count()
        self._runnable: list[Process] = []
        self._closed = False
        self._context = contextvars.copy_context()  # of the world around the processes
        self.world = Process("world")
        self.current = self.world
        self.steps = 0
        self.faults: list[str] = []  # what nobody caught
        self.connect: Callable[..., Any] | None = None
        self.on_death: Callable[[Process], None] = lambda _: None
        self._graves: list[Process] = []

    # --- asyncio's side ---------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds since the beginning of the run."""
        return self._now_s

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        return self._closed

    def call_soon(  # type: ignore[override]  # the callbacks are asyncio's
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> "Call":
        call = Call(self._now_s, callback, args, context or contextvars.copy_context())
        self._put(self.current, call)
        return call

    def call_at(  # type: ignore[override]  # the callbacks are asyncio's
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> "Call":
        call = Call(when, callback, args, context or contextvars.copy_context())
        if not self._closed:
            heappush(self._timers, (when, next(self._numbers), call, self.current))
        return call

    def call_later(  # type: ignore[override]  # the callbacks are asyncio's
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> "Call":
        when = self._now_s + delay if delay > 0 else self._now_s
        return self.call_at(when, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> Any:
        task = asyncio.Task(coro, loop=self, name=name or "t", context=context)
        tasks = self.current.tasks
        tasks.append(task)
        if len(tasks) > 200:
            tasks[:] = [one for one in tasks if not one.done()]
        return task

    def run_in_executor(  # type: ignore[override]  # the functions are asyncio's
        self, executor: Any, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        """Do at once what a thread would do, and tell it a moment later."""
        future = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:  # noqa: BLE001 it is whoever awaits who is told
                future.set_exception(error)

        self.call_later(self._draw.random() * 0.02, work)
        return future

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None,
                                **options: Any) -> Any:  # fmt: skip
        assert self.connect is not None
        return await self.connect(self.current, protocol_factory, port)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        text = f"{self.current}: {context.get('message')}: {error!r}"
        if "was destroyed but it is pending" not in text:
            self.faults.append(text)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    # --- the world's side -------------------------------------------------------------------------

    def post(self, process: Process, delay_s: float, callback: Any, *args: Any) -> None:
        """Let a process do something after a while, unless it is dead by then."""
        if not self._closed:
            when = self._now_s + delay_s
            call = Call(when, callback, args, self._context)
            heappush(self._timers, (when, next(self._numbers), call, process))

    def spawn(self, process: Process, coro: Any) -> asyncio.Task[Any]:
        """Start a task that belongs to a process."""
        before, self.current = self.current, process
        try:
            context = contextvars.copy_context()
            task: asyncio.Task[Any] = self.create_task(coro, context=context)
            return task
        finally:
            self.current = before

    def tell(
        self,
        process: Process,
        future: asyncio.Future[Any],
        result: Any = None,
        error: BaseException | None = None,
    ) -> None:
        """Settle a future that a process waits for."""
        self.post(process, 0.0, settle, future, result, error)

    def kill(self, process: Process) -> None:
        """Kill -9: nothing of it runs any more, no `finally` either."""
        if not process.alive:
            return
        process.alive = False
        process.ready.clear()
        if process in self._runnable:
            self._runnable.remove(process)
        self._graves.append(process)
        for callback in process.on_death:
            callback()
        self.on_death(process)

    def stop_process(self, process: Process) -> None:
        """SIGSTOP."""
        process.stopped = True
        if process in self._runnable:
            self._runnable.remove(process)

    def go_on(self, process: Process) -> None:
        """SIGCONT."""
        process.stopped = False
        if process.alive and process.ready and process not in self._runnable:
            self._runnable.append(process)

    def run(self, until_s: float, finished: Callable[[], bool] = lambda: False) -> bool:
        """Run until an instant, or until `finished`, which is asked whenever time goes on."""
        timers, runnable, step, put = self._timers, self._runnable, self._step, self._put
        events._set_running_loop(self)
        try:
            while True:
                while timers and timers[0][0] <= self._now_s:
                    _, _, call, process = heappop(timers)
                    if not call.is_cancelled:
                        put(process, call)
                if runnable:
                    step()
                    self._now_s += STEP_S
                elif finished():
                    return True
                elif not timers or timers[0][0] > until_s:
                    self._now_s = max(self._now_s, until_s)
                    return finished()
                else:
                    self._now_s = max(self._now_s, timers[0][0])
                if self._now_s > until_s:
                    return finished()
        finally:
            events._set_running_loop(None)
            self.current = self.world

    def bury(self, processes: list[Process]) -> None:
        """Let go of everything that has not ended, without anything of it having an effect."""
        self._closed = True
        for process in (*self._graves, *processes):
            process.alive = False
            process.ready.clear()
            for task in process.tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    with contextlib.suppress(BaseException):  # a dead process says nothing
                        task.get_coro().close()
        self._timers.clear()

    def _put(self, process: Process, call: "Call") -> None:
        if not process.alive or self._closed:
            return
        ready = process.ready
        ready.append(call)
        if len(ready) == 1 and not process.stopped:
            self._runnable.append(process)

    def _step(self) -> None:
        runnable = self._runnable
        index = int(self._draw.random() * len(runnable)) if len(runnable) > 1 else 0
        process = runnable[index]
        call = process.ready.popleft()
        if not process.ready:
            runnable[index] = runnable[-1]
            runnable.pop()
        if call.is_cancelled:
            return
        process.steps += 1
        self.steps += 1
        if process.steps == process.dies_at:
            self.kill(process)
            return
        self.current = process
        try:
            call.context.run(call.callback, *call.args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 told as asyncio tells it
            self.call_exception_handler({"message": "in a callback", "exception": error})
        self.current = self.world
        if process.eye is not None:
            process.eye()


def settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    """Give a future its result, or its error, unless nobody waits any more."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
