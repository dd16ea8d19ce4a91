"""An atomic store as the api's two stores: saving a run and appending a record become commits.

`store` is the store behind a view; by it two views are known to belong together.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable
from typing import Any

from abstractruntime.core import times
from abstractruntime.core._defaults import new_id
from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.commit import Entry, Loaded
from abstractruntime.core.machine.assemble import assemble
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.edit import edit_commit
from abstractruntime.core.machine.seal import sealer_for
from abstractruntime.core.models import (
    RunState,
    RunStatus,
    StepRecord,
    WaitReason,
    record_to_dict,
    utc_now,
)
from abstractruntime.errors import RevisionConflict, UnknownRun
from abstractruntime.storage.base import LedgerStore, RunStore, Store


def new_salt() -> bytes:
    """What makes the commitment of one record's values unguessable."""
    return os.urandom(16)


class StoreRuns(RunStore):
    """The runs of `store`; `save` is an edit, journaled and refused when the object is stale."""

    def __init__(self, store: Store, *, clock: Callable[[], str] = utc_now) -> None:
        self.store = store
        self._clock = clock

    def save(self, run: RunState) -> None:
        """Make the stored run look like `run`; durable on return.

        RevisionConflict when `run` carries another revision than the stored one; without a
        revision it overwrites. An object that carried one carries the new one afterwards.
        """
        carried = None if run.checkpoint is None else Checkpoint.coerce(run.checkpoint).revision
        while True:
            stored = self.store.load(run.run_id)
            if carried and stored is not None:
                _refuse_stale(run.run_id, carried, stored)
            commit = edit_commit(
                stored,
                run,
                records=lambda: self.store.list_records(run.run_id),
                now=self._clock(),
                new_id=new_id,
                salt=new_salt,
                chain=self.store.hash_chain,
            )
            if commit is None:
                return
            try:
                self.store.commit(commit)
            except RevisionConflict:
                if carried:
                    raise
                continue  # overwrites: on whatever is there now
            if carried:
                run.checkpoint = commit.checkpoint
            return

    def load(self, run_id: str) -> RunState | None:
        """The run as last committed; None when unknown."""
        loaded = self.store.load(run_id)
        return None if loaded is None else loaded.run

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        """Runs that match all given, newest updated_at first."""
        return self.store.list_runs(
            status=status, wait_reason=wait_reason, workflow_id=workflow_id, limit=limit
        )

    def list_due_wait_until(self, *, now_iso: str, limit: int = 100) -> list[RunState]:
        """Waiting runs whose `until` is at or before `now_iso`, earliest first; InvalidTime."""
        now = times.normal(now_iso, what="now_iso")
        due: list[RunState] = []
        # Runs between two attempts are due too, but do not wait: the limit counts after them.
        for run_id in self.store.list_due(now, limit=1_000_000):
            if len(due) >= limit:
                break
            run = self.load(run_id)
            if run is not None and run.waiting is not None and run.waiting.until is not None:
                due.append(run)
        return due

    def list_children(
        self, *, parent_run_id: str, status: RunStatus | None = None
    ) -> list[RunState]:
        """Runs started by `parent_run_id`, oldest first."""
        return self.store.list_children(parent_run_id=parent_run_id, status=status)


class StoreRecords(LedgerStore):
    """The ledgers of `store`."""

    keeps_every_field = True

    def __init__(self, store: Store, *, clock: Callable[[], str] = utc_now) -> None:
        self.store = store
        self._clock = clock

    def append(self, record: StepRecord) -> None:
        """Add one record by a commit of its own, sealed as all are; UnknownRun."""
        while True:
            loaded = self.store.load(record.run_id)
            if loaded is None:
                raise UnknownRun(f"Unknown run_id: {record.run_id}", run_id=record.run_id)
            draft = Draft(loaded)
            draft.lines.append(Entry(record_to_dict(record)))
            sealer = sealer_for(self.store.hash_chain, new_salt)
            try:
                self.store.commit(assemble(draft, sealer, now=self._clock()))
            except RevisionConflict:
                continue  # an appended record depends on no state: it goes after what is there now
            return

    def list(self, run_id: str) -> builtins.list[dict[str, Any]]:
        """All records of a run in order; empty when unknown."""
        return self.store.list_records(run_id)


def _refuse_stale(run_id: str, carried: int, stored: Loaded) -> None:
    assert stored.run.checkpoint is not None
    found = stored.run.checkpoint.revision
    if carried != found:
        raise RevisionConflict(
            f"Run '{run_id}' is at revision {found}, the object to save is of {carried}",
            run_id=run_id,
            expected=carried,
            found=found,
        )
