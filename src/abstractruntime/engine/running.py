"""Attempts that run beside their flow: in threads and on loops. What ends after its flow is over is
kept as evidence, never lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Coroutine
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from abstractruntime.engine.requests import Abandon, Forget, Spawn
from abstractruntime.storage.base import Store

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Executor, Future

T = TypeVar("T")
Event = tuple[str, Any] | None
"""The attempt that ended, as (branch, outcome), None for one that was cancelled; or None: time."""

_LOG = logging.getLogger("abstractruntime.step")


class Broken:
    """An attempt that ended by an interrupt: to be raised where it is heard of."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Threads:
    """The attempts of one flow under the blocking driver; the flow's own thread calls.

    A single one that is waited for without a limit is made right there.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._spawned: list[Spawn] = []
        self._running: dict[int, Spawn] = {}
        self._ended: SimpleQueue[tuple[Spawn, Any]] | None = None
        self._tasks: dict[str, Future[Any]] = {}
        self._lock = threading.Lock()
        self._closed = False

    def spawn(self, spawn: Spawn) -> None:
        """Take an attempt on; it begins when an event is waited for."""
        self._spawned.append(spawn)

    def next(self, seconds: float | None) -> Event:
        """Wait for an event, at most `seconds`."""
        spawned = self._spawned
        if len(spawned) == 1 and seconds is None and not self._running:
            begun = spawned.pop()
            return begun.branch, run_blocking(begun.make) if begun.awaits else begun.make()
        while spawned:
            self._start(spawned.pop(0))
        if self._ended is None or not self._running:
            if seconds is not None and seconds > 0:
                time.sleep(seconds)
            return None
        while True:
            try:
                begun, said = self._ended.get(timeout=seconds)
            except Empty:
                return None
            if self._running.pop(id(begun), None) is None:
                keep_late(self._store, begun, said)
                continue
            self._tasks.pop(begun.branch, None)
            if isinstance(said, Broken):
                raise said.error
            return begun.branch, said

    def drop(self, request: Abandon | Forget) -> None:
        """Cancel what can be cancelled, and hear of its end or not, as asked."""
        branch = request.branch
        task = self._tasks.get(branch)
        if task is not None:
            task.cancel()
        if type(request) is Forget:
            self._tasks.pop(branch, None)
            with self._lock:
                for key, spawn in list(self._running.items()):
                    if spawn.branch == branch:
                        del self._running[key]

    def close(self) -> None:
        """The flow is over: it hears of nothing that still runs, or that it did not ask for."""
        if self._ended is None:
            return
        with self._lock:
            self._closed = True
        for task in self._tasks.values():
            task.cancel()
        while not self._ended.empty():
            keep_late(self._store, *self._ended.get())

    def _start(self, spawn: Spawn) -> None:
        if self._ended is None:
            self._ended = SimpleQueue()
        self._running[id(spawn)] = spawn
        if not spawn.awaits:
            name = f"abstractruntime-step-{spawn.branch or 'main'}"
            threading.Thread(target=self._run, args=(spawn,), name=name, daemon=True).start()
            return
        import asyncio

        task = asyncio.run_coroutine_threadsafe(spawn.make(), private_loop())
        self._tasks[spawn.branch] = task
        task.add_done_callback(lambda done: self._end(spawn, _said(done)))

    def _run(self, spawn: Spawn) -> None:
        try:
            said = spawn.make()
        except BaseException as error:
            said = Broken(error)
        self._end(spawn, said)

    def _end(self, spawn: Spawn, said: Any) -> None:
        with self._lock:
            if not self._closed and id(spawn) in self._running:
                assert self._ended is not None
                self._ended.put((spawn, said))
                return
        keep_late(self._store, spawn, said)


def _said(done: Future[Any]) -> Any:
    from concurrent.futures import CancelledError

    try:
        return done.result()
    except CancelledError:
        return None
    except BaseException as error:
        return Broken(error)


class Tasks:
    """The attempts of one flow under the awaiting driver; sync ones in `executor`.

    While a sync handler runs, which nothing can stop, a cancellation of the flow is held back: it
    is thrown in after the next commit, so that the outcome is kept and the step is not begun again
    while its thread still runs.
    """

    def __init__(self, store: Store, executor: Executor | None) -> None:
        self._store = store
        self._executor = executor
        self._spawned: list[Spawn] = []
        self._running: dict[asyncio.Future[Any], Spawn] = {}
        self._made: dict[int, tuple[Spawn, Any]] = {}
        self._forgotten: dict[int, Spawn] = {}
        self._lock = threading.Lock()
        self._closed = False
        self.cancelled: BaseException | None = None

    def spawn(self, spawn: Spawn) -> None:
        """Take an attempt on; it begins when an event is waited for."""
        self._spawned.append(spawn)

    async def next(self, seconds: float | None) -> Event:
        """Wait for an event, at most `seconds`."""
        import asyncio

        spawned = self._spawned
        if len(spawned) == 1 and seconds is None and not self._running:
            begun = spawned.pop()
            if begun.awaits:
                return begun.branch, await begun.make()
            return begun.branch, await self.in_thread(begun.make)
        loop = asyncio.get_running_loop()
        while spawned:
            begun = spawned.pop(0)
            task: asyncio.Future[Any] = (
                loop.create_task(begun.make())
                if begun.awaits
                else loop.run_in_executor(self._executor, self._run, begun)
            )
            self._running[task] = begun
        if self._running:
            return await self._first(None if seconds is None else loop.time() + seconds)
        if seconds is not None and seconds > 0:
            await asyncio.sleep(seconds)
        return None

    async def in_thread(self, make: Callable[[], Any]) -> Any:
        """What `make()` returns in the executor; it is waited for, whatever happens."""
        import asyncio

        future = asyncio.get_running_loop().run_in_executor(self._executor, make)
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                self.cancelled = error
        return future.result()

    async def _first(self, end: float | None) -> Event:
        import asyncio

        loop = asyncio.get_running_loop()
        while True:
            left = None if end is None else max(end - loop.time(), 0.0)
            try:
                done, _ = await asyncio.wait(
                    self._running, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
            except asyncio.CancelledError as error:
                if all(spawn.awaits for spawn in self._running.values()):
                    raise
                self.cancelled = error
                continue
            if not done:
                return None
            task = next(task for task in self._running if task in done)
            spawn = self._running.pop(task)
            self._made.pop(id(spawn), None)
            return spawn.branch, None if task.cancelled() else task.result()

    def _run(self, spawn: Spawn) -> Any:
        """Make a sync attempt in its thread; one that nobody waits for any more is kept."""
        said = spawn.make()
        with self._lock:
            unheard = self._closed or id(spawn) in self._forgotten
            self._made[id(spawn)] = (spawn, said)
        if unheard:
            keep_late(self._store, spawn, said)
        return said

    def drop(self, request: Abandon | Forget) -> None:
        """Cancel what can be cancelled, and hear of its end or not, as asked."""
        for task, spawn in list(self._running.items()):
            if spawn.branch != request.branch:
                continue
            if spawn.awaits:
                task.cancel()
            if type(request) is Forget:
                del self._running[task]
                with self._lock:
                    self._forgotten[id(spawn)] = spawn
                    made = self._made.pop(id(spawn), None)
                if made is not None:
                    self._keep(*made)

    def _keep(self, spawn: Spawn, said: Any) -> None:
        # A write, which the loop must not wait for.
        args = (self._store, spawn, said)
        threading.Thread(target=keep_late, args=args, name="abstractruntime-late").start()

    def close(self) -> None:
        """The flow is over: what awaits is cancelled, a thread's outcome is kept when it comes."""
        if not self._running:
            return
        for task, spawn in self._running.items():
            if spawn.awaits:
                task.cancel()
        with self._lock:
            self._closed = True
            unheard = list(self._made.values())
        for made in unheard:
            self._keep(*made)


