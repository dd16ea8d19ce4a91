"""What a flow asks of its driver. A flow performs no I/O: it yields these and gets answers.

A Commit is a request too: answered with None when it is durable; RevisionConflict and what else
refuses it is thrown in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from abstractruntime.core.commit import Commit
from abstractruntime.core.values import value
from abstractruntime.storage.base import Store, Transaction

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
    It raises nothing but BaseExceptions that are no Exceptions. `late(store, outcome)` keeps an
    outcome that comes when the flow is over.
    """

    branch: str
    make: Callable[[], Any]
    awaits: bool
    late: Callable[[Store, Any], None] | None = None


@value
class Abandon:
    """Cancel the attempt of a branch if it can be: one that awaits. Its end comes by NextEvent,
    as (branch, None) when it was cancelled."""

    branch: str


@value
class Forget:
    """Cancel the attempt of a branch if it can be, and hear of it no more: an outcome that comes
    all the same is kept by the spawn's `late`."""

    branch: str


@value
class Transact:
    """Call `work(transaction)` inside a transaction of the store, nothing else in it.

    The Commit it returns is written in the same transaction; None undoes all, and so does work
    that takes longer than `seconds`. Answered as a Commit is.
    """

    work: Callable[[Transaction], Commit | None]
    seconds: float


@value
class NextEvent:
    """The next attempt to end, as (branch, outcome); or None after `seconds`, when given."""

    seconds: float | None = None


NEXT = NextEvent()
"""Without a limit."""
