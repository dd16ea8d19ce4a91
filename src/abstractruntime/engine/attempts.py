"""The attempts of one effect: made, bounded in time, made again, each outcome settled."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from abstractruntime.core.canonical import encode
from abstractruntime.core.checkpoint import OpenStep
from abstractruntime.core.commit import Commit
from abstractruntime.core.delta import Encoding
from abstractruntime.core.machine import step
from abstractruntime.core.machine.assemble import assemble
from abstractruntime.core.machine.redo import Changed
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.core.options import DEFAULT, Delivery, Options, options_from
from abstractruntime.core.times import plus, seconds_between
from abstractruntime.core.values import value
from abstractruntime.engine import budgets
from abstractruntime.engine.effects import Perform, Raised, attempt
from abstractruntime.engine.naps import nap
from abstractruntime.engine.outcome import EffectOutcome, Heartbeats, StepContext
from abstractruntime.engine.requests import NEXT, Abandon, Flow, Forget, NextEvent, Spawn, Transact
from abstractruntime.engine.settle import Done, apply, keep_evidence, late_keeper
from abstractruntime.errors import InvalidInput

if TYPE_CHECKING:
    from abstractruntime.core.machine.draft import Draft
    from abstractruntime.engine.advance import Mover
    from abstractruntime.storage.base import Transaction

TRANSACTION_S = 30.0
"""Seconds a transactional handler has for its rows when nothing else was said."""


def refusal(mover: Mover, open_step: OpenStep, perform: Perform) -> EffectOutcome | None:
    """Why the effect cannot be performed as it wants to be; None when it can."""
    if options_from(open_step.effect).delivery is not Delivery.TRANSACTIONAL:
        return None
    if not mover.settings.transactional:
        return EffectOutcome.failed(
            "A transactional effect needs a SQL store: this one has no transactions for handlers"
        )
    if perform.awaits:
        return EffectOutcome.failed("A transactional effect needs a sync handler, not an async one")
    return None


def attempts(mover: Mover, open_step: OpenStep, perform: Perform, text: bytes) -> Flow[bool]:
    """Make attempts until one completes, waits, or the policy gives up; False: one is due later."""
    options = options_from(open_step.effect)
    while True:
        if options.delivery is Delivery.TRANSACTIONAL:
            said = yield from _transacted(mover, open_step, perform, options)
            if said is None:
                return True
            done = Done(open_step, *_told(said))
        else:
            done = yield from _performed(mover, open_step, perform, text, options)
        delay = apply(mover, done)
        if delay is None:
            if options is DEFAULT:
                return True
            if done.runs_on:
                yield Forget(open_step.branch)
            return (yield from _over(mover, options))
        open_step = mover.draft.open_steps[open_step.branch]
        if delay > 0 or done.runs_on:
            yield from mover.commit(mover.me)
        if done.runs_on and (yield from _heard_late(mover, open_step, delay)):
            return (yield from _over(mover, options))
        if delay > 0:
            if not mover.patient:
                return False
            if not done.runs_on and not (yield from nap(mover, delay)):
                return True
        if not (yield from budgets.again(mover, open_step)):
            return True
        if options.delivery is Delivery.AT_MOST_ONCE:
            mover.draft.urgent = True
        open_step = step.retry(mover.draft, open_step, now=mover.now())
        yield from mover.commit(mover.me)


def _over(mover: Mover, options: Options) -> Flow[bool]:
    """The step is over: an outcome that must not ride with what comes next is committed alone."""
    running = mover.run.status is RunStatus.RUNNING
    alone = options.delivery is not Delivery.AT_LEAST_ONCE or options.approval is not None
    if alone and running and mover.draft.dirty:
        yield from mover.commit(mover.me)
    return True


def _performed(
    mover: Mover, open_step: OpenStep, perform: Perform, text: bytes, options: Options
) -> Flow[Done]:
    """One attempt, to its outcome or the end of its time."""
    if options is not DEFAULT and options.timed:
        lent, begun = lend(mover, open_step, perform, text, options)
        yield begun
        said, runs_on = yield from _bounded(mover, open_step, perform, options, lent.beats)
        return returned(mover, lent, said, runs_on=runs_on)
    draft = mover.draft
    run, before = draft.run, draft.encoding
    context = _context(mover, open_step, options) if perform.wants_step else None
    branch = open_step.branch
    yield attempt(perform, run, open_step.effect, text, open_step.next_node, context, branch)
    _, said = yield NEXT
    outcome, again = _absorbed(draft, perform, said)
    vars = None if draft.encoding is before else Changed(before, draft.encoding)
    beats = None if context is None else context.heartbeats
    progress = beats.last if beats is not None and beats.count else None
    done = Done(open_step, outcome, again, False, vars, False, progress)
    mover.pending.append(done)
    return done


@value
class Lent:
    """A running attempt that others are committed beside, or that may outlive its time: what it
    does to vars is its own until it is over."""

    step: OpenStep
    perform: Perform
    options: Options
    run: RunState
    encoding: Encoding
    beats: Heartbeats | None


def lend(
    mover: Mover, open_step: OpenStep, perform: Perform, text: bytes, options: Options
) -> tuple[Lent, Spawn]:
    """An attempt with a run of its own, and the request to begin it."""
    draft = mover.draft
    run = draft.run
    if perform.touches_vars:
        run = replace(run, vars=Encoding.parse(draft.encoding.text())[1])
    context = _context(mover, open_step, options) if perform.wants_step else None
    branch = open_step.branch
    begun = attempt(perform, run, open_step.effect, text, open_step.next_node, context, branch)
    beats = None if context is None else context.heartbeats
    lent = Lent(open_step, perform, options, run, draft.encoding, beats)
    return lent, replace(begun, late=late_keeper(mover, open_step))


def returned(mover: Mover, lent: Lent, said: Any, *, runs_on: bool = False) -> Done:
    """The outcome of a lent attempt, pending; what its handler did to vars is done to the run's."""
    outcome, again = _told(said)
    vars = None
    if lent.perform.touches_vars and outcome.status in ("completed", "waiting"):
        try:
            after, _, delta = lent.encoding.step(lent.run.vars)
        except InvalidInput as error:
            text = f"Effect handler left vars that cannot be stored: {error.message}"
            outcome, again = EffectOutcome.failed(text), Raised(text, retry=False)
        else:
            vars = None if delta is None else Changed(lent.encoding, after)
    if vars is not None:
        draft = mover.draft
        if not draft.absorbed:
            draft.absorb()
        vars.apply_to(draft.run.vars)
        draft.absorb()
    beats = lent.beats
    progress = beats.last if beats is not None and beats.count else None
    done = Done(lent.step, outcome, again, False, vars, runs_on, progress)
    mover.pending.append(done)
    return done