def keep_late(store: Store, spawn: Spawn, said: Any) -> None:
    """Keep the outcome of an attempt that its flow did not wait for."""
    if said is None or isinstance(said, Broken) or spawn.late is None:
        return
    try:
        spawn.late(store, said)
    except Exception:
        _LOG.exception("the outcome of a late attempt could not be kept: %r", said)


# -- the private loop


def run_blocking(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The value of the coroutine that `make` gives, run on the private loop.

    Works inside a running loop too.
    """
    import asyncio

    loop = private_loop()
    future = asyncio.run_coroutine_threadsafe(make(), loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


_LOOPS: dict[int, asyncio.AbstractEventLoop] = {}
"""The private loop of each process id: a forked child needs its own."""


def private_loop() -> asyncio.AbstractEventLoop:
    """The loop that serves blocking callers, one to a process, on a daemon thread.

    Without a lock: an interrupt at any line leaves a loop that runs, or none.
    """
    import asyncio
    import os

    found = _LOOPS.get(os.getpid())
    if found is None:
        loop = asyncio.new_event_loop()
        name = "abstractruntime-async-handlers"
        threading.Thread(target=loop.run_forever, name=name, daemon=True).start()
        found = _LOOPS.setdefault(os.getpid(), loop)
        if found is not loop:
            loop.call_soon_threadsafe(loop.stop)
    return found
