"""What a flow asks of its driver. A flow performs no I/O: it yields these and gets answers."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeVar

from abstractruntime.core.commit import Commit
from abstractruntime.storage.base import Store

T = TypeVar("T")
Flow = Generator[Any, Any, T]
"""A flow that ends with a T."""


class Read(NamedTuple):
    """Ask the store: the answer is what `ask(store)` returns."""

    ask: Callable[[Store], Any]


class Write(NamedTuple):
    """Commit: answered with None when durable; RevisionConflict & co. are thrown in."""

    commit: Commit


class Call(NamedTuple):
    """One attempt of one effect, ready to be made: `make()` returns an outcome or an awaitable.

    `awaits`: make() is quick and returns an awaitable; else it may block. It raises nothing but
    BaseExceptions that are no Exceptions.
    """

    make: Callable[[], Any]
    awaits: bool


class Spawn(NamedTuple):
    """Begin the attempt of a branch; its end comes by NextEvent. Answered with None."""

    branch: str
    call: Call


class NextEvent(NamedTuple):
    """The next attempt to end, as (branch, outcome); or None after `seconds`, when given."""

    seconds: float | None = None