# -- bounds in time


def _bounded(
    mover: Mover,
    open_step: OpenStep,
    perform: Perform,
    options: Options,
    beats: Heartbeats | None,
) -> Flow[tuple[Any, bool]]:
    """(What the running attempt said, or that its time is over; whether it runs on all the same).

    Heartbeats are recorded while it runs; one that stays out is looked for once per interval.
    """
    left, why = time_left(mover, open_step, options)
    interval = options.heartbeat_s or math.inf
    seen = 0
    while True:
        slice_s = min(left, interval)
        event = yield NextEvent(max(slice_s, 0.0))
        if event is not None:
            return event[1], False
        left -= slice_s
        if left <= 0:
            break
        if beats is None or beats.count == seen:
            why = f"no heartbeat for {interval:g} s"
            break
        seen = beats.count
        if not (yield from _record_progress(mover, open_step, beats.last)):
            yield from _stop_attempt(perform, open_step.branch)
            raise mover.moved()
    said, runs_on = yield from _stop_attempt(perform, open_step.branch)
    if isinstance(said, EffectOutcome):
        return said, False
    if options.delivery is Delivery.AT_MOST_ONCE:
        return EffectOutcome.unknown(f"Its attempt was given up: {why}"), runs_on
    late = f"Effect attempt was given up: {why}"
    return Raised(late, kinds=("TimeoutError",), unknown=True), runs_on


def time_left(mover: Mover, open_step: OpenStep, options: Options) -> tuple[float, str]:
    """Seconds the attempt that begins now may take, and what to say when they are over."""
    left, why = math.inf, ""
    if options.timeout_s is not None:
        left, why = options.timeout_s, f"it took longer than {options.timeout_s:g} s"
    if options.total_timeout_s is not None and open_step.first_at is not None:
        total = options.total_timeout_s - seconds_between(open_step.first_at, mover.now())
        if total < left:
            left = total
            why = f"its attempts together took longer than {options.total_timeout_s:g} s"
    return left, why


def _stop_attempt(perform: Perform, branch: str) -> Flow[tuple[Any, bool]]:
    """Cancel the attempt: (what it had said already, whether it runs on)."""
    if not perform.awaits:
        return None, True
    yield Abandon(branch)
    _, said = yield NEXT
    return said, False


