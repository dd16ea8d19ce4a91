"""What a flow asks of its driver. A flow performs no I/O: it yields these and gets answers.

A Commit is a request too: answered with None when it is durable; RevisionConflict and what else
refuses it is thrown in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from abstractruntime.core.values import value
from abstractruntime.storage.base import Store

T = TypeVar("T")
Flow = Generator[Any, Any, T]
"""A flow that ends with a T."""


@value
class Read:
    """Ask the store: the answer is what `ask(store)` returns."""

    ask: Callable[[Store], Any]


@value
class Spawn:
    """Begin the attempt of a branch; its end comes by NextEvent. Answered with None.

    `make()` returns an outcome or, quickly, an awaitable of one when `awaits`; else it may block.
    It raises nothing but BaseExceptions that are no Exceptions.
    """

    branch: str
    make: Callable[[], Any]
    awaits: bool


@value
class NextEvent:
    """The next attempt to end, as (branch, outcome); or None after `seconds`, when given."""

    seconds: float | None = None


NEXT = NextEvent()
"""Without a limit."""
