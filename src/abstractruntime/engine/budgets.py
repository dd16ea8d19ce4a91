"""Budgets in the flow of a run: reserved before an attempt, settled with its outcome.

What a run holds of a budget it took in chunks: only a chunk reads and changes the counter, in the
commit of the intent it is for. A commit that another run was quicker than is refused whole; the
flow then stands on the fresh run, as after any miss, and looks again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from abstractruntime.core.budget import ASK, FAIL, PAUSE, SPENT
from abstractruntime.core.canonical import encode
from abstractruntime.core.checkpoint import MAIN, NO_TERMS, OpenStep
from abstractruntime.core.commit import Counter
from abstractruntime.core.machine import budget, ends, join, pause, step, undo
from abstractruntime.core.machine.plan import Planned
from abstractruntime.core.values import value
from abstractruntime.engine import attempts, children, perform
from abstractruntime.engine.effects import Decision, Perform, StartChild
from abstractruntime.engine.requests import Flow, Read

if TYPE_CHECKING:
    from abstractruntime.engine.advance import Mover
    from abstractruntime.engine.settle import Done

SHARE = 256
"""A chunk is this part of the budget, or what the attempt needs where that is more."""


@value
class Short:
    """Why a step may not begin: the budget that has no more, and the text that says so."""

    owner: str
    text: str


def limits(mover: Mover) -> bool:
    """Whether any budget stands above the run."""
    terms = mover.draft.terms
    return terms is not NO_TERMS and terms.account is not None


def find(
    mover: Mover, effect: Mapping[str, Any], *, performs: bool, counted: bool = False
) -> Flow[dict[str, int] | Short]:
    """What the step's next attempt may spend, held by the run now; or Short, holding no more."""
    draft, now = mover.draft, mover.now()
    budget.sweep(draft, ids=mover.settings.new_id, now=now)
    account = draft.terms.account
    assert account is not None
    if effect["type"] == budget.CHILD and not counted:
        for owner, said in account["owners"].items():
            if said.get("depth", 1) <= 0:
                return Short(owner, f"Budget exceeded: run '{owner}' may have no run so deep")
    wanted = budget.needs(account, effect, performs=performs, counted=counted)
    found: dict[str, int] = {}
    taken: list[tuple[str, str, int]] = []
    for name, need in wanted.items():
        owners = [owner for owner, said in account["owners"].items() if name in said["names"]]
        own = {owner: budget.free(account, owner, name) for owner in owners}
        left: dict[str, tuple[int, int]] = {}
        for owner in owners:
            if need is None or own[owner] < need:
                left[owner] = yield from _left(mover, owner, name)
        amount = need or min(own[owner] + left[owner][0] for owner in owners)
        for owner, (there, bound) in left.items():
            if own[owner] + there < max(amount, 1):
                return Short(owner, _text(owner, name, need, own[owner] + there, bound))
            more = amount - own[owner]
            if more > 0:
                taken.append((owner, name, min(there, max(more, bound // SHARE))))
        found[name] = amount
    for owner, name, n in taken:
        budget.take(draft, owner, name, n)
    begun = {name: n for name, n in found.items() if name not in SPENT}
    if begun:
        budget.spend(draft, begun)
    return {name: n for name, n in found.items() if name in SPENT}


def _left(mover: Mover, owner: str, name: str) -> Flow[tuple[int, int]]:
    """(What nobody holds of a budget, its bound), with what the draft changes in it already."""
    counters: dict[str, Counter] = yield Read(lambda store: store.list_counters(owner))
    found = counters.get(name, Counter())
    change = mover.draft.counters.get(f"{owner}/{name}")
    value = found.value + (0 if change is None else change.delta)
    return max(found.at_most - value, 0), found.at_most


def _text(owner: str, name: str, need: int | None, left: int, bound: int) -> str:
    wanted = "" if need is None else f", {need} needed"
    return f"Budget exceeded: {left} of {bound} {name} left to run '{owner}'{wanted}"


def begin(
    mover: Mover,
    planned: Planned,
    key: str,
    decision: Decision,
    granted: OpenStep | None = None,
) -> Flow[dict[str, int] | None]:
    """What a new step may spend; None: it may not begin, and the run is where that takes it.

    One that was approved, `granted`, keeps its grant: the run is paused, whatever the budget says.
    """
    said = yield from find(mover, planned.effect, performs=isinstance(decision, Perform))
    if isinstance(said, dict):
        return said
    if granted is not None:
        now, line_id = mover.now(), mover.settings.new_id()
        pause.pause(mover.draft, reason=said.text, cause="budget", now=now, line_id=line_id)
        return None
    exceed(mover, perform.intend(mover, planned, key, begun=False), said)
    return None


def reserve(mover: Mover, open_step: OpenStep, reserved: dict[str, int] | None) -> None:
    """Set aside what `begin` found for the step, which is open now."""
    if reserved is not None:
        budget.reserve(mover.draft, open_step.step_id, reserved)


def again(mover: Mover, open_step: OpenStep, *, performs: bool = True) -> Flow[bool]:
    """Whether the next attempt of an open step has what it needs; False: it is not made now.

    What takes back what a run did is under no budget.
    """
    if not limits(mover) or undo.is_undo(open_step):
        return True
    account = mover.draft.terms.account
    assert account is not None
    counted = open_step.step_id in account["open"]
    if counted and account["open"][open_step.step_id] is not None:
        return True
    said = yield from find(mover, open_step.effect, performs=performs, counted=counted)
    if isinstance(said, Short):
        exceed(mover, open_step, said)
        return False
    if performs:
        budget.reserve(mover.draft, open_step.step_id, said)
    return True


def forfeit(mover: Mover, open_step: OpenStep) -> None:
    """The driver of an attempt is dead: what it had reserved counts as used."""
    driver = mover.draft.driver
    mine = driver is not None and driver.token == mover.me.token
    if limits(mover) and not mine and open_step.wake_at is None:
        ids = mover.settings.new_id
        budget.forfeit(mover.draft, open_step.step_id, ids=ids, now=mover.now())


def exceed(mover: Mover, open_step: OpenStep, short: Short) -> None:
    """The step may not go on: do what the budget says then."""
    draft, settings, now = mover.draft, mover.settings, mover.now()
    account = draft.terms.account
    assert account is not None
    said = account["owners"][short.owner]["on"]
    if said == ASK and open_step.branch == MAIN:
        step.ask(draft, open_step, short.text, now=now, line_id=settings.new_id())
    elif said in (ASK, PAUSE):
        pause.pause(draft, reason=short.text, cause="budget", now=now, line_id=settings.new_id())
    elif open_step.branch != MAIN:
        step.fail_attempt(draft, open_step, short.text, now=now, next_at=None)
        join.fail(draft, open_step.branch, short.text)
    elif said == FAIL or short.owner != draft.run.run_id or said not in mover.spec.nodes:
        step.fail_attempt(draft, open_step, short.text, now=now, next_at=None)
        ends.fail(draft, short.text, now=now, line_id=settings.new_id())
    else:
        step.exhaust(draft, open_step, short.text, said, now=now)


def out_of_time(mover: Mover) -> bool:
    """Whether a budget's time is over: the run does now what it says, and is not moved on."""
    draft, settings = mover.draft, mover.settings
    account = draft.terms.account
    assert account is not None
    for owner, said in account["owners"].items():
        if "until" not in said or mover.now() < said["until"]:
            continue
        text = f"Budget exceeded: the time of run '{owner}' was over at {said['until']}"
        if said["on"] in (ASK, PAUSE):
            pause.pause(draft, reason=text, cause="budget", now=mover.at, line_id=settings.new_id())
        else:
            draft.note("out_of_time", line_id=settings.new_id(), now=mover.at, budget=owner)
            draft.lines[-1].record.update(status="failed", error=text)
            ends.fail(draft, text, now=mover.at, line_id=settings.new_id())
        return True
    return False


# -- steps that were held back


def go_on(mover: Mover, open_step: OpenStep) -> Flow[bool]:
    """A step that was held back before its first attempt, on the run's own branch."""
    decision = _decide(mover, open_step)
    if not (yield from again(mover, open_step, performs=isinstance(decision, Perform))):
        return True
    open_step = _set_out(mover, open_step)
    if type(decision) is StartChild:
        return (yield from children.adopt(mover, open_step, decision))
    if not isinstance(decision, Perform):
        perform.settle_at_once(mover, open_step, decision)
        return True
    refused = attempts.refusal(mover, open_step, decision)
    if refused is not None:
        perform.settle_at_once(mover, open_step, refused)
        return True
    yield from mover.commit(mover.me)
    text = encode(open_step.effect["payload"])
    return (yield from attempts.attempts(mover, open_step, decision, text))


def admitted(mover: Mover, ready: list[OpenStep]) -> Flow[list[OpenStep]]:
    """Of branches that could begin, those that may; what becomes of the others is in the draft."""
    found: list[OpenStep] = []
    for each in ready:
        if each.child is not None:
            found.append(each)
            continue
        decision = _decide(mover, each)
        if not (yield from again(mover, each, performs=isinstance(decision, Perform))):
            if mover.draft.terms.paused is not None:
                break
            continue
        refused: Decision | None = None
        if isinstance(decision, Perform):
            refused = attempts.refusal(mover, each, decision)
        elif type(decision) is not StartChild:
            refused = decision
        if refused is not None:
            perform.settle_at_once(mover, each, refused)
        elif type(decision) is StartChild:
            yield from children.adopt(mover, _set_out(mover, each), decision)
        else:
            found.append(each)
    return found


def _set_out(mover: Mover, open_step: OpenStep) -> OpenStep:
    if (open_step.effect.get("options") or {}).get("delivery") == "at_most_once":
        mover.draft.urgent = True
    return step.set_out(mover.draft, open_step, now=mover.now(), line_id=mover.settings.new_id())


def _decide(mover: Mover, open_step: OpenStep) -> Decision:
    effect = open_step.effect
    return perform.decide(
        mover, effect["type"], effect["payload"], effect["result_key"], open_step.next_node,
        open_step.branch,
    )  # fmt: skip


# -- what was used


def settle(mover: Mover, done: Done) -> None:
    """The outcome of an attempt is there: what it used is spent, what it did not is free."""
    draft, outcome = mover.draft, done.outcome
    account = draft.terms.account
    if account is None:
        return
    step_id, effect = done.step.step_id, done.step.effect
    reserved = account["open"].get(step_id)
    if reserved is None:
        return
    kinds = () if done.again is None else done.again.kinds
    lost = outcome.status == "unknown" or done.runs_on or "TimeoutError" in kinds
    over = outcome.status in ("completed", "waiting")
    said = outcome.used
    if said is None and over:
        said = used_by(outcome.result)
    costs = (effect.get("options") or {}).get("costs") or {}
    used: dict[str, int] = {}
    for name in SPENT:
        if not any(name in owner["names"] for owner in account["owners"].values()):
            continue
        n = None if said is None else said.get(name)
        if n is None and lost:
            n = reserved.get(name, 0)
        elif n is None and outcome.status == "completed":
            n = costs.get(name, 0)
        if n:
            used[name] = n
    if over or used or lost:
        ids = mover.settings.new_id
        budget.settle(draft, step_id, used, over=over, lost=lost, ids=ids, now=mover.now())


def used_by(result: Any) -> dict[str, int]:
    """What a result says was used: its "usage" in tokens, its "cost" in micro-units."""
    if not isinstance(result, dict):
        return {}
    found: dict[str, int] = {}
    usage = result.get("usage")
    if isinstance(usage, dict):
        names: tuple[str, ...] = (
            "input_tokens",
            "output_tokens",
            "prompt_tokens",
            "completion_tokens",
        )
        if "total_tokens" in usage:
            names = ("total_tokens",)
        counted = [usage[name] for name in names if _is_count(usage.get(name))]
        if counted:
            found["tokens"] = sum(counted)
    if _is_count(result.get("cost")):
        found["cost"] = result["cost"]
    return found


def _is_count(n: Any) -> bool:
    return type(n) is int and n >= 0
