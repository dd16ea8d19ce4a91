"""Edits of a run from outside its flow: changed vars, and a snapshot put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.edit import apply_edit, start_generation
from abstractruntime.core.models import RunState, run_from_dict
from abstractruntime.engine.liveness import is_live
from abstractruntime.engine.operations.change import change
from abstractruntime.engine.requests import Flow, Read
from abstractruntime.engine.settings import Settings
from abstractruntime.errors import RunBusy


def edit_vars(
    settings: Settings, run_id: str, edit: Callable[[dict[str, Any]], None]
) -> Flow[RunState]:
    """Let `edit` change the run's vars; journaled as an edit. Raises UnknownRun, NotJson."""

    def apply(draft: Draft) -> bool:
        before = draft.encoding.text()
        edit(draft.run.vars)
        draft.absorb()
        if draft.encoding.text() == before:
            return False
        draft.note("edited", line_id=settings.new_id(), now=settings.now(), changed=["vars"])
        return True

    return (yield from change(settings, run_id, apply)).run


def restore(
    settings: Settings, run_id: str, state: dict[str, Any], *, snapshot_id: str, fresh: bool
) -> Flow[RunState]:
    """Put the run back to the snapshot's state, as a host's edit; `fresh`: a new generation, in
    which every effect is performed anew. Raises UnknownRun, RunBusy."""
    wanted = run_from_dict(state)

    def apply(draft: Draft) -> Flow[bool]:
        driver = draft.driver
        if driver is not None and is_live(driver):
            raise RunBusy(f"Run '{run_id}' is being moved by process {driver.pid}", run_id=run_id)
        records = yield Read(lambda store: store.list_records(run_id))
        now, line_id = settings.now(), settings.new_id()
        apply_edit(draft, wanted, records=lambda: records, now=now, line_id=line_id)
        if fresh:
            start_generation(draft)
        draft.note(
            "restored", line_id=settings.new_id(), now=now, snapshot_id=snapshot_id, fresh=fresh
        )
        return True

    return (yield from change(settings, run_id, apply)).run
