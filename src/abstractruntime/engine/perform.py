"""How the flow performs one effect: intent, attempts, outcome, and recovery of an open step."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from abstractruntime.core.canonical import chain_form, encode, exact, key_form
from abstractruntime.core.checkpoint import MAIN, OpenStep
from abstractruntime.core.commit import Evidence
from abstractruntime.core.identifiers import checked
from abstractruntime.core.machine import ends, step
from abstractruntime.core.machine.plan import Planned
from abstractruntime.core.machine.redo import Changed
from abstractruntime.core.models import Effect, wait_to_dict
from abstractruntime.core.policy import step_key as policy_key
from abstractruntime.core.times import normal, plus, seconds_between
from abstractruntime.core.values import value
from abstractruntime.engine import children
from abstractruntime.engine.effects import Decision, Perform, Raised, StartChild, StepFacts, attempt
from abstractruntime.engine.outcome import EffectOutcome, StepContext
from abstractruntime.engine.requests import NEXT, Flow, NextEvent, Read
from abstractruntime.errors import InvalidInput

if TYPE_CHECKING:
    from abstractruntime.engine.advance import Mover


def step_key(mover: Mover, planned: Planned) -> str:
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
        generation=draft.generation,
        payload_form=_key_form(planned),
    )


def _key_form(planned: Planned) -> str:
    """The payload in the form that keys are made of: its chain form where that is ASCII."""
    form = planned.form
    if form.isascii() and b"\x7f" not in form:
        return form.decode("ascii")
    return key_form(planned.payload)


def begin(mover: Mover, planned: Planned, key: str) -> Flow[None]:
    """A new step: decide, write the intent where something is performed, perform it."""
    decision = decide(mover, planned.type, planned.payload, planned.result_key, planned.next_node)
    if type(decision) is StartChild:
        yield from children.begin(mover, planned, key, decision)
        return
    open_step = intend(mover, planned, key)
    if type(decision) is Perform:
        yield from mover.commit(mover.me)
        yield from _attempts(mover, open_step, decision, planned.text)
    elif type(decision) is EffectOutcome:
        apply(mover, Done(open_step, decision, final=True))


def intend(mover: Mover, planned: Planned, key: str, *, child: str | None = None) -> OpenStep:
    """The STARTED record and open step of a new step, in the draft."""
    settings = mover.settings
    return step.intend(
        mover.draft,
        planned,
        step_id=settings.new_id(),
        key=key,
        now=mover.at,
        salt=settings.sealer.new_salt(),
        own_key=settings.own_keys,
        child=child,
    )


def decide(
    mover: Mover,
    kind: str,
    payload: dict[str, Any],
    result_key: str | None,
    next_node: str | None,
) -> Decision:
    """What the effect comes to, by its handler or built-in."""
    settings = mover.settings
    facts = StepFacts(mover.draft.run, mover.spec, payload, result_key, next_node, mover.now())
    return settings.effects.decide(kind, facts)


def perform_open(mover: Mover, open_step: OpenStep) -> Flow[bool]:
    """Go on with an open step: a due attempt, or one whose driver died. False: not due yet."""
    draft = mover.draft
    if open_step.child is not None:
        yield from _take_over(mover, open_step)
        yield from children.drive_open(mover, open_step)
        return True
    if open_step.wake_at is not None:
        wait_s = seconds_between(mover.now(), open_step.wake_at)
        if wait_s > 0:
            if not mover.patient:
                return False
            if draft.driver is None or draft.driver.token != mover.me.token:
                yield from mover.commit(mover.me)
            yield NextEvent(wait_s)
        open_step = step.retry(draft, open_step, now=mover.now())
        yield from mover.commit(mover.me)
    else:
        yield from _take_over(mover, open_step)
    effect = open_step.effect
    decision = decide(
        mover, effect["type"], effect["payload"], effect["result_key"], open_step.next_node
    )
    if isinstance(decision, Perform):
        text = encode(effect["payload"])
        return (yield from _attempts(mover, open_step, decision, text))
    if isinstance(decision, EffectOutcome):
        apply(mover, Done(open_step, decision, final=True))
    return True


def _take_over(mover: Mover, open_step: OpenStep) -> Flow[None]:
    """The step's driver is dead: write down who goes on, before anything is performed again."""
    draft = mover.draft
    if draft.driver is not None and draft.driver.token == mover.me.token:
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


def _attempts(mover: Mover, open_step: OpenStep, perform: Perform, text: bytes) -> Flow[bool]:
    """Make attempts until one completes, waits, or the policy gives up; False: one is due later."""
    while True:
        run = mover.draft.run
        context = _context(run.run_id, open_step) if perform.wants_step else None
        yield attempt(perform, run, open_step.effect, text, open_step.next_node, context)
        _, said = yield NEXT
        before = mover.draft.encoding
        outcome, again = _absorbed(mover, perform, said)
        after = mover.draft.encoding
        vars = None if after is before else Changed(before, after)
        done = Done(open_step, outcome, again, False, vars)
        mover.pending.append(done)
        delay = apply(mover, done)
        if delay is None:
            return True
        later = mover.draft.open_steps[MAIN]
        if delay > 0:
            yield from mover.commit(mover.me)
            if not mover.patient:
                return False
            yield NextEvent(delay)
        open_step = step.retry(mover.draft, later, now=mover.now())
        yield from mover.commit(mover.me)


