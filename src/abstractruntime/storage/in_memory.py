"""Runs and ledgers in this process's memory, for tests and for programs that need no more.

What is stored and what is handed out share nothing: both pass through JSON, as in every store.
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from abstractruntime.core.canonical import decode
from abstractruntime.core.models import (
    RunState,
    RunStatus,
    StepRecord,
    WaitReason,
    record_to_dict,
    run_from_dict,
)
from abstractruntime.storage.base import LedgerStore, RunStore
from abstractruntime.storage.memory_mail import MemoryLines
from abstractruntime.storage.plain_runs import (
    Row,
    select_children,
    select_due,
    select_runs,
    to_save,
    took,
    whole,
)


class InMemoryRunStore(RunStore):
    """Runs in memory, listable. Any thread may call; nothing outlives the process."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._lock = threading.Lock()
        self.mail = MemoryLines()

    def save(self, run: RunState) -> None:
        """Store a copy of `run`; NotJson, RevisionConflict when it is older than what is stored."""
        with self._lock:
            row = self._rows.get(run.run_id)
            data, checkpoint = to_save(
                run,
                lambda: decode(self._rows[run.run_id].data)["checkpoint"],
                found=None if row is None else row.revision,
            )
            self._rows[run.run_id] = Row.of(data, whole(data))
            took(run, checkpoint)

    def load(self, run_id: str) -> RunState | None:
        """A copy of the run as last saved; None when unknown."""
        with self._lock:
            row = self._rows.get(run_id)
        return None if row is None else _run(row)

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        """Copies of the runs that match all given, newest updated_at first."""
        found = select_runs(
            self._all(),
            status=status,
            wait_reason=wait_reason,
            workflow_id=workflow_id,
            limit=limit,
        )
        return [_run(row) for row in found]

    def list_due_wait_until(self, *, now_iso: str, limit: int = 100) -> list[RunState]:
        """Copies of waiting runs whose `until` is at or before `now_iso`, earliest first."""
        return [_run(row) for row in select_due(self._all(), now_iso=now_iso, limit=limit)]

    def list_children(
        self, *, parent_run_id: str, status: RunStatus | None = None
    ) -> list[RunState]:
        """Copies of the runs started by `parent_run_id`, oldest first."""
        found = select_children(self._all(), parent_run_id=parent_run_id, status=status)
        return [_run(row) for row in found]

    def _all(self) -> Iterable[Row]:
        with self._lock:
            return list(self._rows.values())


def _run(row: Row) -> RunState:
    return run_from_dict(decode(row.data))


class InMemoryLedgerStore(LedgerStore):
    """Ledgers in memory. Any thread may call; nothing outlives the process."""

    keeps_every_field = True

    def __init__(self) -> None:
        self._lines: dict[str, builtins.list[bytes]] = {}
        self._lock = threading.RLock()

    def append(self, record: StepRecord) -> None:
        """Add a copy of the record at the end of its run's ledger; NotJson."""
        self.append_many([record])

    def append_many(self, records: Sequence[StepRecord]) -> None:
        """Add copies of all records, in order, or of none; NotJson."""
        lines = [(record.run_id, whole(record_to_dict(record))) for record in records]
        with self._lock:
            for run_id, line in lines:
                self._lines.setdefault(run_id, []).append(line)

    def list(self, run_id: str) -> builtins.list[dict[str, Any]]:
        """Copies of all records of a run, in order; empty when unknown."""
        with self._lock:
            lines = builtins.list(self._lines.get(run_id, ()))
        return [decode(line) for line in lines]

    def last(self, run_id: str) -> dict[str, Any] | None:
        """A copy of the run's last record, without reading the others; None when it has none."""
        with self._lock:
            lines = self._lines.get(run_id)
            line = lines[-1] if lines else None
        return None if line is None else decode(line)

    def mark(self, run_id: str) -> int:
        """Another number whenever somebody has appended to the run's ledger."""
        with self._lock:
            return len(self._lines.get(run_id, ()))

    @contextmanager
    def exclusive(self, run_id: str) -> Iterator[None]:
        """While entered, no other thread appends."""
        with self._lock:
            yield
