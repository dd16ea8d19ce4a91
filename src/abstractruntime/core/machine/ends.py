"""How a run ends, and how an ended one is opened again."""

from __future__ import annotations

from itertools import count
from typing import Any

from abstractruntime.core.canonical import decode
from abstractruntime.core.checkpoint import NO_TERMS
from abstractruntime.core.commit import Message
from abstractruntime.core.machine import budget
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.plan import Finish
from abstractruntime.core.machine.table import ENDED, Move
from abstractruntime.core.models import RunStatus
from abstractruntime.errors import NotReopenable


def complete(draft: Draft, finish: Finish, *, now: str, line_id: str) -> None:
    """The run's output is there. Its record is {"completed": true}, as the api says."""
    visit = draft.visit()
    draft.note("completed", line_id=line_id, now=now, visit=visit)
    record = draft.lines[-1].record
    record["result"] = {"completed": True}
    draft.run.output = decode(finish.text)
    draft.become(Move.COMPLETE)
    _end(draft, now=now, message_id=line_id)


def fail(draft: Draft, error: str, *, now: str, line_id: str) -> None:
    """The run fails with `error`; the record that says why is already in the draft."""
    draft.run.error = error
    draft.become(Move.FAIL)
    _end(draft, now=now, message_id=line_id)


def fail_node(
    draft: Draft, error: str, *, error_type: str, trace: list[str], now: str, line_id: str
) -> None:
    """The current node raised or planned the impossible: vars as before it, one FAILED record."""
    draft.restore()
    run = draft.run
    visit = draft.visit()
    draft.note(
        "node_failed", line_id=line_id, now=now, visit=visit, error_type=error_type, traceback=trace
    )
    record = draft.lines[-1].record
    record["status"] = "failed"
    record["error"] = error
    assert run.run_id == record["run_id"]
    fail(draft, error, now=now, line_id=line_id)


def fail_wait(draft: Draft, error: str, *, now: str, line_id: str) -> None:
    """The open wait can only fail (its child failed): a FAILED record of the step that waits."""
    opened = next(iter(draft.waits.values()))
    draft.note("wait_failed", line_id=line_id, now=now, visit=opened.visit)
    record = draft.lines[-1].record
    record.update(step_id=opened.step_id, node_id=opened.node_id, status="failed", error=error)
    fail(draft, error, now=now, line_id=line_id)


def overdue(draft: Draft, deadline: str, *, now: str, line_id: str) -> None:
    """The run has not ended by its deadline: it fails, whatever it was doing."""
    error = f"The run's deadline passed: {deadline}"
    steps = [step.step_id for step in draft.open_steps.values()]
    draft.note("overdue", line_id=line_id, now=now, deadline=deadline, open_steps=steps or None)
    record = draft.lines[-1].record
    record["status"] = "failed"
    record["error"] = error
    fail(draft, error, now=now, line_id=line_id)


def cancel(
    draft: Draft,
    *,
    reason: str | None,
    now: str,
    line_id: str,
    actor_id: str | None = None,
) -> bool:
    """Cancel a live run; False, changing nothing, when it has ended."""
    if draft.run.status in ENDED:
        return False
    steps = [step.step_id for step in draft.open_steps.values()]
    draft.note(
        "cancelled",
        line_id=line_id,
        now=now,
        actor_id=actor_id,
        reason=reason,
        open_steps=steps or None,
    )
    draft.run.error = reason or "Cancelled"
    draft.become(Move.CANCEL)
    _end(draft, now=now, message_id=line_id)
    draft.driver = None
    return True


def reopen(
    draft: Draft, *, actor_id: str | None, reason: str | None, now: str, line_id: str
) -> None:
    """A failed run is RUNNING again at the node where it failed."""
    run = draft.run
    if run.status is not RunStatus.FAILED:
        raise NotReopenable(
            f"Run '{run.run_id}' is {run.status.value}, not failed", run_id=run.run_id
        )
    draft.note(
        "reopened", line_id=line_id, now=now, actor_id=actor_id, reason=reason, error=run.error
    )
    draft.become(Move.REOPEN)
    run.error = None


def _end(draft: Draft, *, now: str, message_id: str) -> None:
    draft.close_all()
    run = draft.run
    if draft.terms is not NO_TERMS:
        numbers = count(1)
        budget.release(draft, ids=lambda: f"{message_id}:{next(numbers)}", now=now)
    if draft.reports_to is None or run.parent_run_id is None:
        return
    payload: dict[str, Any] = {
        "sub_run_id": run.run_id,
        "workflow_id": run.workflow_id,
        "status": run.status.value,
        "output": run.output,
        "error": run.error,
    }
    draft.sent.append(
        Message(
            message_id=message_id,
            run_id=run.parent_run_id,
            name=draft.reports_to,
            payload=payload,
            sent_at=now,
            sent_by=run.run_id,
            dedupe_key=f"{run.run_id}:{draft.generation}:{draft.revision + 1}",
        )
    )
