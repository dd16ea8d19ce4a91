"""pause and unpause: hold a run, or a run and all below it, and let it go on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from abstractruntime.core.machine import pause as machine
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState
from abstractruntime.engine.operations.change import change
from abstractruntime.engine.requests import Flow, Read
from abstractruntime.engine.settings import Settings


def pause(
    settings: Settings, run_id: str, *, reason: str | None, actor_id: str | None, tree: bool = False
) -> Flow[RunState]:
    """The run, paused: its driver lets go of it after the attempt under way. Durable.

    `tree`: and every live run below it, parents first, so that none of them starts another.
    Raises UnknownRun, RunEnded of the run itself, UnsupportedByStore.
    """

    def edit(draft: Draft) -> bool:
        if draft.run.status in ENDED and draft.run.run_id != run_id:
            return False
        return machine.pause(
            draft,
            reason=reason,
            now=settings.now(),
            line_id=settings.new_id(),
            actor_id=actor_id,
        )

    return (yield from _each(settings, run_id, edit, tree))


def unpause(
    settings: Settings, run_id: str, *, reason: str | None, actor_id: str | None, tree: bool = False
) -> Flow[RunState]:
    """The run, moved again by whoever moved it: a parked one by its host. Durable. UnknownRun.

    `tree`: and every run below it. Raises UnsupportedByStore.
    """

    def edit(draft: Draft) -> bool:
        return machine.unpause(
            draft,
            reason=reason,
            now=settings.now(),
            line_id=settings.new_id(),
            actor_id=actor_id,
        )

    return (yield from _each(settings, run_id, edit, tree))


def children_of(run_id: str) -> Read:
    """The request for the runs that this one started."""
    return Read(lambda store: store.list_children(parent_run_id=run_id))


def _each(
    settings: Settings, run_id: str, edit: Callable[[Draft], bool], tree: bool
) -> Flow[RunState]:
    run = (yield from change(settings, run_id, edit)).run
    waiting, seen = deque([run_id] if tree else ()), {run_id}
    while waiting:
        parent = waiting.popleft()
        children: list[RunState] = yield children_of(parent)
        for child in children:
            if child.run_id in seen:
                continue
            seen.add(child.run_id)
            waiting.append(child.run_id)
            if child.status not in ENDED:
                yield from change(settings, child.run_id, edit)
    return run
