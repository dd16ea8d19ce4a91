"""Two drivers of a flow, blocking and awaiting: the only place where sync and async differ.

A driver answers the flow's requests and throws what failed into it. It decides nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from abstractruntime.core.commit import Commit
from abstractruntime.engine.requests import Flow, Read, Spawn
from abstractruntime.storage.base import Capability, Store

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Executor

    from abstractruntime.engine.crossing import Uncancelled

T = TypeVar("T")


def drive(flow: Flow[T], store: Store) -> T:
    """Run the flow to its end in this thread; its value. Async handlers run on the private loop."""
    spawned: list[Spawn] = []
    answer: Any = None
    failure: BaseException | None = None
    while True:
        try:
            request = flow.send(answer) if failure is None else flow.throw(failure)
        except StopIteration as stop:
            value: T = stop.value
            return value
        answer = failure = None
        try:
            kind = type(request)
            if kind is Commit:
                store.commit(request)
            elif kind is Read:
                answer = request.ask(store)
            elif kind is Spawn:
                spawned.append(request)
            elif spawned:
                begun = spawned.pop(0)
                said = run_blocking(begun.make) if begun.awaits else begun.make()
                answer = (begun.branch, said)
            elif request.seconds is not None and request.seconds > 0:
                time.sleep(request.seconds)
        except BaseException as error:
            failure = error


async def adrive(flow: Flow[T], store: Store, executor: Executor | None = None) -> T:
    """Run the flow to its end on the running loop; its value.

    Commits are written by the store's writer thread; sync handlers run in `executor` (the loop's
    default when None); reads run here where the store says they are quick, else in the executor.
    A cancellation is thrown into the flow, though never before a commit in flight has its result.
    """
    import asyncio

    from abstractruntime.engine.crossing import crossing_of

    loop = asyncio.get_running_loop()
    crossing = crossing_of(loop)
    quick = Capability.QUICK_READS in store.capabilities
    spawned: list[tuple[str, Any]] = []
    answer: Any = None
    failure: BaseException | None = None
    cancelled: BaseException | None = None
    while True:
        try:
            request = flow.send(answer) if failure is None else flow.throw(failure)
        except StopIteration as stop:
            if cancelled is not None:
                raise cancelled from None
            value: T = stop.value
            return value
        answer = failure = None
        try:
            kind = type(request)
            if kind is Commit:
                cancelled, failure = await _written(crossing.send(store, request), cancelled)
            elif kind is Read and quick:
                answer = request.ask(store)
            elif kind is Read:
                answer = await loop.run_in_executor(executor, request.ask, store)
            elif kind is Spawn:
                make = request.make
                coming = make() if request.awaits else loop.run_in_executor(executor, make)
                spawned.append((request.branch, coming))
            elif spawned:
                branch, coming = spawned.pop(0)
                if isinstance(coming, asyncio.Future):
                    cancelled = await _ended(coming) or cancelled
                answer = (branch, await coming)
            elif request.seconds is not None and request.seconds > 0:
                await asyncio.sleep(request.seconds)
        except BaseException as error:
            failure = error


async def _written(
    commit: Uncancelled, cancelled: BaseException | None
) -> tuple[BaseException | None, BaseException | None]:
    """Wait for a commit: (the cancellation still to be thrown in, what to throw in now)."""
    import asyncio

    try:
        await commit
    except asyncio.CancelledError as error:
        # It comes when the commit has its result: the flow must not end before, or what it has in
        # flight could be done again.
        refused = commit.exception()
        return (None, error) if refused is None else (error, refused)
    except Exception as refused:
        return cancelled, refused
    return None, cancelled


async def _ended(future: asyncio.Future[Any]) -> BaseException | None:
    """Wait for a sync handler, which nothing can stop; the cancellation that came.

    It is thrown in after the next commit, so that the outcome is kept and the step is not begun
    again while its thread still runs.
    """
    import asyncio

    cancelled: BaseException | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled


def run_blocking(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The value of the coroutine that `make` gives, run on the private loop.

    Works inside a running loop too.
    """
    import asyncio

    loop = _private_loop()
    future = asyncio.run_coroutine_threadsafe(make(), loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


_LOOPS: dict[int, asyncio.AbstractEventLoop] = {}
"""The private loop of each process id: a forked child needs its own."""


def _private_loop() -> asyncio.AbstractEventLoop:
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
