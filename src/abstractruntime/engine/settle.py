"""From an outcome to the draft: the step is over, is tried again, waits or is in doubt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from abstractruntime.core.canonical import chain_form, exact
from abstractruntime.core.checkpoint import NO_TERMS, OpenStep
from abstractruntime.core.commit import Evidence
from abstractruntime.core.machine import ends, join, pause, step, undo
from abstractruntime.core.machine.redo import Changed
from abstractruntime.core.models import Effect, wait_to_dict
from abstractruntime.core.options import Delivery, Options, options_from
from abstractruntime.core.times import normal, plus, seconds_between
from abstractruntime.core.values import value
from abstractruntime.engine import budgets
from abstractruntime.engine.effects import Raised
from abstractruntime.engine.outcome import EffectOutcome
from abstractruntime.engine.requests import Flow, Read
from abstractruntime.errors import InvalidInput
from abstractruntime.storage.base import Store

if TYPE_CHECKING:
    from abstractruntime.engine.advance import Mover


@value
class Done:
    """An outcome until a commit holds it.

    `again` says more of a failure, `final` that it is not tried again, `vars` what a handler
    changed, `runs_on` that its thread lives on, `progress` what it told of itself. One that was
    performed outside stands in the mover's `pending`.
    """

    step: OpenStep
    outcome: EffectOutcome
    again: Raised | None = None
    final: bool = False
    vars: Changed | None = None
    runs_on: bool = False
    progress: Any = None


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
    draft = mover.draft
    open_step, outcome, final = done.step, done.outcome, done.final
    now = mover.now()
    status, error = outcome.status, outcome.error or "unknown error"
    if draft.terms is not NO_TERMS:
        budgets.settle(mover, done)
    try:
        if status == "completed":
            step.complete(draft, open_step, outcome.result, now=now)
            _journal_vars(mover, done)
            return None
        if status == "waiting" and undo.is_undo(open_step):
            error, final = "An undo cannot wait", True
        elif status == "waiting" and outcome.wait is not None:
            if outcome.wait.until is not None:
                normal(outcome.wait.until, what="waiting.until")
            step.wait(draft, open_step, outcome.wait, now=now)
            _journal_vars(mover, done)
            return None
        if status not in ("failed", "unknown"):
            error, final = f"Effect outcome has no known status: {status!r}", True
    except InvalidInput as refused:
        # Performed, but its result cannot be stored: trying again would perform it twice.
        error, final = f"Effect outcome cannot be stored: {refused.message}", True
    return _fail(mover, done, error, final=final, now=now)


def _fail(mover: Mover, done: Done, error: str, *, final: bool, now: str) -> float | None:
    draft, open_step, again = mover.draft, done.step, done.again
    options = options_from(open_step.effect)
    if done.progress is not None:
        open_step = replace(open_step, progress=done.progress)
    once = options.delivery is Delivery.AT_MOST_ONCE
    if once and done.outcome.status == "unknown" and not final:
        step.doubt(draft, open_step, error, now=now)
        return None
    # Of a step that must not be performed twice only its handler can say that nothing was done.
    may = not final and (again is None or (again.retry and (again.retryable or not once)))
    if may and again is not None and options.retry is not None:
        may = not set(again.kinds).intersection(options.retry.never)
    if may:
        delay = _delay(mover, open_step, options, again, now)
        if delay is not None:
            step.fail_attempt(draft, open_step, error, now=now, next_at=plus(now, delay))
            return delay
    _give_up(mover, open_step, options, error, now, known=done.outcome.status != "unknown")
    return None


def _delay(
    mover: Mover, open_step: OpenStep, options: Options, again: Raised | None, now: str
) -> float | None:
    """Seconds until the next attempt; None when there is none."""
    policy, attempt = mover.settings.policy, open_step.attempt
    least = (again.retry_after if again else None) or 0.0
    if options.retry is None:
        told = open_step.effect
        effect = Effect(told["type"], told["payload"], told["result_key"])
        if attempt >= policy.max_attempts(effect):
            return None
        delay = max(float(policy.backoff_seconds(effect=effect, attempt=attempt)), least)
    else:
        if attempt % options.retry.attempts == 0:
            return None
        spread = int(hashlib.sha256(f"{open_step.key}:{attempt}".encode()).hexdigest()[:8], 16)
        delay = max(options.retry.delay(attempt, spread=spread / 2**32), least)
    bound = options.total_timeout_s
    if bound is None or open_step.first_at is None:
        return delay
    return delay if seconds_between(open_step.first_at, now) + delay < bound else None


def _give_up(
    mover: Mover, open_step: OpenStep, options: Options, error: str, now: str, *, known: bool
) -> None:
    """`known`: its last attempt is known to have done nothing."""
    draft, settings = mover.draft, mover.settings
    text = f"Effect failed after {open_step.attempt} attempts: {error}"
    exhausted = "fail" if options.retry is None else options.retry.on_exhausted
    if undo.is_undo(open_step):
        # Neither ended with it undone nor undone by half: somebody has to look.
        why = f"The undo failed after {open_step.attempt} attempts: {error}"
        step.doubt(draft, open_step, why, now=now)
        return
    if draft.terms.undos and known and exhausted != "pause":
        undo.not_performed(draft, open_step, now=now, line_id=settings.new_id())
    if exhausted == "pause":
        step.fail_attempt(draft, open_step, error, now=now, next_at=now)
        pause.pause(draft, reason=text, cause="exhausted", now=now, line_id=settings.new_id())
    elif open_step.joins:
        step.fail_attempt(draft, open_step, error, now=now, next_at=None)
        join.fail(draft, open_step.branch, error)
    elif exhausted == "fail" or exhausted not in mover.spec.nodes:
        step.fail_attempt(draft, open_step, error, now=now, next_at=None)
        ends.fail(draft, text, now=now, line_id=settings.new_id())
    else:
        step.exhaust(draft, open_step, error, exhausted, now=now)


def _journal_vars(mover: Mover, done: Done) -> None:
    if mover.settings.journals_vars and done.vars is not None:
        mover.draft.lines[-1].record["vars"] = done.vars.to_dict()


def keep_evidence(mover: Mover, open_step: OpenStep, outcome: EffectOutcome) -> Flow[None]:
    """The run had moved on when the outcome came: keep it beside the run."""
    evidence = evidence_of(mover.run.run_id, open_step, outcome, now=mover.now())
    yield Read(lambda store: store.keep_evidence(evidence))


def late_keeper(mover: Mover, open_step: OpenStep) -> Callable[[Store, Any], None]:
    """What keeps the outcome of an attempt that comes when its flow is over."""
    run_id, clock = mover.run.run_id, mover.settings.now

    def keep(store: Store, said: EffectOutcome | Raised) -> None:
        outcome = EffectOutcome.failed(said.error) if isinstance(said, Raised) else said
        store.keep_evidence(evidence_of(run_id, open_step, outcome, now=clock()))

    return keep


def evidence_of(run_id: str, open_step: OpenStep, outcome: EffectOutcome, *, now: str) -> Evidence:
    """The outcome as it is kept beside its run."""
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
    return Evidence(
        evidence_id=f"{open_step.step_id}:{open_step.attempt}",
        run_id=run_id,
        step_id=open_step.step_id,
        digest=hashlib.sha256(chain_form(said)).hexdigest(),
        outcome=said,
        kept_at=now,
    )
