"""cancel: the run ends as cancelled, whoever drives it; its driver finds out at its next commit."""

from __future__ import annotations

from abstractruntime.core.machine import ends
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.models import RunState
from abstractruntime.engine.operations.change import change
from abstractruntime.engine.requests import Flow
from abstractruntime.engine.settings import Settings


def cancel(
    settings: Settings, run_id: str, *, reason: str | None, actor_id: str | None
) -> Flow[RunState]:
    """The run, CANCELLED; ended runs come back unchanged. Durable. Raises UnknownRun."""

    def edit(draft: Draft) -> bool:
        return ends.cancel(
            draft,
            reason=reason,
            now=settings.now(),
            line_id=settings.new_id(),
            actor_id=actor_id,
        )

    return (yield from change(settings, run_id, edit)).run
