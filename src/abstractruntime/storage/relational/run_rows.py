"""Rows of `runs` and `log` as read: what their columns mean, and that they are what was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from abstractruntime.storage.relational import sums
from abstractruntime.storage.relational.database import Row

Read = Callable[[str, Sequence[Any]], list[Row]]
"""Gives the rows of a query: outside of transactions, or in the writer's own."""

UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, AssertionError)
"""What decoding a damaged row may raise."""


def fixed_of(row: Row) -> tuple[str | None, ...]:
    """run_id, workflow_id, created_at, actor_id, session_id, parent_run_id of a run's row."""
    return row[1:7]


def check_run(read: Read, row: Row) -> None:
    """StoreCorrupt unless a run's row is what was written."""
    recorded: int | None = row[23]
    if recorded is None:
        _check_from_before(read, row)
        return
    moved = (row[8], row[12], row[20], row[9], row[21], row[22])
    small = (row[13], row[14:20], moved)
    sums.check_run(fixed_of(row), small, row[10], row[11], recorded)


def _check_from_before(read: Read, row: Row) -> None:
    """A run's row may go without a sum as long as its last log row does."""
    number, run_id, revision = row[0], row[1], row[8]
    for state, _ in read("sums_at", (number, revision)):
        if state is not None:
            raise sums.lost(run_id, revision, "the row")


def check_chain(run_id: str, base: int, rows: Sequence[Row]) -> None:
    """StoreCorrupt unless the rows of the query `chain`, from `base` on, are what was written."""
    begun = False
    for revision, (head, delta, vars, state) in enumerate(rows, base):
        if state is None and begun:
            raise sums.lost(run_id, revision, "the state")
        begun = state is not None
        sums.check_state(run_id, revision, state, head, delta, vars)


def records_at(read: Read, run_id: str, number: int, revision: int) -> str | None:
    """The text of the records of one commit; None when it is not in the log."""
    for text, recorded in read("records_at", (number, revision)):
        sums.check_records(run_id, revision, recorded, text)
        found: str = text
        return found
    return None