def _context(run_id: str, open_step: OpenStep) -> StepContext:
    return StepContext(
        run_id,
        open_step.node_id,
        open_step.visit,
        open_step.step_id,
        open_step.key,
        open_step.attempt,
    )


def _absorbed(
    mover: Mover, perform: Perform, said: EffectOutcome | Raised
) -> tuple[EffectOutcome, Raised | None]:
    """The outcome, with what the handler did to vars taken or, after a failure, undone."""
    draft = mover.draft
    again = said if type(said) is Raised else None
    outcome = EffectOutcome.failed(again.error) if again else said
    if not perform.touches_vars:
        return outcome, again  # type: ignore[return-value]
    if outcome.status == "failed":  # type: ignore[union-attr]
        draft.restore()
        return outcome, again  # type: ignore[return-value]
    try:
        draft.absorb()
    except InvalidInput as error:
        draft.restore()
        text = f"Effect handler left vars that cannot be stored: {error.message}"
        return EffectOutcome.failed(text), Raised(text, retry=False)
    return outcome, again  # type: ignore[return-value]


@value
class Done:
    """An outcome until a commit holds it.

    `again` says more of a failure, `final` that it is not tried again, `vars` what a handler
    changed. One that was performed outside stands in the mover's `pending`.
    """

    step: OpenStep
    outcome: EffectOutcome
    again: Raised | None = None
    final: bool = False
    vars: Changed | None = None


def apply_again(mover: Mover, found: OpenStep, done: Done) -> None:
    """Put an outcome, with what its handler did to vars, into a fresh draft of the run."""
    draft = mover.draft
    if done.vars is not None:
        done.vars.apply_to(draft.run.vars)
        draft.absorb()
    done = replace(done, step=found)
    mover.pending.append(done)
    apply(mover, done)


def apply(mover: Mover, done: Done) -> float | None:
    """Put the outcome into the draft. Seconds until the next attempt, or None: the step is over."""
    draft, settings = mover.draft, mover.settings
    open_step, outcome, again, final = done.step, done.outcome, done.again, done.final
    now = mover.now()
    error = outcome.error or "unknown error"
    try:
        if outcome.status == "completed":
            step.complete(draft, open_step, outcome.result, now=now)
            _journal_vars(mover, done)
            return None
        if outcome.status == "waiting" and outcome.wait is not None:
            if outcome.wait.until is not None:
                normal(outcome.wait.until, what="waiting.until")
            step.wait(draft, open_step, outcome.wait, now=now)
            _journal_vars(mover, done)
            return None
        if outcome.status != "failed":
            error, final = f"Effect outcome has no known status: {outcome.status!r}", True
    except InvalidInput as refused:
        # Performed, but its result cannot be stored: trying again would perform it twice.
        error, final = f"Effect outcome cannot be stored: {refused.message}", True
    if not final and (again is None or again.retry):
        effect = Effect(
            open_step.effect["type"], open_step.effect["payload"], open_step.effect["result_key"]
        )
        if open_step.attempt < settings.policy.max_attempts(effect):
            delay = settings.policy.backoff_seconds(effect=effect, attempt=open_step.attempt)
            delay = max(float(delay), (again.retry_after if again else None) or 0.0)
            step.fail_attempt(draft, open_step, error, now=now, next_at=plus(now, delay))
            return delay
    step.fail_attempt(draft, open_step, error, now=now, next_at=None)
    ends.fail(
        draft,
        f"Effect failed after {open_step.attempt} attempts: {error}",
        now=now,
        line_id=settings.new_id(),
    )
    return None


def _journal_vars(mover: Mover, done: Done) -> None:
    if mover.settings.journals_vars and done.vars is not None:
        mover.draft.lines[-1].record["vars"] = done.vars.to_dict()


def keep_evidence(mover: Mover, open_step: OpenStep, outcome: EffectOutcome) -> Flow[None]:
    """The run had moved on when the outcome came: keep it beside the run."""
    said: dict[str, Any] = {
        "step_id": open_step.step_id,
        "node_id": open_step.node_id,
        "visit": open_step.visit,
        "attempt": open_step.attempt,
        "idempotency_key": open_step.key,
        "status": outcome.status,
        "result": outcome.result,
        "wait": None if outcome.wait is None else wait_to_dict(outcome.wait),
        "error": outcome.error,
    }
    try:
        said = exact(said)[1]
    except InvalidInput as error:
        said = {**said, "result": None, "wait": None, "error": f"not JSON: {error.message}"}
    run_id = mover.run.run_id
    evidence = Evidence(
        evidence_id=f"{open_step.step_id}:{open_step.attempt}",
        run_id=run_id,
        step_id=open_step.step_id,
        digest=hashlib.sha256(chain_form(said)).hexdigest(),
        outcome=said,
        kept_at=mover.now(),
    )
    yield Read(lambda store: store.keep_evidence(evidence))
