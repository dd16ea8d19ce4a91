"""A run that is about to end: what is left to do first, and what it will have been. Until then it
is RUNNING in a phase that `Terms.phase` names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from abstractruntime.core.checkpoint import NO_TERMS, Terms
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.table import Move
from abstractruntime.core.machine.undo import UNDO
from abstractruntime.core.models import RunStatus


def ask(
    draft: Draft,
    *,
    reason: str | None,
    now: str,
    line_id: str,
    actor_id: str | None = None,
    tree: bool = False,
) -> bool:
    """Somebody wants a live run cancelled: it will be, by its driver where it has one.

    False, changing nothing, when it ends already, or its tree is to end too already.
    """
    known = draft.terms.ending
    if known is not None and (known.get("tree") or not tree):
        return False
    draft.note(
        "cancel_requested",
        line_id=line_id,
        now=now,
        actor_id=actor_id,
        reason=reason,
        tree=tree or None,
        requested_by=actor_id,
    )
    if known is None:
        known = _said("cancelled", now, actor=actor_id, reason=reason)
    elif known["as"] == "completed":
        known = {**known, "actor": actor_id, "reason": reason}
    said = {**known, "tree": True} if tree else known
    draft.terms = replace(draft.terms, ending=said, paused=None, deadline=None)
    return True


def begin(draft: Draft, end: str, *, now: str, line_id: str, error: str | None = None) -> bool:
    """The run would end so. False: it may at once; else it ends when what is left is done."""
    terms = draft.terms
    if terms.ending is None:
        left_over = terms.closes or terms.losing
        if not left_over and (not terms.undos or end == "completed"):
            return False
        draft.note("ending", line_id=line_id, now=now, error=error, end=end)
        draft.terms = replace(terms, ending=_said(end, now, error=error), deadline=None)
    leave(draft, now=now)
    return True


def leave(draft: Draft, *, now: str) -> None:
    """Give up what the run did or waited for before it began to end; schedulers move it on."""
    kept = {branch: s for branch, s in draft.open_steps.items() if branch.startswith(UNDO)}
    gone = [s.step_id for branch, s in draft.open_steps.items() if branch not in kept]
    if gone:
        said = draft.terms.ending or {}
        known = [*said.get("open_steps", ()), *gone]
        draft.terms = replace(draft.terms, ending={**said, "open_steps": known})
    if any(step.unknown is not None for step in kept.values()):
        return
    if kept and not gone and draft.run.status is RunStatus.RUNNING:
        return
    draft.close_all()
    draft.open_steps = kept
    if draft.run.status is RunStatus.WAITING:
        draft.become(Move.ANSWER)
    draft.queued_at = now


def left(draft: Draft) -> bool:
    """Whether a run that is to end has given up what it did before: only undos are open, if any."""
    if any(not branch.startswith(UNDO) for branch in draft.open_steps):
        return False
    waits = draft.run.status is RunStatus.WAITING
    return not waits or any(step.unknown is not None for step in draft.open_steps.values())


def over(terms: Terms) -> Terms:
    """The terms of a run that has ended."""
    if terms is NO_TERMS:
        return terms
    return replace(terms, undos=None, ending=None, closes=None, losing=None)


def busy(draft: Draft) -> bool:
    """Whether there is more to undo before the run ends, with its workflow at hand."""
    said = draft.terms.ending
    undoes = bool(draft.terms.undos) and (said is None or said["as"] != "completed")
    return undoes or any(branch.startswith(UNDO) for branch in draft.open_steps)


def _said(end: str, now: str, **more: Any) -> dict[str, Any]:
    said = {"as": end, "at": now, **more}
    return {name: value for name, value in said.items() if value is not None}
