"""raise_budget and get_budget: more for a run and those below it, and what they have used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from abstractruntime.core.budget import Budget
from abstractruntime.core.commit import Count, Counter, Loaded
from abstractruntime.core.machine import budget, pause
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState
from abstractruntime.engine.operations.change import change
from abstractruntime.engine.requests import Flow, Read
from abstractruntime.engine.settings import Settings
from abstractruntime.errors import InvalidInput, UnknownRun


def raise_budget(
    settings: Settings,
    run_id: str,
    more: Budget,
    *,
    reason: str | None,
    actor_id: str | None,
) -> Flow[RunState]:
    """The run with so much more in its budget; it and what is below it go on where they paused.

    Durable. Raises UnknownRun, InvalidInput for a limit that the budget does not have.
    """
    added = {name: n for name, n in more.limits().items() if n}

    def edit(draft: Draft) -> bool:
        _refuse_unless_limited(draft, run_id, added)
        if not budget.extend(draft, run_id, wall_s=more.wall_s, depth=more.depth):
            raise InvalidInput(f"The budget of run '{run_id}' does not limit its time or depth so")
        for name, n in added.items():
            draft.count(f"{run_id}/{name}", Count(raised=n))
        draft.note(
            "budget_raised",
            line_id=settings.new_id(),
            now=settings.now(),
            actor_id=actor_id,
            reason=reason,
            raised=added or None,
            wall_s=more.wall_s,
            depth=more.depth,
        )
        _let_go(settings, draft, reason, actor_id)
        draft.urgent = True
        return True

    draft = yield from change(settings, run_id, edit)
    for child in (yield from _below(run_id)):
        yield from _tell(settings, child.run_id, run_id, more, reason, actor_id)
    return draft.run


def _refuse_unless_limited(draft: Draft, run_id: str, added: Mapping[str, int]) -> None:
    account = draft.terms.account
    own = None if account is None else account["owners"].get(run_id)
    if own is None:
        above = [] if account is None else list(account["owners"])
        raise InvalidInput(
            f"Run '{run_id}' has no budget of its own",
            fix=f"raise that of {' or '.join(above)}" if above else "start runs with a budget",
            run_id=run_id,
        )
    missing = sorted(set(added) - set(own["names"]))
    if missing:
        raise InvalidInput(
            f"The budget of run '{run_id}' does not limit {', '.join(missing)}", run_id=run_id
        )


def _tell(
    settings: Settings,
    run_id: str,
    owner: str,
    more: Budget,
    reason: str | None,
    actor_id: str | None,
) -> Flow[None]:
    """A run below has as much more time and depth, and goes on."""

    def edit(draft: Draft) -> bool:
        if draft.run.status in ENDED or draft.terms.account is None:
            return False
        if more.wall_s or more.depth:
            budget.extend(draft, owner, wall_s=more.wall_s, depth=more.depth)
            draft.note(
                "budget_raised", line_id=settings.new_id(), now=settings.now(), actor_id=actor_id,
                reason=reason, budget=owner, wall_s=more.wall_s, depth=more.depth,
            )  # fmt: skip
        _let_go(settings, draft, reason, actor_id)
        return draft.dirty

    yield from change(settings, run_id, edit)


def _let_go(settings: Settings, draft: Draft, reason: str | None, actor_id: str | None) -> None:
    if budget.asks(draft) is not None:
        draft.note(
            "unpaused", line_id=settings.new_id(), now=settings.now(), actor_id=actor_id,
            reason=reason,
        )  # fmt: skip
        budget.look_again(draft)
        draft.queued_at = settings.now()
    paused = draft.terms.paused
    if paused is not None and paused.get("cause") == "budget":
        now, line_id = settings.now(), settings.new_id()
        pause.unpause(draft, reason=reason, now=now, line_id=line_id, actor_id=actor_id)


def get_budget(run_id: str) -> Flow[dict[str, Any]]:
    """{"limits", "used", "reserved"} by counter, "on_exceeded", "until", "depth" of the run's own
    budget (None and empty without one), and "above": the runs whose budgets it shares."""
    loaded: Loaded | None = yield Read(lambda store: store.load(run_id))
    if loaded is None:
        raise UnknownRun(f"Unknown run_id: {run_id}", run_id=run_id)
    account = _account_of(loaded.run)
    owners = {} if account is None else account["owners"]
    own = owners.get(run_id) or {}
    used: dict[str, int] = {}
    counters: dict[str, Counter] = {}
    if own:
        counters = yield Read(lambda store: store.list_counters(run_id))
        for run in [loaded.run, *(yield from _below(run_id))]:
            spent = (_account_of(run) or {}).get("spent", {})
            for name in counters:
                used[name] = used.get(name, 0) + spent.get(name, 0)
    return {
        "run_id": run_id,
        "limits": {name: counter.at_most for name, counter in counters.items()},
        "used": used,
        "reserved": {n: max(c.value - used[n], 0) for n, c in counters.items()},
        "on_exceeded": own.get("on"),
        "until": own.get("until"),
        "depth": own.get("depth"),
        "above": [owner for owner in owners if owner != run_id],
    }


def _below(run_id: str) -> Flow[list[RunState]]:
    """All runs below a run, as far down as they share its budget."""
    found: list[RunState] = []
    parents = [run_id]
    for parent in parents:
        children = yield from _children(parent)
        for child in children:
            account = _account_of(child)
            if account is not None and run_id in account["owners"]:
                found.append(child)
                parents.append(child.run_id)
    return found


def _children(run_id: str) -> Flow[list[RunState]]:
    found: list[RunState] = yield Read(lambda store: store.list_children(parent_run_id=run_id))
    return found


def _account_of(run: RunState) -> dict[str, Any] | None:
    return None if run.checkpoint is None else run.checkpoint.terms.account
