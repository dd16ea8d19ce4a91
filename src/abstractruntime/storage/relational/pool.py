"""Connections for reading: a few, each lent to one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, Protocol, TypeVar

_MOST: Final = 8


class Closable(Protocol):
    def close(self) -> object: ...


C = TypeVar("C", bound=Closable)


class Pool(Generic[C]):
    """Makes a connection when none is free, up to a number; then whoever asks waits for one."""

    def __init__(self, connect: Callable[[], C]) -> None:
        self._connect = connect
        self._free: list[C] = []
        self._lent = 0
        self._shut = False
        self._changed = threading.Condition()

    @contextmanager
    def lend(self) -> Iterator[C]:
        connection = self._take()
        try:
            if connection is None:
                connection = self._connect()
            yield connection
        finally:
            with self._changed:
                self._lent -= 1
                if connection is not None:
                    self._free.append(connection)
                if self._shut:
                    self._changed.notify_all()
                else:
                    self._changed.notify()

    def _take(self) -> C | None:
        with self._changed:
            while self._shut or (not self._free and self._lent >= _MOST):
                self._changed.wait()
            self._lent += 1
            return self._free.pop() if self._free else None

    def shut(self, *, timeout: float) -> bool:
        """Close all and lend none until `reopen`; False when one does not come back in time."""
        with self._changed:
            self._shut = True
            if not self._changed.wait_for(lambda: self._lent == 0, timeout):
                self._shut = False
                return False
            while self._free:
                self._free.pop().close()
            return True

    def reopen(self) -> None:
        with self._changed:
            self._shut = False
            self._changed.notify_all()
