"""The questions about many runs, asked of a user's run store: by listing where it has no better."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

from abstractruntime.core import times
from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.delta import Encoding
from abstractruntime.core.models import RunState, RunStatus, WaitReason, run_from_dict
from abstractruntime.errors import InvalidTime, UnsupportedByStore
from abstractruntime.storage.base import QueryableRunStore, RunStore
from abstractruntime.storage.json_files import JsonFileRunStore
from abstractruntime.storage.paired_known import copy_of

METHODS = ("list_runs", "list_due_wait_until", "list_children")
EVERY = 1_000_000


class Listing:
    """The runs of a run store. `checkpoint_of` gives the checkpoint of one that was listed."""

    def __init__(
        self, runs: RunStore, checkpoint_of: Callable[[RunState], Checkpoint | None]
    ) -> None:
        self._runs = runs
        self._checkpoint_of = checkpoint_of
        self._index = (lambda: runs.index) if isinstance(runs, JsonFileRunStore) else None
        self.missing = [name for name in METHODS if not callable(getattr(runs, name, None))]

    def _queryable(self) -> QueryableRunStore:
        if self.missing:
            raise UnsupportedByStore(
                f"{type(self._runs).__name__} cannot list runs: "
                f"it has no {', no '.join(self.missing)}",
                fix="add the methods of QueryableRunStore to it",
                missing=self.missing,
            )
        return cast("QueryableRunStore", self._runs)

    def runs(
        self,
        *,
        status: RunStatus | None,
        wait_reason: WaitReason | None,
        workflow_id: str | None,
        limit: int,
    ) -> list[RunState]:
        """Runs that match all given, newest updated_at first."""
        found = self._queryable().list_runs(
            status=status, wait_reason=wait_reason, workflow_id=workflow_id, limit=limit
        )
        return [self._copied(raw) for raw in found]

    def children(self, parent_run_id: str, status: RunStatus | None) -> list[RunState]:
        """Runs that the parent started, oldest first."""
        found = self._queryable().list_children(parent_run_id=parent_run_id, status=status)
        return [self._copied(raw) for raw in found]

    def due(self, now_iso: str, limit: int) -> list[str]:
        """Ids of live runs whose wake time is there, earliest first; InvalidTime."""
        now = times.normal(now_iso, what="now_iso")
        if self._index is not None:
            return self._index().due(now, max(limit, 0))
        due = sorted({(wake, run_id) for wake, run_id in self._wakes() if wake <= now})
        return [run_id for _, run_id in due[: max(limit, 0)]]

    def next_wake(self) -> str | None:
        """The earliest wake time of a live run."""
        if self._index is not None:
            return self._index().next_wake()
        return min((wake for wake, _ in self._wakes()), default=None)

    def waiting_for_children(self) -> list[str]:
        """Ids of runs that wait for a child; where there is an index, for one that has ended."""
        if self._index is not None:
            return self._index().answered()
        return [
            raw.run_id
            for raw in self._listed(RunStatus.WAITING)
            if raw.waiting is not None and raw.waiting.reason is WaitReason.SUBWORKFLOW
        ]

    def driven(self, limit: int) -> list[RunState]:
        """Live runs whose checkpoint names a driver, vars left empty."""
        found: list[RunState] = []
        for raw in self._live() if self._index is None else self._index_driven(limit):
            checkpoint = self._checkpoint_of(raw)
            if checkpoint is not None and checkpoint.driver is not None:
                found.append(copy_of(replace(raw, vars={}), {}, checkpoint))
        return found[: max(limit, 0)]

    def _index_driven(self, limit: int) -> Iterator[RunState]:
        assert self._index is not None
        yield from map(run_from_dict, self._index().driven(max(limit, 0)))

    def _copied(self, raw: RunState) -> RunState:
        return copy_of(raw, Encoding.of(raw.vars)[1], self._checkpoint_of(raw))

    def _wakes(self) -> Iterator[tuple[str, str]]:
        # list_due_wait_until is not enough: it knows nothing of retries, queues and time limits of
        # other waits. All live runs are looked at; whoever has very many uses an atomic store.
        for raw in self._live():
            until = None if raw.waiting is None else raw.waiting.until
            checkpoint = self._checkpoint_of(raw) or Checkpoint()
            try:
                wake = checkpoint.wake_at(None if until is None else times.normal(until))
            except InvalidTime:
                wake = checkpoint.wake_at(None)  # a host's `until` that is no time is never due
            if wake is not None:
                yield wake, raw.run_id

    def _live(self) -> Iterator[RunState]:
        yield from self._listed(RunStatus.WAITING)
        yield from self._listed(RunStatus.RUNNING)

    def _listed(self, status: RunStatus) -> list[RunState]:
        return self._queryable().list_runs(status=status, limit=EVERY)
