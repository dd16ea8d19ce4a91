"""A relational store as the api's two stores; what the general views do not know stands here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from abstractruntime.core.models import RunState, StepRecord
from abstractruntime.errors import RevisionConflict, UnknownRun
from abstractruntime.storage.views import StoreRecords, StoreRuns

if TYPE_CHECKING:
    from abstractruntime.storage.relational.store import RelationalStore


class RunView(StoreRuns):
    """The runs of a relational store."""

    store: RelationalStore

    def list_due_wait_until(self, *, now_iso: str, limit: int = 100) -> list[RunState]:
        """Waiting runs whose `until` is at or before `now_iso`, earliest first; InvalidTime."""
        return self.store.list_waiting_until(now_iso, limit=limit)


class LedgerView(StoreRecords):
    """The ledgers of a relational store; also of runs whose state is kept elsewhere."""

    store: RelationalStore

    def append(self, record: StepRecord) -> None:
        """Add one record: by a commit of its own if the run is here, else to a ledger alone."""
        while True:
            try:
                super().append(record)
            except UnknownRun:
                try:
                    self.store.keep_stray(record)
                except RevisionConflict:
                    continue  # the run was created in between
            return
