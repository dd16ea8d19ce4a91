"""What a database must give so that a `RelationalStore` can live in it: the seam to a driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from abstractruntime.errors import RuntimeFault

Row = tuple[Any, ...]


class Session(Protocol):
    """The one connection that writes; used by the leader of the group only.

    Statements go by their name in queries.sql. What fails raises the driver's own errors.
    """

    def begin(self, *, urgent: bool) -> None:
        """Open a transaction that may write at once; `urgent`: it is synced at any durability."""

    def commit(self) -> None:
        """Make the transaction durable."""

    def rollback(self) -> None:
        """Undo the transaction; nothing when there is none."""

    def run(self, query: str, values: Sequence[Any] = ()) -> int:
        """Execute a writing statement; the number of rows it changed."""

    def insert(self, query: str, values: Sequence[Any]) -> int | None:
        """Insert one row; its key, None when it was there already."""

    def rows(self, query: str, values: Sequence[Any]) -> list[Row]:
        """The rows of a query, those of the open transaction too."""

    def execute(self, sql: str, values: Sequence[Any] | Mapping[str, Any]) -> list[Row]:
        """Run a program's own statement in the open transaction; its rows."""


class Database(Protocol):
    """A database that is open: one session that writes, readers that wait for nobody."""

    url: str
    folder: str | None
    """Where files that belong to it may go."""

    @property
    def session(self) -> Session:
        """The connection that writes."""

    def read(self, query: str, values: Sequence[Any]) -> list[Row]:
        """The rows of a query as last committed. Raises store faults; any thread may call."""

    def fault(self, error: Exception) -> Exception:
        """A driver's error as a fault of ours; another error comes back as it is.

        An error after which the medium cannot be trusted makes every later call fail.
        """

    def failed(self) -> RuntimeFault | None:
        """Why nothing can be done with it any more; None while it works."""

    def fail(self, fault: RuntimeFault) -> None:
        """From now on every call raises this."""

    def changes(self) -> int:
        """A number that changes when anybody may have written."""

    def facts(self) -> dict[str, Any]:
        """What is in force, read back."""

    def release(self, *, timeout: float) -> bool:
        """Close all connections and open none until `resume`; False when one stays in use."""

    def resume(self) -> None:
        """End a `release`."""

    def close(self) -> None:
        """Close all connections; later calls raise StoreClosed."""


def copied(fault: Exception) -> Exception:
    """A copy of a fault that several callers are told, so that each raises its own."""
    if not isinstance(fault, RuntimeFault):
        return fault
    copy = type(fault).__new__(type(fault), *fault.args)
    copy.__dict__.update(fault.__dict__)
    copy.__cause__ = fault.__cause__
    return copy
