"""Two drivers of a flow, blocking and awaiting: the only place where sync and async differ.

A driver answers the flow's requests and throws what failed into it. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from abstractruntime.core.commit import Commit
from abstractruntime.engine.requests import Flow, NextEvent, Read, Spawn, Transact
from abstractruntime.engine.running import Tasks, Threads, run_blocking
from abstractruntime.storage.base import Capability, Store

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from abstractruntime.engine.crossing import Uncancelled

__all__ = ["adrive", "drive", "run_blocking"]

T = TypeVar("T")


def drive(flow: Flow[T], store: Store) -> T:
    """Run the flow to its end in this thread; its value. Async handlers run on the private loop."""
    attempts = Threads(store)
    answer: Any = None
    failure: BaseException | None = None
    try:
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
                    attempts.spawn(request)
                elif kind is NextEvent:
                    answer = attempts.next(request.seconds)
                elif kind is Transact:
                    store.transact(request.work, seconds=request.seconds)
                else:
                    attempts.drop(request)
            except BaseException as error:
                failure = error
    finally:
        attempts.close()


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
    attempts = Tasks(store, executor)
    answer: Any = None
    failure: BaseException | None = None
    try:
        while True:
            try:
                request = flow.send(answer) if failure is None else flow.throw(failure)
            except StopIteration as stop:
                if attempts.cancelled is not None:
                    raise attempts.cancelled from None
                value: T = stop.value
                return value
            answer = failure = None
            try:
                kind = type(request)
                if kind is Commit:
                    failure = await _written(crossing.send(store, request), attempts)
                elif kind is Read and quick:
                    answer = request.ask(store)
                elif kind is Read:
                    answer = await loop.run_in_executor(executor, request.ask, store)
                elif kind is Spawn:
                    attempts.spawn(request)
                elif kind is NextEvent:
                    answer = await attempts.next(request.seconds)
                elif kind is Transact:
                    await attempts.in_thread(_transaction(store, request))
                else:
                    attempts.drop(request)
            except BaseException as error:
                failure = error
    finally:
        attempts.close()


def _transaction(store: Store, request: Transact) -> Callable[[], None]:
    return lambda: store.transact(request.work, seconds=request.seconds)


async def _written(commit: Uncancelled, attempts: Tasks) -> BaseException | None:
    """Wait for a commit: what to throw in now. A cancellation that cannot be yet is kept."""
    import asyncio

    cancelled, attempts.cancelled = attempts.cancelled, None
    try:
        await commit
    except asyncio.CancelledError as error:
        # It comes when the commit has its result: the flow must not end before, or what it has in
        # flight could be done again.
        refused = commit.exception()
        if refused is None:
            return error
        attempts.cancelled = error
        return refused
    except Exception as refused:
        attempts.cancelled = cancelled
        return refused
    return cancelled
