"""The stores that crash trials happen on, and how a new process opens each."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from abstractruntime import (
    HashChainedLedgerStore,
    InMemoryLedgerStore,
    InMemoryRunStore,
    JsonFileRunStore,
    JsonlLedgerStore,
    open_store,
)
from abstractruntime.core.models import RunState, RunStatus, StepRecord, WaitReason
from abstractruntime.storage.base import LedgerStore, RunStore, Store
from abstractruntime.storage.paired import PairedStore
from abstractruntime.testing.clock import VirtualClock
from abstractruntime.testing.crashes import Fuse
from tests.crashes.trial import Ground, on_one_store

ATOMIC = ("memory", "sqlite")
PAIRS = ("pair", "files", "plain", "forgetful", "minimal", "linked")
"""Pairs die between their two writes: of ours in memory and in files, of a user's own, of one that
drops checkpoints, of one whose ledger drops all that the api does not name, too, and of that with a
chain over it."""

RUN_VERBS = ("save", "load")
FILE_VERBS = ("save_marked", "load_marked")
LEDGER_VERBS = ("append", "append_many", "list")

API_FIELDS = tuple(field.name for field in fields(StepRecord))[:16]
"""What the api says a record has (up to `signature`): a user's ledger need not keep more."""


@contextmanager
def ground(kind: str, folder: Path, **options: Any) -> Iterator[Ground]:
    """A fresh place for trials."""
    if kind == "memory":
        yield on_one_store(open_store("memory://"), **options)
    elif kind == "sqlite":
        with open_store(f"sqlite:///{folder}/runs.db") as store:
            yield on_one_store(store, **options)
    elif kind == "pair":
        inner = InMemoryLedgerStore()
        yield _pair(InMemoryRunStore(), HashChainedLedgerStore(inner), inner, options)
    elif kind == "files":
        runs, ledger = JsonFileRunStore(folder / "runs"), JsonlLedgerStore(folder / "runs")
        yield _pair(runs, ledger, ledger, options)
    else:
        plain = PlainLedger(keeps=kind not in ("minimal", "linked"))
        ledger: LedgerStore = HashChainedLedgerStore(plain) if kind == "linked" else plain
        yield _pair(PlainRuns(keeps=kind == "plain"), ledger, plain, options)


def _pair(runs: RunStore, ledger: LedgerStore, inner: LedgerStore, options: Any) -> Ground:
    verbs = [verb for verb in LEDGER_VERBS if hasattr(inner, verb)]

    @contextmanager
    def process(fuse: Fuse, clock: VirtualClock) -> Iterator[Store]:
        unwire: list[Callable[[], None]] = [
            fuse.wire(runs, *(FILE_VERBS if isinstance(runs, JsonFileRunStore) else RUN_VERBS)),
            fuse.wire(inner, *verbs),
        ]
        try:
            yield PairedStore(runs, ledger, clock=clock.now_iso)
        finally:
            for undo in unwire:
                undo()

    return Ground(_Beneath(runs, ledger), process, **options)


class _Beneath(PairedStore):
    """The pair as somebody sees it who opens it anew at each question, and is never the one to die.

    It forgets what it knows, for the processes under trial write behind its back.
    """

    def __init__(self, runs: RunStore, ledger: LedgerStore) -> None:
        super().__init__(runs, ledger)
        self._pair = (runs, ledger)

    def list_records(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> list[dict[str, Any]]:
        return PairedStore(*self._pair).list_records(run_id, after=after, limit=limit)

    def load(self, run_id: str) -> Any:
        return PairedStore(*self._pair).load(run_id)

    def list_messages(self, run_id: str, *, name: str | None = None) -> Any:
        return PairedStore(*self._pair).list_messages(run_id, name=name)


class PlainRuns(RunStore):
    """A user's own store, with the api's methods only; `keeps` the checkpoint or drops it."""

    def __init__(self, *, keeps: bool) -> None:
        self._keeps = keeps
        self._runs: dict[str, bytes] = {}
        self._parents: dict[str | None, list[str]] = {}

    def save(self, run: RunState) -> None:
        if run.run_id not in self._runs:
            self._parents.setdefault(run.parent_run_id, []).append(run.run_id)
        kept = run if self._keeps else replace(run, checkpoint=None)
        self._runs[run.run_id] = pickle.dumps(kept)

    def load(self, run_id: str) -> RunState | None:
        found = self._runs.get(run_id)
        return None if found is None else pickle.loads(found)

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        found: list[RunState] = []
        for run in map(pickle.loads, reversed(self._runs.values())):
            if (
                status in (None, run.status)
                and workflow_id in (None, run.workflow_id)
                and wait_reason in (None, run.waiting.reason if run.waiting else "")
            ):
                found.append(run)
                if len(found) >= limit:
                    break
        return found

    def list_due_wait_until(self, *, now_iso: str, limit: int = 100) -> list[RunState]:
        waiting = self.list_runs(status=RunStatus.WAITING, limit=len(self._runs))
        due = [run for run in waiting if run.waiting is not None and run.waiting.until]
        return [run for run in due if str(run.waiting and run.waiting.until) <= now_iso][:limit]

    def list_children(
        self, *, parent_run_id: str, status: RunStatus | None = None
    ) -> list[RunState]:
        runs = [pickle.loads(self._runs[each]) for each in self._parents.get(parent_run_id, [])]
        return [run for run in runs if status in (None, run.status)]


class PlainLedger(LedgerStore):
    """A user's own ledger, one record at a time: a crash can come between any two."""

    def __init__(self, *, keeps: bool) -> None:
        self._keeps = keeps
        self._lines: dict[str, list[bytes]] = {}

    def append(self, record: StepRecord) -> None:
        line = asdict(record)
        if not self._keeps:
            line = {name: line[name] for name in API_FIELDS}
        self._lines.setdefault(record.run_id, []).append(pickle.dumps(line))

    def list(self, run_id: str) -> list[dict[str, Any]]:
        return [pickle.loads(line) for line in self._lines.get(run_id, [])]
