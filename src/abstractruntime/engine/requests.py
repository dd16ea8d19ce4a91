"""What a flow asks of its driver. A flow performs no I/O: it yields these and gets answers."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from abstractruntime.core.commit import Commit
from abstractruntime.storage.base import Store

T = TypeVar("T")
Flow = Generator[Any, Any, T]
"""A flow that ends with a T."""


@dataclass(frozen=True, slots=True)
class Read:
    """Ask the store: the answer is what `ask(store)` returns."""

    ask: Callable[[Store], Any]


@dataclass(frozen=True, slots=True)
class Write:
    """Commit: answered with None when durable; RevisionConflict & co. are thrown in."""

    commit: Commit


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt of one effect, ready to be made: `make()` returns an outcome or an awaitable.

    `awaits`: make() is quick and returns an awaitable; else it may block. It raises nothing but
    BaseExceptions that are no Exceptions.
    """

    make: Callable[[], Any]
    awaits: bool


@dataclass(frozen=True, slots=True)
class Spawn:
    """Begin the attempt of a branch; its end comes by NextEvent. Answered with None."""

    branch: str
    call: Call


@dataclass(frozen=True, slots=True)
class NextEvent:
    """The next attempt to end, as (branch, outcome); or None after `seconds`, when given."""

    seconds: float | None = None
