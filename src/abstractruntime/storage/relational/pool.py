"""Connections for reading: a few, each lent to one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

_MOST: Final = 8


class Closable(Protocol):
    """A connection."""

    def close(self) -> object: ...


C = TypeVar("C", bound=Closable)
R = TypeVar("R")


class _Loan(Generic[C]):
    """Whether one was lent, and which: None when it is yet to be made."""

    __slots__ = ("connection", "lent")

    def __init__(self) -> None:
        self.lent = False
        self.connection: C | None = None


class Pool(Generic[C]):
    """Makes a connection when none is free, up to a number; then whoever asks waits for one."""

    def __init__(self, connect: Callable[[], C]) -> None:
        self._connect = connect
        self._free: list[C] = []
        self._lent = 0
        self._shut = False
        self._changed = threading.Condition()

    def use(self, work: Callable[[C], R]) -> R:
        """What `work` makes of a connection that is its own meanwhile."""
        loan: _Loan[C] = _Loan()
        try:
            self._lend(loan)
            if loan.connection is None:
                loan.connection = self._connect()
            return work(loan.connection)
        finally:
            # Told by the loan, for an interrupt may come as soon as one was lent.
            if loan.lent:
                self._give_back(loan.connection)

    def _lend(self, loan: _Loan[C]) -> None:
        with self._changed:
            while self._shut or (not self._free and self._lent >= _MOST):
                self._changed.wait()
            self._lent += 1
            loan.lent = True
            if self._free:
                loan.connection = self._free.pop()

    def _give_back(self, connection: C | None) -> None:
        with self._changed:
            self._lent -= 1
            if connection is not None:
                self._free.append(connection)
            if self._shut:
                self._changed.notify_all()
            else:
                self._changed.notify()

    def shut(self, *, timeout: float) -> bool:
        """Close all and lend none until `reopen`; False when one does not come back in time."""
        with self._changed:
            self._shut = True
            if not self._changed.wait_for(lambda: self._lent == 0, timeout):
                self._shut = False
                self._changed.notify_all()
                return False
            while self._free:
                self._free.pop().close()
            return True

    def reopen(self) -> None:
        """End a `shut`."""
        with self._changed:
            self._shut = False
            self._changed.notify_all()
