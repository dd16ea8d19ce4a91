"""A run's account with the budgets above it: what it holds of each, and what it has spent.

Theory of operation. The counter `{owner}/{name}` of a budget is what its runs have spent and what
they hold beside that, so it never passes its bound by a hold. A run takes from it into what it
holds, reserves of that for each attempt, and turns what was used into `spent`, which changes no
counter. At its end it gives back what it holds. An attempt whose outcome is lost counts as having
used all it had reserved.

    owners  {run: {"names": [counter], "on": on_exceeded, "until"?: time, "depth"?: levels left}}
    held    {run: {counter: n}}, what is reserved included
    open    {step id: {counter: n}} reserved for its attempt; None: the next attempt has nothing
    spent   {counter: n} since the run began
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from abstractruntime.core.budget import SPENT, Budget
from abstractruntime.core.checkpoint import MAIN, NO_TERMS, Terms
from abstractruntime.core.commit import Count
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.table import Move
from abstractruntime.core.models import RunStatus
from abstractruntime.core.times import plus

CHILD = "start_subworkflow"

ASKS = "budget"
"""The detail of a wait that says why a budget holds its run back."""
RETRY, STOP = "retry", "stop"
ANSWERS = (RETRY, STOP)
"""What such a wait is answered with: look again, for it was raised; or the run fails."""


def terms_of_new(
    run_id: str, budget: Budget | None, above: Mapping[str, Any] | None, *, now: str
) -> Terms:
    """The terms of a new run with a budget of its own, or below a run with the account `above`."""
    owners: dict[str, Any] = {}
    for owner, said in ({} if above is None else above["owners"]).items():
        owners[owner] = said if "depth" not in said else {**said, "depth": said["depth"] - 1}
    if budget is not None:
        own: dict[str, Any] = {"names": sorted(budget.limits()), "on": budget.on_exceeded}
        if budget.wall_s is not None:
            own["until"] = plus(now, budget.wall_s)
        if budget.depth is not None:
            own["depth"] = budget.depth
        owners[run_id] = own
    if not owners:
        return NO_TERMS
    return Terms(account={"owners": owners, "held": {}, "open": {}, "spent": {}})


def counts_of_new(run_id: str, budget: Budget | None) -> dict[str, Count]:
    """The counters of a new budget."""
    limits = {} if budget is None else budget.limits()
    return {f"{run_id}/{name}": Count(raised=limit) for name, limit in limits.items()}


def needs(
    account: Mapping[str, Any], effect: Mapping[str, Any], *, performs: bool, counted: bool
) -> dict[str, int | None]:
    """What the next attempt of a step needs of which counters; None: all that is left.

    `counted`: the step itself is, already.
    """
    said = effect.get("options") or {}
    costs = said.get("costs") or {}
    wanted: dict[str, int | None] = {}
    if not counted:
        wanted = {"steps": 1, f"effects.{effect['type']}": 1}
    if performs:
        wanted.update({name: costs.get(name) for name in SPENT})
    named = {name for owner in account["owners"].values() for name in owner["names"]}
    return {name: n for name, n in wanted.items() if name in named and n != 0}


def free(account: Mapping[str, Any], owner: str, name: str) -> int:
    """What the run holds of a counter and has reserved for no attempt."""
    held: int = account["held"].get(owner, {}).get(name, 0)
    reserved: int = sum((each or {}).get(name, 0) for each in account["open"].values())
    return held - reserved


def take(draft: Draft, owner: str, name: str, n: int) -> None:
    """Hold so much more of a budget, if the next commit finds it there."""
    draft.count(f"{owner}/{name}", Count(n, firm=True))
    _hold(draft, owner, name, n)


def spend(draft: Draft, used: Mapping[str, int]) -> None:
    """Of what is held, so much is spent."""
    account = _account(draft)
    spent = dict(account["spent"])
    for name, n in used.items():
        spent[name] = spent.get(name, 0) + n
        for owner, said in account["owners"].items():
            if name in said["names"]:
                _hold(draft, owner, name, -n)
    _put(draft, spent=spent)


def reserve(draft: Draft, step_id: str, reserved: Mapping[str, int]) -> None:
    """Set so much of what is held aside for an attempt."""
    _put(draft, open={**_account(draft)["open"], step_id: dict(reserved)})


def settle(
    draft: Draft, step_id: str, used: Mapping[str, int], *, over: bool, lost: bool, ids: Any,
    now: str,
) -> None:  # fmt: skip
    """An attempt has used so much, maybe more than it had reserved; `over`: it was the last.

    What was used stands in a record of kind "spent".
    """
    account = _account(draft)
    reserved = account["open"].get(step_id)
    if reserved is None:
        return  # it was settled when nobody knew its outcome
    rest = {name: n for name, n in account["open"].items() if name != step_id}
    _put(draft, open=rest if over else {**rest, step_id: None})
    beyond: dict[str, int] = {}
    for name, n in used.items():
        for owner, said in account["owners"].items():
            if name not in said["names"]:
                continue
            missing = n - free(_account(draft), owner, name)
            if missing > 0:
                draft.count(f"{owner}/{name}", Count(missing))
                _hold(draft, owner, name, missing)
            passed = n - reserved.get(name, 0)
            if passed > 0:
                beyond[name] = passed
    if any(used.values()):
        spend(draft, used)
        draft.note(
            "spent", line_id=ids(), now=now, spent_by=step_id, used=dict(used), lost=lost or None,
            beyond=beyond or None,
        )  # fmt: skip


def forfeit(draft: Draft, step_id: str, *, ids: Any, now: str) -> None:
    """The outcome of an attempt is lost: what it had reserved counts as used."""
    reserved = _account(draft)["open"].get(step_id)
    if reserved is not None:
        settle(draft, step_id, reserved, over=False, lost=True, ids=ids, now=now)


def drop(draft: Draft, step_id: str) -> None:
    """The step is over, and what it had reserved is free."""
    account = draft.terms.account
    if account is not None and step_id in account["open"]:
        _put(draft, open={name: n for name, n in account["open"].items() if name != step_id})


def sweep(draft: Draft, *, ids: Any, now: str) -> None:
    """Settle attempts whose steps are gone, with a branch that lost or a run that ended."""
    account = draft.terms.account
    if account is None or not account["open"]:
        return
    standing = {step.step_id for step in draft.open_steps.values()}
    for step_id in [each for each in account["open"] if each not in standing]:
        forfeit(draft, step_id, ids=ids, now=now)
        drop(draft, step_id)


def release(draft: Draft, *, ids: Any, now: str) -> None:
    """The run has ended: what it holds goes back."""
    if draft.terms.account is None:
        return
    sweep(draft, ids=ids, now=now)
    for owner, held in _account(draft)["held"].items():
        for name, n in held.items():
            if n:
                draft.count(f"{owner}/{name}", Count(-n))
    _put(draft, held={})


def asks(draft: Draft) -> str | None:
    """Why a budget holds the waiting run back; None: it does not."""
    waiting = draft.run.waiting
    if waiting is None or draft.run.status is not RunStatus.WAITING or not draft.open_steps:
        return None
    return (waiting.details or {}).get(ASKS)


def look_again(draft: Draft) -> None:
    """Somebody has answered: the step that was held back is at its turn again."""
    draft.become(Move.ANSWER)
    draft.run.waiting = None
    draft.waits = {name: each for name, each in draft.waits.items() if name != MAIN}


def extend(draft: Draft, owner: str, *, wall_s: float | None, depth: int | None) -> bool:
    """A budget above has more time or depth; False: this one has no such limit."""
    account = _account(draft)
    said = dict(account["owners"].get(owner) or {})
    if (wall_s and "until" not in said) or (depth and "depth" not in said):
        return False
    if wall_s:
        said["until"] = plus(said["until"], wall_s)
    if depth:
        said["depth"] += depth
    _put(draft, owners={**account["owners"], owner: said})
    return True


def _account(draft: Draft) -> dict[str, Any]:
    account = draft.terms.account
    assert account is not None
    return account


def _put(draft: Draft, **parts: Any) -> None:
    draft.terms = replace(draft.terms, account={**_account(draft), **parts})


def _hold(draft: Draft, owner: str, name: str, n: int) -> None:
    held = _account(draft)["held"]
    mine = held.get(owner, {})
    after = {**mine, name: mine.get(name, 0) + n}
    _put(draft, held={**held, owner: {each: m for each, m in after.items() if m}})
