"""reopen: a failed run is RUNNING again where it failed; its host or a scheduler goes on."""

from __future__ import annotations

from abstractruntime.core.machine import ends
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.models import RunState
from abstractruntime.engine.operations.change import change
from abstractruntime.engine.requests import Flow
from abstractruntime.engine.settings import Settings


def reopen(
    settings: Settings, run_id: str, *, actor_id: str | None, reason: str | None
) -> Flow[RunState]:
    """The run, RUNNING. Durable. Raises UnknownRun, NotReopenable."""

    def edit(draft: Draft) -> bool:
        ends.reopen(
            draft,
            actor_id=actor_id,
            reason=reason,
            now=settings.now(),
            line_id=settings.new_id(),
        )
        return True

    return (yield from change(settings, run_id, edit)).run
