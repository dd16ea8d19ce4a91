"""Who may move a run now: each live run is exactly one of waiting, timed, driven, queued, parked or
recoverable; an ended one is none of them."""

from __future__ import annotations

from collections.abc import Callable

from abstractruntime.core.checkpoint import Checkpoint, Driver
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.engine.liveness import is_live

STANDINGS = ("waiting", "timed", "driven", "queued", "parked", "recoverable", "ended")


def standing_of(run: RunState, *, live: Callable[[Driver], bool] = is_live) -> str:
    """One of STANDINGS; `live` says whether a driver may still be at work."""
    if run.status in ENDED:
        return "ended"
    at = run.checkpoint or Checkpoint()
    if at.driver is not None:
        return "driven" if live(at.driver) else "recoverable"
    if run.status is RunStatus.WAITING:
        return "timed" if _has_time(run, at) else "waiting"
    if any(step.wake_at is not None for step in at.open_steps.values()):
        return "timed"
    return "queued" if at.queued_at is not None else "parked"


def _has_time(run: RunState, at: Checkpoint) -> bool:
    """Whether a clock ends the wait, or that of one of the run's branches."""
    if run.waiting is not None and run.waiting.until:
        return True
    steps = any(step.wake_at is not None for step in at.open_steps.values())
    return steps or any((wait.wait or {}).get("until") for wait in at.waits.values())
