"""A pause over whatever a run is doing: nobody moves it until it is unpaused. Its waits, timers and
messages stand."""

from __future__ import annotations

from dataclasses import replace

from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.table import ENDED
from abstractruntime.errors import RunEnded, RunPaused


def pause(
    draft: Draft,
    *,
    reason: str | None,
    now: str,
    line_id: str,
    cause: str = "asked",
    actor_id: str | None = None,
) -> bool:
    """Pause a live run; False, changing nothing, when it is paused. RunEnded: it has ended."""
    run = draft.run
    if run.status in ENDED:
        raise RunEnded(f"Run '{run.run_id}' is {run.status.value}", run_id=run.run_id)
    if draft.terms.paused is not None:
        return False
    said = {"at": now, "cause": cause, "reason": reason, "actor": actor_id}
    draft.terms = replace(
        draft.terms, paused={name: value for name, value in said.items() if value is not None}
    )
    draft.note("paused", line_id=line_id, now=now, actor_id=actor_id, reason=reason, cause=cause)
    return True


def unpause(
    draft: Draft, *, reason: str | None, now: str, line_id: str, actor_id: str | None = None
) -> bool:
    """Let the run be moved again; False, changing nothing, when it is not paused."""
    paused = draft.terms.paused
    if paused is None:
        return False
    draft.terms = replace(draft.terms, paused=None)
    draft.note(
        "unpaused",
        line_id=line_id,
        now=now,
        actor_id=actor_id,
        reason=reason,
        paused_at=paused["at"],
    )
    return True


def refuse_if_paused(draft: Draft) -> None:
    """RunPaused while the run is."""
    paused = draft.terms.paused
    if paused is not None:
        run_id = draft.run.run_id
        raise RunPaused(
            f"Run '{run_id}' is paused since {paused['at']}: {paused.get('reason') or 'no reason'}",
            run_id=run_id,
        )
