"""The smallest stores a program may bring: the api's methods, the api's fields, nothing more."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

from abstractruntime.core.models import (
    RunState,
    RunStatus,
    StepRecord,
    WaitReason,
    WaitState,
)
from abstractruntime.storage.base import LedgerStore, RunStore

RUN_FIELDS = (
    "run_id",
    "workflow_id",
    "status",
    "current_node",
    "vars",
    "waiting",
    "output",
    "error",
    "created_at",
    "updated_at",
    "actor_id",
    "session_id",
    "parent_run_id",
)
RECORD_FIELDS = (
    "run_id",
    "step_id",
    "node_id",
    "status",
    "effect",
    "result",
    "error",
    "started_at",
    "ended_at",
    "actor_id",
    "session_id",
    "attempt",
    "idempotency_key",
    "prev_hash",
    "record_hash",
    "signature",
)


class DictRuns(RunStore):
    """Keeps known fields only, so drops the checkpoint."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def save(self, run: RunState) -> None:
        self.rows[run.run_id] = {name: getattr(run, name) for name in RUN_FIELDS}

    def load(self, run_id: str) -> RunState | None:
        row = self.rows.get(run_id)
        return None if row is None else RunState(**row)


class ObjectRuns(RunStore):
    """Keeps the very object it is given, and gives it back."""

    def __init__(self) -> None:
        self.rows: dict[str, RunState] = {}

    def save(self, run: RunState) -> None:
        self.rows[run.run_id] = run

    def load(self, run_id: str) -> RunState | None:
        return self.rows.get(run_id)


class AsdictRuns(RunStore):
    """Keeps all fields as plain objects, so gives the checkpoint back as a dict. Listable."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def save(self, run: RunState) -> None:
        self.rows[run.run_id] = copy.deepcopy(asdict(run))

    def load(self, run_id: str) -> RunState | None:
        row = copy.deepcopy(self.rows.get(run_id))
        if row is None:
            return None
        if row["waiting"] is not None:
            row["waiting"] = WaitState(**row["waiting"])
        return RunState(**row)

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        runs = [
            run
            for run in self._all()
            if status in (None, run.status)
            and wait_reason in (None, run.waiting.reason if run.waiting else "none")
            and workflow_id in (None, run.workflow_id)
        ]
        return sorted(runs, key=lambda run: run.updated_at, reverse=True)[:limit]

    def list_due_wait_until(self, *, now_iso: str, limit: int = 100) -> list[RunState]:
        due = [
            (run.waiting.until, run)
            for run in self._all()
            if run.waiting is not None and run.waiting.until and run.waiting.until <= now_iso
        ]
        return [run for _, run in sorted(due, key=lambda pair: pair[0])][:limit]

    def list_children(
        self, *, parent_run_id: str, status: RunStatus | None = None
    ) -> list[RunState]:
        children = [run for run in self._all() if run.parent_run_id == parent_run_id]
        children.sort(key=lambda run: run.created_at)
        return [run for run in children if status in (None, run.status)]

    def _all(self) -> list[RunState]:
        return [run for run_id in self.rows if (run := self.load(run_id)) is not None]


class DictLedger(LedgerStore):
    """Keeps the api's fields of a record, so drops its revision."""

    def __init__(self) -> None:
        self.lines: dict[str, list[dict[str, Any]]] = {}

    def append(self, record: StepRecord) -> None:
        line = {name: getattr(record, name) for name in RECORD_FIELDS}
        line["status"] = record.status.value
        self.lines.setdefault(record.run_id, []).append(line)

    def list(self, run_id: str) -> list[dict[str, Any]]:
        return self.lines.get(run_id, [])


class AsdictLedger(DictLedger):
    """Keeps every field of a record."""

    def append(self, record: StepRecord) -> None:
        line = {**asdict(record), "status": record.status.value}
        self.lines.setdefault(record.run_id, []).append(line)
