"""resolve: somebody's word on a step whose outcome nobody knew."""

from __future__ import annotations

from abstractruntime.core.machine import ends, join, step, undo
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.engine.operations.change import change
from abstractruntime.engine.outcome import EffectOutcome
from abstractruntime.engine.requests import Flow
from abstractruntime.engine.settings import Settings
from abstractruntime.errors import InvalidInput

WORDS = ("retry", "fail")


def resolve(
    settings: Settings,
    run_id: str,
    *,
    outcome: EffectOutcome | str,
    actor_id: str | None,
    reason: str | None,
    step_id: str | None = None,
) -> Flow[RunState]:
    """The run, RUNNING after the step, at it again, or FAILED. Durable at either level.

    Raises UnknownRun, NotWaiting when no outcome is unknown, NotJson, RevisionConflict when
    somebody else was first, InvalidInput for another word.
    """
    word, result, error = _said(outcome)

    def edit(draft: Draft) -> bool:
        open_step = step.believe(draft, step_id)
        now = settings.now()
        draft.note(
            "resolved",
            line_id=settings.new_id(),
            now=now,
            actor_id=actor_id,
            resolved_step=open_step.step_id,
            outcome=word,
            reason=reason,
        )
        if word == "completed":
            step.complete(draft, open_step, result, now=now)
        elif word == "retry":
            step.try_again(draft, open_step, now=now)
        else:
            if draft.terms.undos and not undo.is_undo(open_step):
                undo.not_performed(draft, open_step, now=now, line_id=settings.new_id())
            step.fail_attempt(draft, open_step, error, now=now, next_at=None)
            text = f"Effect failed after {open_step.attempt} attempts: {error}"
            if open_step.joins:
                join.fail(draft, open_step.branch, error)
            else:
                ends.fail(draft, text, now=now, line_id=settings.new_id())
        if draft.join is not None:
            join.settle(draft, now=now, ids=settings.new_id)
        if draft.run.status is RunStatus.RUNNING:
            # Whoever waited for the word goes on by a clock's hand, as after a timer.
            draft.queued_at = now
        draft.urgent = True
        return True

    return (yield from change(settings, run_id, edit, again=False)).run


def _said(outcome: EffectOutcome | str) -> tuple[str, object, str]:
    if isinstance(outcome, EffectOutcome) and outcome.status == "completed":
        return "completed", outcome.result, ""
    if isinstance(outcome, EffectOutcome) and outcome.status == "failed":
        return "fail", None, outcome.error or "resolved as failed"
    if outcome in WORDS:
        return str(outcome), None, "resolved as failed"
    raise InvalidInput(
        f"An outcome is resolved as completed(result), 'retry' or 'fail', not as {outcome!r}"
    )
