"""What a store holds that refers to a run which is not there, and runs that wait for such a one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState
from abstractruntime.engine.children import wait_key_of
from abstractruntime.storage.base import Store
from abstractruntime.storage.leftovers import Leftover

MANY = 1_000_000_000
_CHILD = wait_key_of("")


def orphans(store: Store, runs: Mapping[str, RunState]) -> Iterator[Leftover]:
    """`runs` are all of the store's, by id."""
    yield from _of_families(runs)
    if store.artifact_store is not None:
        for artifact in store.artifact_store.list_all(limit=MANY):
            owners = store.artifact_store.owners(artifact.artifact_id)
            if owners and not any(owner is None or owner in runs for owner in owners):
                gone = ", ".join(sorted(owner for owner in owners if owner))
                yield Leftover("artifact", artifact.artifact_id, f"its runs are gone: {gone}")
    if store.snapshot_store is not None:
        for snapshot in store.snapshot_store.list(limit=MANY):
            if snapshot.run_id not in runs:
                why = f"its run {snapshot.run_id} is gone; it can still be restored"
                yield Leftover("snapshot", snapshot.snapshot_id, why)


def _of_families(runs: Mapping[str, RunState]) -> Iterator[Leftover]:
    for run in runs.values():
        parent = run.parent_run_id
        if parent is not None and parent not in runs:
            yield Leftover("child", run.run_id, f"its parent {parent} is gone")
        waits_for = None if run.waiting is None else run.waiting.wait_key
        if run.status in ENDED or waits_for is None or not waits_for.startswith(_CHILD):
            continue
        child = waits_for.removeprefix(_CHILD)
        if child not in runs:
            yield Leftover("parent", run.run_id, f"it waits for the child {child}, which is gone")
