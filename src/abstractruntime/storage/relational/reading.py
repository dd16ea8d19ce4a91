"""Rows -> runs and records: rebuilds what does not stand whole in a run's row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from abstractruntime.core.canonical import decode
from abstractruntime.core.commit import Loaded
from abstractruntime.core.delta import Encoding, apply_delta
from abstractruntime.core.head import run_from_head
from abstractruntime.core.models import RunState
from abstractruntime.errors import RuntimeFault, StoreCorrupt, UnknownRevision
from abstractruntime.storage.relational.database import Row
from abstractruntime.storage.relational.heads import rebuilt_head
from abstractruntime.storage.relational.ledger_rows import LedgerRows
from abstractruntime.storage.relational.run_rows import (
    UNREADABLE,
    Read,
    check_chain,
    check_run,
    records_at,
)
from abstractruntime.storage.relational.sums import check_records, lost

__all__ = ["UNREADABLE", "listed", "loaded", "loaded_at", "records", "records_of_step", "refuse"]

_FIXED = ("run_id", "workflow_id", "created_at", "actor_id", "session_id", "parent_run_id")
_DRIVEN_COLUMNS = 12
# Rows read at once: few for who looks for something near, many for who reads all.
_LEAST_PAGE = 16
_MOST_PAGE = 256
_CLOSED = ("completed", "waiting")


def refuse(run_id: str, error: Exception) -> NoReturn:
    """Raise what decoding a row of the run raised as StoreCorrupt; a fault of ours as it is."""
    if isinstance(error, RuntimeFault):
        raise error
    raise StoreCorrupt(
        f"A row of run '{run_id}' cannot be read: {error!r}",
        fix="abstractruntime doctor says what else is damaged; restore the file from a backup",
        run_id=run_id,
    ) from error


def loaded(read: Read, row: Row) -> Loaded:
    """A run whole from a row of the query `run`."""
    check_run(read, row)
    head, text = _state(read, row)
    encoding, vars = Encoding.parse(text)
    return Loaded(_run(read, row, head, vars, payloads=True), encoding, head)


def loaded_at(read: Read, row: Row, revision: int) -> Loaded:
    """The same run as of an earlier revision; UnknownRevision."""
    check_run(read, row)
    number, run_id, current = row[0], row[1], row[8]
    rows = read("base_at", (number, revision)) if 1 <= revision <= current else []
    if not rows:
        raise UnknownRevision(
            f"Run '{run_id}' has no revision {revision}, it is at {current}",
            run_id=run_id,
            revision=revision,
            found=current,
        )
    head, text = _rebuilt(read, run_id, number, rows[0][0], revision)
    encoding, vars = Encoding.parse(text)
    return Loaded(_run(read, row, head, vars, payloads=True), encoding, head)


def listed(read: Read, row: Row) -> RunState:
    """A run for a list: whole, but that its open steps stand without their payloads.

    From a row of the query `run`, or of `runs_driven`: without vars and unchecked.
    """
    if len(row) > _DRIVEN_COLUMNS:
        check_run(read, row)
    head, text = _state(read, row)
    return _run(read, row, head, decode(text), payloads=False)


def records(
    read: Read, run_id: str, number: int, *, after: int, limit: int | None
) -> list[dict[str, Any]]:
    """The records of commits above `after`, of at most `limit` commits."""
    rows = _ledger(read, run_id, number)
    found: list[dict[str, Any]] = []
    for revision, text in _log_rows(read, run_id, number, after=after, limit=limit):
        found += rows.records(revision, text)
    return found


def records_of_step(
    read: Read, run_id: str, number: int, revision: int, key: str
) -> list[dict[str, Any]]:
    """The records of the last step that `revision` began with `key`."""
    rows = _ledger(read, run_id, number)
    found: list[dict[str, Any]] = []
    for at, text in _log_rows(read, run_id, number, after=revision - 1, limit=None):
        page = rows.records(at, text)
        if not found:
            mine = [r for r in page if r["idempotency_key"] == key and r["status"] == "started"]
            page = page[page.index(mine[-1]) :]
            found.append(page.pop(0))
        first = found[0]
        for record in page:
            if record["step_id"] == first["step_id"]:
                found.append(record)
                if record["status"] in _CLOSED:
                    return found
            elif record["status"] == "started" and record.get("branch") == first.get("branch"):
                return found  # its branch went on to another step
    return found


def _log_rows(
    read: Read, run_id: str, number: int, *, after: int, limit: int | None
) -> Iterator[tuple[int, str]]:
    left = limit
    summed = False
    after = max(after, 0)
    page_size = _LEAST_PAGE
    while left is None or left > 0:
        size = page_size if left is None else min(left, page_size)
        page_size = min(page_size * 2, _MOST_PAGE)
        page = read("records", (number, after, size))
        for revision, text, recorded in page:
            if recorded is None and summed:
                raise lost(run_id, revision, "the text of the records")
            summed = recorded is not None
            check_records(run_id, revision, recorded, text)
            yield revision, text
        if len(page) < size:
            return
        after = page[-1][0]
        left = None if left is None else left - size


def _state(read: Read, row: Row) -> tuple[dict[str, Any], bytes]:
    """The head and the text of the vars."""
    number, run_id, revision, base, head, vars = *row[:2], *row[8:12]
    if head is not None and vars is not None:
        return decode(head), vars.encode()
    whole_head, text = _rebuilt(read, run_id, number, base, revision)
    return whole_head, text if vars is None else vars.encode()


def _rebuilt(
    read: Read, run_id: str, number: int, base: int, revision: int
) -> tuple[dict[str, Any], bytes]:
    rows = read("chain", (number, base, revision))
    if len(rows) != revision - base + 1 or rows[0][2] is None:
        raise StoreCorrupt(
            f"Run '{run_id}': revision {revision} needs the log rows from {base} on, "
            f"{revision - base + 1} in number; {len(rows)} are there",
            run_id=run_id,
            revision=revision,
        )
    check_chain(run_id, base, rows)
    changes = [(base + at, change) for at, (change, *_) in enumerate(rows) if at]
    head = rebuilt_head(rows[0][0], changes, _ledger(read, run_id, number))
    deltas = [decode(delta) for _, delta, *_ in rows[1:] if delta is not None]
    text = rows[0][2].encode()
    return head, apply_delta(text, deltas) if deltas else text


def _ledger(read: Read, run_id: str, number: int) -> LedgerRows:
    return LedgerRows(run_id, lambda revision: records_at(read, run_id, number, revision))


def _run(
    read: Read, row: Row, head: dict[str, Any], vars: dict[str, Any], *, payloads: bool
) -> RunState:
    number, run_id = row[:2]
    kernel = head["checkpoint"]
    found: dict[str, Any] = {}
    steps = kernel.get("open_steps")
    if steps and payloads:
        rows = _ledger(read, run_id, number)
        for branch, step in steps.items():
            found[branch] = rows.effect(step["opened"], step["step_id"]).get("payload")
    fixed = dict(zip(_FIXED, row[1:7], strict=True))
    return run_from_head(fixed, head, vars, found, evidence=row[7])
