"""pause and unpause: hold a run where it stands, and let it go on."""

from __future__ import annotations

from abstractruntime.core.machine import pause as machine
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.models import RunState
from abstractruntime.engine.operations.change import change
from abstractruntime.engine.requests import Flow
from abstractruntime.engine.settings import Settings


def pause(
    settings: Settings, run_id: str, *, reason: str | None, actor_id: str | None
) -> Flow[RunState]:
    """The run, paused: its driver lets go of it after the attempt under way. Durable.

    Raises UnknownRun, RunEnded.
    """

    def edit(draft: Draft) -> bool:
        return machine.pause(
            draft,
            reason=reason,
            now=settings.now(),
            line_id=settings.new_id(),
            actor_id=actor_id,
        )

    return (yield from change(settings, run_id, edit)).run


def unpause(
    settings: Settings, run_id: str, *, reason: str | None, actor_id: str | None
) -> Flow[RunState]:
    """The run, moved again by whoever moved it: a parked one by its host. Durable. UnknownRun."""

    def edit(draft: Draft) -> bool:
        return machine.unpause(
            draft,
            reason=reason,
            now=settings.now(),
            line_id=settings.new_id(),
            actor_id=actor_id,
        )

    return (yield from change(settings, run_id, edit)).run
