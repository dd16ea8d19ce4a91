"""Commits on their way from one event loop to the stores' writer threads, and results back.

Theory of operation. The loop and a writer that run at once fight for the interpreter lock, and each
loses more by it than it does. So the commits of one turn of the loop are handed over together when
the turn is over; the writer takes them as one batch while the loop sleeps, and wakes it once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary, ref

from abstractruntime.core.commit import Commit
from abstractruntime.storage.base import Handle, Store


class Uncancelled(asyncio.Future[None]):
    """A commit on its way, which nothing calls back.

    A task that awaits it and is cancelled gets its CancelledError when the result is there.
    """

    def cancel(self, msg: object = None) -> bool:
        return False


class Crossing:
    """One loop's side. `send` is called on the loop, `_back` from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)
        self._leaving: list[tuple[Store, Commit, Uncancelled]] = []
        self._returned: deque[tuple[Handle, Uncancelled]] = deque()
        self._woken = False

    def send(self, store: Store, commit: Commit) -> Uncancelled:
        """A future of the commit, which is submitted when this turn of the loop is over."""
        loop = asyncio.get_running_loop()
        future = Uncancelled(loop=loop)
        if not self._leaving:
            loop.call_soon(self._depart)
        self._leaving.append((store, commit, future))
        return future

    def _depart(self) -> None:
        leaving, self._leaving = self._leaving, []
        for store, commit, future in leaving:
            try:
                handle = store.submit(commit)
            except BaseException as error:
                if not future.done():
                    future.set_exception(error)
            else:
                handle.add_done_callback(self._arrival(handle, future))

    def _arrival(self, handle: Handle, future: Uncancelled) -> Callable[[], None]:
        return lambda: self._back(handle, future)

    def _back(self, handle: Handle, future: Uncancelled) -> None:
        self._returned.append((handle, future))
        loop = self._loop()
        if not self._woken and loop is not None:
            self._woken = True
            loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # First the flag: what comes back while this delivers wakes the loop again, if only in vain.
        self._woken = False
        while self._returned:
            handle, future = self._returned.popleft()
            if future.done():
                continue
            try:
                handle.result()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)


_CROSSINGS: WeakKeyDictionary[asyncio.AbstractEventLoop, Crossing] = WeakKeyDictionary()


def crossing_of(loop: asyncio.AbstractEventLoop) -> Crossing:
    """The crossing of a loop, one to each."""
    found = _CROSSINGS.get(loop)
    if found is None:
        found = _CROSSINGS[loop] = Crossing(loop)
    return found
