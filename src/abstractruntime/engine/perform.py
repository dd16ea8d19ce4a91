"""How the flow performs one effect: intent, attempts, outcome, and recovery of an open step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from abstractruntime.core.canonical import encode, key_form
from abstractruntime.core.checkpoint import MAIN, NO_TERMS, OpenStep
from abstractruntime.core.identifiers import checked
from abstractruntime.core.machine import step, undo
from abstractruntime.core.machine.plan import Planned
from abstractruntime.core.models import Effect
from abstractruntime.core.options import Delivery, options_from
from abstractruntime.core.policy import step_key as policy_key
from abstractruntime.core.times import seconds_between
from abstractruntime.engine import approvals, attempts, budgets, children, doubt
from abstractruntime.engine.effects import Decision, Perform, StartChild, StepFacts
from abstractruntime.engine.naps import nap
from abstractruntime.engine.outcome import EffectOutcome
from abstractruntime.engine.requests import Flow
from abstractruntime.engine.settle import Done, apply

if TYPE_CHECKING:
    from abstractruntime.engine.advance import Mover


def step_key(mover: Mover, planned: Planned, branch: str = MAIN) -> str:
    """The idempotency key of the step about to begin; InvalidIdentifier for a bad own key."""
    draft, settings = mover.draft, mover.settings
    run = draft.run
    if settings.own_keys:
        effect = Effect(planned.type, planned.payload, planned.result_key)
        key = settings.policy.idempotency_key(run=run, node_id=run.current_node, effect=effect)
        return checked(key, "idempotency_key")
    return policy_key(
        run_id=run.run_id,
        node_id=run.current_node,
        effect=planned,
        visit=draft.visit(),
        branch=branch,
        generation=draft.generation,
        payload_form=_key_form(planned),
    )


def _key_form(planned: Planned) -> str:
    """The payload in the form that keys are made of: its chain form where that is ASCII."""
    form = planned.form
    if form.isascii() and b"\x7f" not in form:
        return form.decode("ascii")
    return key_form(planned.payload)


def begin(mover: Mover, planned: Planned, key: str, granted: OpenStep | None = None) -> Flow[None]:
    """A new step: decide, write the intent where something is performed, perform it.

    One that needs an approval only asks for it; `granted` is that step when it has it.
    """
    decision = decide(mover, planned.type, planned.payload, planned.result_key, planned.next_node)
    if type(decision) is Perform:
        planned = with_declared(planned, decision)
    if (
        (planned.options or mover.settings.approvals)
        and granted is None
        and approvals.holds(mover, planned, key, decision)
    ):
        return
    reserved: dict[str, int] | None = None
    if mover.draft.terms is not NO_TERMS and budgets.limits(mover):
        reserved = yield from budgets.begin(mover, planned, key, decision, granted)
        if reserved is None:
            return
    if type(decision) is StartChild:
        yield from children.begin(mover, planned, key, decision, granted)
        return
    if type(decision) is Perform:
        open_step = intend(mover, planned, key, granted=granted)
        if reserved is not None:
            budgets.reserve(mover, open_step, reserved)
        refused = attempts.refusal(mover, open_step, decision) if planned.options else None
        if refused is None:
            yield from mover.commit(mover.me)
            yield from attempts.attempts(mover, open_step, decision, planned.text)
            return
        decision = refused
    else:
        open_step = intend(mover, planned, key, granted=granted)
    settle_at_once(mover, open_step, decision)


def settle_at_once(mover: Mover, open_step: OpenStep, decision: Decision) -> None:
    """The outcome of a step that is decided by data alone."""
    if type(decision) is EffectOutcome:
        apply(mover, Done(open_step, decision, final=True))


def with_declared(planned: Planned, perform: Perform) -> Planned:
    """The plan with what the function or handler says of itself, where the effect says nothing."""
    if perform.declared is None:
        return planned
    said = {**perform.declared.options, **(planned.options or {})}
    return replace(planned, options=said or None)


def intend(
    mover: Mover,
    planned: Planned,
    key: str,
    *,
    child: str | None = None,
    granted: OpenStep | None = None,
    branch: str = MAIN,
    begun: bool = True,
) -> OpenStep:
    """The STARTED record and open step of a new step, in the draft."""
    if granted is not None:
        return approvals.start(mover, granted, key, child=child)
    settings = mover.settings
    first_at = None
    if planned.options:
        if "total_timeout_s" in planned.options:
            first_at = mover.at
        # A step that must not be begun twice is synced before it begins, at either durability.
        if begun and planned.options.get("delivery") == Delivery.AT_MOST_ONCE.value:
            mover.draft.urgent = True
    open_step = step.intend(
        mover.draft,
        planned,
        step_id=settings.new_id(),
        key=key,
        now=mover.at,
        salt=settings.sealer.new_salt(),
        own_key=settings.own_keys,
        child=child,
        first_at=first_at,
        branch=branch,
        begun=begun,
    )
    if planned.undo is not None:
        line_id = settings.new_id()
        undo.register(mover.draft, open_step, planned.undo, now=mover.at, line_id=line_id)
    return open_step


def decide(
    mover: Mover,
    kind: str,
    payload: dict[str, Any],
    result_key: str | None,
    next_node: str | None,
    branch: str = MAIN,
) -> Decision:
    """What the effect comes to, by its handler or built-in."""
    settings = mover.settings
    run, now = mover.draft.run, mover.now()
    facts = StepFacts(run, mover.spec, payload, result_key, next_node, now, branch)
    decision = settings.effects.decide(kind, facts)
    if type(decision) is StartChild and decision.budget is not None and not settings.counters:
        return EffectOutcome.failed("A budget needs a store with counters: this one has none")
    return decision


def perform_open(mover: Mover, open_step: OpenStep) -> Flow[bool]:
    """Go on with an open step: a due attempt, or one whose driver died. False: not due yet."""
    draft = mover.draft
    if open_step.approval is not None and (yield from approvals.takes(mover, open_step)):
        return True
    if open_step.child is not None:
        yield from _take_over(mover, open_step)
        yield from children.drive_open(mover, open_step)
        return True
    if open_step.unknown is not None:
        # A host set the run running without a word on what became of the step.
        step.doubt(draft, open_step, open_step.unknown, now=mover.now())
        return True
    if not open_step.begun:
        return (yield from budgets.go_on(mover, open_step))
    if open_step.wake_at is None:
        return (yield from _perform_again(mover, open_step))
    return (yield from _perform_when_due(mover, open_step, open_step.wake_at))


def _perform_when_due(mover: Mover, open_step: OpenStep, wake_at: str) -> Flow[bool]:
    draft = mover.draft
    wait_s = seconds_between(mover.now(), wake_at)
    if wait_s > 0:
        if not mover.patient:
            return False
        if draft.driver is None or draft.driver.token != mover.me.token:
            yield from mover.commit(mover.me)
        if not (yield from nap(mover, wait_s)):
            return True
    if not (yield from budgets.again(mover, open_step)):
        return True
    open_step = retry(mover, open_step)
    yield from mover.commit(mover.me)
    return (yield from _go_on(mover, open_step, _decided(mover, open_step)))


def _perform_again(mover: Mover, open_step: OpenStep) -> Flow[bool]:
    """An attempt was cut short: made again, or in doubt, as its delivery class says."""
    budgets.forfeit(mover, open_step)
    once = options_from(open_step.effect).delivery is Delivery.AT_MOST_ONCE
    if not once and not (yield from budgets.again(mover, open_step)):
        return True
    yield from _take_over(mover, open_step)
    decision = _decided(mover, open_step)
    if once:
        return (yield from doubt.reconcile(mover, open_step, decision))
    return (yield from _go_on(mover, open_step, decision))


def _decided(mover: Mover, open_step: OpenStep) -> Decision:
    effect = open_step.effect
    return decide(
        mover, effect["type"], effect["payload"], effect["result_key"], open_step.next_node
    )


def _go_on(mover: Mover, open_step: OpenStep, decision: Decision) -> Flow[bool]:
    if isinstance(decision, Perform):
        text = encode(open_step.effect["payload"])
        return (yield from attempts.attempts(mover, open_step, decision, text))
    settle_at_once(mover, open_step, decision)
    return True


def retry(mover: Mover, open_step: OpenStep) -> OpenStep:
    """The intent of the attempt that is due, in the draft."""
    if options_from(open_step.effect).delivery is Delivery.AT_MOST_ONCE:
        mover.draft.urgent = True
    return step.retry(mover.draft, open_step, now=mover.now())


def _take_over(mover: Mover, open_step: OpenStep) -> Flow[None]:
    """The step's driver is dead: write down who goes on, before anything is performed again."""
    draft = mover.draft
    if draft.driver is not None and draft.driver.token == mover.me.token:
        if draft.counters:
            yield from mover.commit(mover.me)
        return
    draft.note(
        "recovered",
        line_id=mover.settings.new_id(),
        now=mover.now(),
        recovered_step=open_step.step_id,
        attempt=open_step.attempt,
        driver=None if draft.driver is None else draft.driver.to_dict(),
    )
    yield from mover.commit(mover.me)
