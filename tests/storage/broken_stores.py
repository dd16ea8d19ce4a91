"""Stores that stop working at a chosen call, as a crash or a full disk does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Died(Exception):
    """The call did not come back."""


class Breaker:
    """Counts the calls to the methods it watches; the n-th raises, before or after its work.

    Once broken every watched call raises, until `mend`.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._at: int | None = None
        self._after = False
        self._broken = False

    def watch(self, target: Any, *names: str) -> None:
        """Watch these methods of an object."""
        for name in names:
            setattr(target, name, self._watched(name, getattr(target, name)))

    def break_at(self, call: int, *, after: bool = False) -> None:
        """The call-th watched call from now on is the last one."""
        self.calls.clear()
        self._at, self._after, self._broken = call, after, False

    def mend(self) -> None:
        """All calls work again."""
        self.calls.clear()
        self._at, self._broken = None, False

    def _watched(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if self._broken:
                raise Died(name)
            self.calls.append(name)
            hit = len(self.calls) == self._at
            self._broken = hit
            if hit and not self._after:
                raise Died(name)
            value = method(*arguments, **named)
            if hit:
                raise Died(name)
            return value

        return call
