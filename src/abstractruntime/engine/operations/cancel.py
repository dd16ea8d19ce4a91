"""cancel: a run ends as cancelled, alone or with all below it.

A tree is asked from the top down, each run before its children, and ends from the bottom up: the
request is durable before the first child is touched, so whoever finds it can finish what a crash
cut short, be it the next caller or a scheduler that comes to a run that is about to end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from abstractruntime.core.checkpoint import Terms
from abstractruntime.core.machine import ending, ends
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.core.values import value
from abstractruntime.engine.liveness import is_live
from abstractruntime.engine.load import load_draft
from abstractruntime.engine.operations.change import change
from abstractruntime.engine.operations.pause import children_of
from abstractruntime.engine.requests import Flow
from abstractruntime.engine.settings import Settings

CANCEL, REQUEST, ABANDON = "cancel", "request", "abandon"
POLICIES = (CANCEL, REQUEST, ABANDON)
"""What becomes of a child when its parent ends: it and all below it are cancelled; it alone is,
what is below it by its own close policies; it lives on."""


@value
class Cancel:
    """Who cancels and why. `request`: a driven run is asked, and ends at its next commit."""

    reason: str | None = None
    actor_id: str | None = None
    request: bool = False


def cancel(settings: Settings, run_id: str, said: Cancel) -> Flow[RunState]:
    """The run, CANCELLED or about to be; ended runs come back unchanged. Durable. UnknownRun."""

    def edit(draft: Draft) -> bool:
        if draft.run.status in ENDED:
            return False
        terms, driven = draft.terms, _driven(draft)
        alone = terms.ending is None and not (terms.undos or terms.closes or terms.losing)
        if alone and not (said.request and driven):
            return _cancel_now(settings, draft, said)
        return _ask(settings, draft, said, tree=False)

    draft = yield from change(settings, run_id, edit)
    if _can_finish(draft):
        yield from close_children(settings, run_id, draft.terms)
        draft = yield from change(settings, run_id, lambda fresh: _finish(settings, fresh))
    return draft.run


def cancel_tree(settings: Settings, run_ids: Collection[str], said: Cancel) -> Flow[list[RunState]]:
    """Those of these runs and all below them that this ended as CANCELLED, parents first. Durable.

    Driven ones, and those with undos, are asked. Raises UnknownRun, UnsupportedByStore.
    """
    asked: list[str] = []
    ended: dict[str, RunState] = {}
    waiting, seen = deque(run_ids), set(run_ids)

    def edit(draft: Draft) -> Flow[bool]:
        if draft.run.status in ENDED:
            return False
        terms = draft.terms
        if terms.ending is None and not (terms.undos or terms.losing) and not _driven(draft):
            # Read after the run: a child that came meanwhile makes the commit miss.
            below: list[RunState] = yield children_of(draft.run.run_id)
            if all(child.status in ENDED for child in below):
                return _cancel_now(settings, draft, said)
        return _ask(settings, draft, said, tree=True)

    while waiting:
        run_id = waiting.popleft()
        before = yield from load_draft(settings, run_id)
        if before.run.status not in ENDED:
            draft = yield from change(settings, run_id, edit)
            asked.append(run_id)
            ended[run_id] = draft.run
        for child in (yield children_of(run_id)):
            if child.run_id not in seen:
                seen.add(child.run_id)
                waiting.append(child.run_id)
    for run_id in reversed(asked):
        if ended[run_id].status not in ENDED:
            draft = yield from change(settings, run_id, lambda fresh: _finish(settings, fresh))
            ended[run_id] = draft.run
    return [ended[each] for each in asked if ended[each].status is RunStatus.CANCELLED]


def close_children(settings: Settings, run_id: str, terms: Terms) -> Flow[None]:
    """The run is about to end: cancel its live children, all of them where its whole tree is to
    end, else as their close policies say."""
    ends_as = terms.ending or {}
    yield from close_losers(settings, terms.losing or ())
    if not (terms.closes or ends_as.get("tree")):
        return
    reason = ends_as.get("reason")
    if ends_as["as"] != "cancelled":
        reason = reason or f"Its parent run '{run_id}' has {ends_as['as']}"
    said = Cancel(reason, ends_as.get("actor"), request=True)
    whole: list[str] = []
    alone: list[str] = []
    for child in (yield children_of(run_id)):
        policy = CANCEL if ends_as.get("tree") else None
        if policy is None and child.status not in ENDED:
            draft = yield from load_draft(settings, child.run_id)
            policy = draft.terms.closing
        if policy == CANCEL:
            whole.append(child.run_id)
        elif policy == REQUEST:
            alone.append(child.run_id)
    yield from cancel_tree(settings, whole, said)
    for child_id in alone:
        yield from cancel(settings, child_id, said)


def close_losers(settings: Settings, run_ids: Collection[str]) -> Flow[None]:
    """Cancel children whose branch lost, with all below them where the store can tell what is."""
    said = Cancel("Its branch was not waited for", request=True)
    if settings.lists_children:
        yield from cancel_tree(settings, run_ids, said)
        return
    for run_id in run_ids:
        yield from cancel(settings, run_id, said)


def _driven(draft: Draft) -> bool:
    return draft.driver is not None and is_live(draft.driver)


def _cancel_now(settings: Settings, draft: Draft, said: Cancel) -> bool:
    return ends.cancel(
        draft,
        reason=said.reason,
        now=settings.now(),
        line_id=settings.new_id(),
        actor_id=said.actor_id,
    )


def _ask(settings: Settings, draft: Draft, said: Cancel, *, tree: bool) -> bool:
    now = settings.now()
    new = ending.ask(
        draft,
        reason=said.reason,
        now=now,
        line_id=settings.new_id(),
        actor_id=said.actor_id,
        tree=tree,
    )
    if new and not _driven(draft):
        draft.driver = None
        if not ending.left(draft):
            ending.leave(draft, now=now)
        draft.queued_at = now
    return new


def _can_finish(draft: Draft) -> bool:
    """Whether all that the run has left to do is to close its children."""
    return (
        draft.run.status is RunStatus.RUNNING
        and draft.terms.ending is not None
        and ending.left(draft)
        and not ending.busy(draft)
        and not _driven(draft)
    )


def _finish(settings: Settings, draft: Draft) -> bool:
    if not _can_finish(draft):
        return False
    ends.finish(draft, now=settings.now(), line_id=settings.new_id())
    draft.driver = None
    return True
