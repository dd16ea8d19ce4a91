"""How a run ends, and how an ended one is opened again."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

from abstractruntime.core.canonical import decode
from abstractruntime.core.checkpoint import NO_TERMS
from abstractruntime.core.commit import Message
from abstractruntime.core.machine import budget, ending
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.plan import Finish
from abstractruntime.core.machine.table import ENDED, Move
from abstractruntime.core.models import RunStatus
from abstractruntime.errors import NotReopenable


def complete(draft: Draft, finish: Finish, *, now: str, line_id: str) -> None:
    """The run's output is there. Its record is {"completed": true}, as the api says.

    With children to close it is RUNNING until they are.
    """
    if draft.terms is not NO_TERMS and ending.begin(draft, "completed", now=now, line_id=line_id):
        draft.run.output = decode(finish.text)
        return
    _complete(draft, decode(finish.text), now=now, line_id=line_id)


def _complete(draft: Draft, output: dict[str, Any] | None, *, now: str, line_id: str) -> None:
    visit = draft.visit()
    draft.note("completed", line_id=line_id, now=now, visit=visit)
    record = draft.lines[-1].record
    record["result"] = {"completed": True}
    draft.run.output = output
    draft.become(Move.COMPLETE)
    _end(draft, now=now, message_id=line_id)


def fail(draft: Draft, error: str, *, now: str, line_id: str) -> None:
    """The run fails with `error`; the record that says why is already in the draft.

    With undos registered or children to close it is RUNNING until they are done.
    """
    if draft.terms is not NO_TERMS and ending.begin(
        draft, "failed", now=now, line_id=line_id, error=error
    ):
        return
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
    said = draft.terms.ending or {}
    steps = said.get("open_steps", []) + [step.step_id for step in draft.open_steps.values()]
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


def finish(draft: Draft, *, now: str, line_id: str) -> None:
    """All that was left to do is done: the run ends as it was to."""
    said = draft.terms.ending or {}
    if said["as"] == "cancelled":
        cancel(
            draft, reason=said.get("reason"), actor_id=said.get("actor"), now=now, line_id=line_id
        )
    elif said["as"] == "completed":
        _complete(draft, draft.run.output, now=now, line_id=line_id)
    else:
        draft.note("ended", line_id=line_id, now=now, end=said["as"])
        draft.run.error = said.get("error")
        draft.become(Move.FAIL)
        _end(draft, now=now, message_id=line_id)


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
    if draft.terms.deadline is not None and draft.terms.deadline <= now:
        # Whoever reopens a run that was late gives it the time it needs.
        draft.terms = replace(draft.terms, deadline=None)


def _end(draft: Draft, *, now: str, message_id: str) -> None:
    draft.close_all()
    draft.terms = ending.over(draft.terms)
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