def _record_progress(mover: Mover, open_step: OpenStep, details: Any) -> Flow[bool]:
    """Write down how far the attempt came; False: the step is not open any more."""
    from abstractruntime.engine.advance import Moved

    while True:
        found = mover.draft.open_steps.get(open_step.branch)
        if found is None or found.step_id != open_step.step_id:
            return False
        step.progress(mover.draft, found, details, now=mover.now(), line_id=mover.settings.new_id())
        try:
            yield from mover.commit(mover.me)
        except Moved:
            continue
        return True


def _heard_late(mover: Mover, open_step: OpenStep, delay: float) -> Flow[bool]:
    """Wait for the thread of an attempt that was given up: no other begins while it lives.

    True: it completed after all, and its outcome is the step's. At least `delay` seconds pass else.
    """
    begun = mover.now()
    _, said = yield NEXT
    if isinstance(said, EffectOutcome) and said.status == "completed":
        done = Done(open_step, said, final=True)
        mover.pending.append(done)
        apply(mover, done)
        return True
    if isinstance(said, EffectOutcome):
        yield from keep_evidence(mover, open_step, said)
        mover.draft.evidence += 1
    left = delay - seconds_between(begun, mover.now())
    if left > 0 and mover.patient:
        yield NextEvent(left)
    return False


# -- inside a transaction of the store


def once_in_transaction(mover: Mover, open_step: OpenStep, perform: Perform) -> Flow[None]:
    """One attempt of a transactional branch; a failed one is settled, not yet committed."""
    options = options_from(open_step.effect)
    said = yield from _transacted(mover, open_step, perform, options)
    if said is not None:
        apply(mover, Done(open_step, *_told(said)))


def _transacted(
    mover: Mover, open_step: OpenStep, perform: Perform, options: Options
) -> Flow[EffectOutcome | Raised | None]:
    """Perform and commit in one transaction; None: committed. Else nothing of it was written."""
    payload = encode(open_step.effect["payload"])
    said: list[Any] = []
    written: list[Commit] = []
    seconds = options.timeout_s or TRANSACTION_S

    def work(transaction: Transaction) -> Commit | None:
        run, draft = mover.run, mover.draft
        context = _context(mover, open_step, options, transaction)
        begun = attempt(
            perform, run, open_step.effect, payload, open_step.next_node, context, open_step.branch
        )
        found = begun.make()
        if transaction.late:
            found = Raised(
                f"Its transaction took longer than {seconds:g} s", kinds=("TimeoutError",)
            )
        outcome, again = _absorbed(draft, perform, found)
        if outcome.status != "completed":
            said.append(again or outcome)
            return None
        apply(mover, Done(open_step, outcome, final=True))
        draft.driver = mover.me
        written.append(assemble(draft, mover.settings.sealer, now=mover.at))
        return written[0]

    yield from mover.transact(Transact(work, seconds), written)
    return None if written else said[0]


# -- what was said


def _context(
    mover: Mover,
    open_step: OpenStep,
    options: Options,
    transaction: Transaction | None = None,
) -> StepContext:
    deadline = None
    if options.timed:
        left, _ = time_left(mover, open_step, options)
        deadline = None if left == math.inf else plus(mover.at, max(left, 0.0))
    return StepContext(
        mover.run.run_id,
        open_step.node_id,
        open_step.visit,
        open_step.step_id,
        open_step.key,
        open_step.attempt,
        deadline,
        Heartbeats(open_step.progress),
        transaction,
        None if transaction is not None else mover.settings.is_cancelled,
    )


def _told(said: Any) -> tuple[EffectOutcome, Raised | None]:
    if type(said) is Raised:
        outcome = EffectOutcome.unknown if said.unknown else EffectOutcome.failed
        return outcome(said.error), said
    return said, None


def _absorbed(
    draft: Draft, perform: Perform, said: EffectOutcome | Raised
) -> tuple[EffectOutcome, Raised | None]:
    """The outcome, with what the handler did to vars taken or, after a failure, undone."""
    outcome, again = _told(said)
    if not perform.touches_vars:
        return outcome, again
    if outcome.status in ("failed", "unknown"):
        draft.restore()
        return outcome, again
    try:
        draft.absorb()
    except InvalidInput as error:
        draft.restore()
        text = f"Effect handler left vars that cannot be stored: {error.message}"
        return EffectOutcome.failed(text), Raised(text, retry=False)
    return outcome, again
