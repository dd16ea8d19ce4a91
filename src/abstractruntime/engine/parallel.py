"""Several effects of one plan at once: their intents in one commit, their outcomes as they come.

Theory of operation. `begin` writes every branch's intent. `go_on` keeps as many attempts running as
the plan allows, commits what has ended, and settles the join after each event; it is entered anew
after a crash or an answer, and knows of a branch only what the checkpoint says. Children and
transactions are moved while no attempt runs, for their flows hear the same driver's events.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from abstractruntime.core.canonical import encode
from abstractruntime.core.checkpoint import Join, OpenStep
from abstractruntime.core.machine import join, step
from abstractruntime.core.machine.plan import Fanout, Planned
from abstractruntime.core.models import RunStatus
from abstractruntime.core.options import Delivery, options_from
from abstractruntime.core.times import seconds_between
from abstractruntime.engine import (
    approvals,
    attempts,
    budgets,
    children,
    doubt,
    perform,
    recalls,
)
from abstractruntime.engine.effects import Decision, Perform, Raised, StartChild
from abstractruntime.engine.lent import Running
from abstractruntime.engine.naps import held, nap
from abstractruntime.engine.outcome import EffectOutcome
from abstractruntime.engine.requests import Abandon, Flow, Forget, NextEvent
from abstractruntime.engine.settle import Done, apply, keep_evidence
from abstractruntime.errors import InvalidInput

if TYPE_CHECKING:
    from abstractruntime.engine.advance import Mover

LIMIT = 32
"""Attempts at a time when the plan says nothing."""


def begin(mover: Mover, fan: Fanout) -> Flow[None]:
    """Write down all branches; those that wait do so at once, the others are performed next."""
    draft = mover.draft
    known = recalls.Branches()
    if draft.recall is not None:
        known = yield from recalls.branches(mover, fan.branches)
    opened = Join(
        draft.run.current_node,
        draft.visit(),
        fan.next_node,
        len(fan.branches),
        fan.need,
        fan.borne,
        fan.limit,
        fan.into,
    )
    try:
        keys = [perform.step_key(mover, each, str(n)) for n, each in enumerate(fan.branches)]
    except InvalidInput as error:
        mover.fail_node(error)
        return
    join.begin(draft, opened)
    for number, planned in enumerate(fan.branches):
        branch = str(number)
        if not known.take(mover, planned, branch):
            yield from _intend(mover, planned, keys[number], branch)
    if not settled(mover) and draft.open_steps:
        yield from mover.commit(mover.me)


def _intend(mover: Mover, planned: Planned, key: str, branch: str) -> Flow[None]:
    decision: Decision = perform.decide(
        mover, planned.type, planned.payload, planned.result_key, planned.next_node, branch
    )
    if type(decision) is Perform:
        planned = perform.with_declared(planned, decision)
    refused = approvals.bars(mover, planned, decision)
    if refused is None and budgets.limits(mover):
        # Each is counted when its turn comes: one that a budget holds back is intended, and waits.
        perform.intend(mover, planned, key, branch=branch, begun=False)
        return
    if refused is not None:
        opened = perform.intend(mover, planned, key, branch=branch)
    elif type(decision) is StartChild:
        yield from children.begin_branch(mover, planned, key, decision, branch)
        return
    elif type(decision) is Perform:
        once = (planned.options or {}).get("delivery") == Delivery.AT_MOST_ONCE.value
        opened = perform.intend(mover, planned, key, branch=branch, begun=not once)
        refused = attempts.refusal(mover, opened, decision)
    else:
        opened = perform.intend(mover, planned, key, branch=branch)
        if type(decision) is EffectOutcome:
            refused = decision
    if refused is not None:
        apply(mover, Done(opened, refused, final=True))


def settled(mover: Mover) -> bool:
    """Fire the join or fail the run when that is decided."""
    if mover.draft.join is None:
        return True
    return join.settle(mover.draft, now=mover.now(), ids=mover.settings.new_id)


def go_on(mover: Mover) -> Flow[bool]:
    """Move the branches until the join fires, the run ends or all wait; False: due later."""
    return (yield from _Branches(mover).go_on())


class _Branches:
    """The branches of the open plan, as one flow moves them."""

    def __init__(self, mover: Mover) -> None:
        self.mover = mover
        self.running: dict[str, Running] = {}

    def go_on(self) -> Flow[bool]:
        mover = self.mover
        yield from self._take_over()
        while True:
            if mover.draft.join is None or settled(mover):
                yield from self._forget_all()
                return True
            if mover.run.status is not RunStatus.RUNNING:
                yield from self._forget_all()
                return True
            waits = held(mover)
            if not waits and (yield from self._start_more()):
                continue
            if self.running:
                yield from self._hear()
            elif waits:
                return True
            elif not (yield from self._sleep()):
                return mover.run.status is not RunStatus.RUNNING

    # -- beginning

    def _take_over(self) -> Flow[None]:
        """Of steps that a dead driver left: those that must not be begun twice are in doubt."""
        mover = self.mover
        draft = mover.draft
        if draft.driver is not None and draft.driver.token == mover.me.token:
            return
        open_steps = [
            s
            for s in draft.open_steps.values()
            if s.begun and s.unknown is None and s.wake_at is None
        ]
        if not open_steps:
            return
        draft.note(
            "recovered",
            line_id=mover.settings.new_id(),
            now=mover.now(),
            recovered_steps=[each.step_id for each in open_steps],
            driver=None if draft.driver is None else draft.driver.to_dict(),
        )
        for each in open_steps:
            budgets.forfeit(mover, each)
        yield from mover.commit(mover.me)
        for each in open_steps:
            found = mover.draft.open_steps.get(each.branch)
            if found is None or found.step_id != each.step_id or found.wake_at is not None:
                continue
            if options_from(each.effect).delivery is Delivery.AT_MOST_ONCE:
                yield from doubt.reconcile(mover, found, self._decide(found))

    def _start_more(self) -> Flow[bool]:
        """Begin what may begin now; True: something else than an attempt was done."""
        mover = self.mover
        opened = mover.draft.join
        assert opened is not None
        room = (opened.limit or LIMIT) - len(self.running)
        ready: list[OpenStep] = []
        for branch, found in mover.draft.open_steps.items():
            if len(ready) >= room:
                break
            if branch in self.running or found.unknown is not None or not self._is_due(found):
                continue
            if found.child is not None and self.running:
                continue
            ready.append(found)
        if not ready:
            return False
        if budgets.limits(mover):
            ready = yield from budgets.admitted(mover, ready)
            if mover.draft.creates:
                yield from self._commit()
                return True
            if not ready:
                return True
        alone = next((each for each in ready if self._needs_quiet(each)), None)
        if alone is not None:
            if self.running:
                ready = [each for each in ready if not self._needs_quiet(each)]
            else:
                yield from self._alone(alone)
                return True
        begun = [self._begun(each) for each in ready]
        unwritten = mover.draft.dirty or mover.draft.driver is None
        if unwritten and not (yield from self._commit()):
            return True
        for each in begun:
            yield from self._start(each)
        return False

    def _is_due(self, found: OpenStep) -> bool:
        return found.wake_at is None or found.wake_at <= self.mover.now()

    def _needs_quiet(self, found: OpenStep) -> bool:
        """Whether it is moved by requests of its own, which no attempt may run beside."""
        transactional = options_from(found.effect).delivery is Delivery.TRANSACTIONAL
        return found.child is not None or transactional

    def _alone(self, found: OpenStep) -> Flow[None]:
        mover = self.mover
        if found.child is not None:
            yield from children.drive_open(mover, found)
            return
        found = self._begun(found)
        if mover.draft.dirty and not (yield from self._commit()):
            return
        decision = self._decide(found)
        if isinstance(decision, Perform):
            yield from attempts.once_in_transaction(mover, found, decision)
        else:
            self._settle_at_once(found, decision)

    def _begun(self, found: OpenStep) -> OpenStep:
        """The step with the intent of the attempt that begins now in the draft."""
        draft, now = self.mover.draft, self.mover.now()
        if found.wake_at is not None:
            return perform.retry(self.mover, found)
        if found.begun:
            return found
        draft.urgent = True
        return step.set_out(draft, found, now=now, line_id=self.mover.settings.new_id())

    def _start(self, found: OpenStep) -> Flow[None]:
        mover = self.mover
        decision = self._decide(found)
        if not isinstance(decision, Perform):
            self._settle_at_once(found, decision)
            return
        options = options_from(found.effect)
        text = encode(found.effect["payload"])
        lent, begun = attempts.lend(mover, found, decision, text, options)
        left, why = attempts.time_left(mover, found, options)
        self.running[found.branch] = Running(lent, left, why)
        yield begun

    def _settle_at_once(self, found: OpenStep, decision: Decision) -> None:
        if isinstance(decision, EffectOutcome):
            apply(self.mover, Done(found, decision, final=True))

    def _decide(self, found: OpenStep) -> Decision:
        effect = found.effect
        return perform.decide(
            self.mover,
            effect["type"],
            effect["payload"],
            effect["result_key"],
            found.next_node,
            found.branch,
        )

    # -- hearing

    def _hear(self) -> Flow[None]:
        """Wait for something to end or to be over time; what has ended by then goes together."""
        mover = self.mover
        seconds = min(min(each.left, each.quiet) for each in self.running.values())
        wake = self._next_wake()
        if wake is not None:
            seconds = min(seconds, max(seconds_between(mover.now(), wake), 0.0))
        before = mover.now()
        event = yield NextEvent(None if seconds == math.inf else max(seconds, 0.0))
        passed = seconds if event is None else seconds_between(before, mover.now())
        while event is not None:
            yield from self._ended(*event)
            event = (yield NextEvent(0.0)) if self.running else None
        yield from self._watch_time(passed)
        if not settled(mover) and mover.draft.dirty:
            yield from self._commit()

    def _ended(self, branch: str, said: Any) -> Flow[None]:
        mover = self.mover
        running = self.running.pop(branch)
        found = mover.draft.open_steps.get(branch)
        if found is None or found.step_id != running.lent.step.step_id:
            if isinstance(said, EffectOutcome):
                yield from keep_evidence(mover, running.lent.step, said)
                mover.draft.evidence += 1
            return
        if running.over and not (isinstance(said, EffectOutcome) and said.status == "completed"):
            if found.wake_at is None:  # it was cancelled: now its time is over
                self._give_up(found, running, runs_on=False)
            return
        lent = replace(running.lent, step=found)
        apply(mover, attempts.returned(mover, lent, said))

    def _watch_time(self, passed: float) -> Flow[None]:
        for branch, running in list(self.running.items()):
            if running.over:
                continue
            running.left -= passed
            running.quiet -= passed
            beats = running.lent.beats
            if running.quiet <= 0 and beats is not None and beats.count != running.seen:
                running.quiet, running.seen = running.interval, beats.count
                self._progress(branch, beats.last)
            elif running.quiet <= 0 and running.left > 0:
                running.left, running.why = 0.0, f"no heartbeat for {running.interval:g} s"
            if running.left <= 0:
                running.over, running.left, running.quiet = True, math.inf, math.inf
                if running.lent.perform.awaits:
                    yield Abandon(branch)
                else:
                    found = self.mover.draft.open_steps.get(branch)
                    if found is not None:
                        self._give_up(found, running, runs_on=True)

    def _give_up(self, found: OpenStep, running: Running, *, runs_on: bool) -> None:
        said: Any = Raised(f"Effect attempt was given up: {running.why}", kinds=("TimeoutError",))
        if running.lent.options.delivery is Delivery.AT_MOST_ONCE:
            said = EffectOutcome.unknown(said.error)
        lent = replace(running.lent, step=found)
        apply(self.mover, attempts.returned(self.mover, lent, said, runs_on=runs_on))

    def _progress(self, branch: str, details: Any) -> None:
        mover = self.mover
        found = mover.draft.open_steps.get(branch)
        if found is not None:
            line_id = mover.settings.new_id()
            step.progress(mover.draft, found, details, now=mover.now(), line_id=line_id)

    # -- resting

    def _next_wake(self) -> str | None:
        draft = self.mover.draft
        times = [each.wake_at for b, each in draft.open_steps.items() if b not in self.running]
        return min((at for at in times if at is not None), default=None)

    def _sleep(self) -> Flow[bool]:
        """Nothing runs: sleep until a retry is due. False: it is due later, or all wait."""
        mover = self.mover
        wake = self._next_wake()
        if wake is None:
            join.rest(mover.draft)
            driver = mover.draft.driver
            if driver is None or driver.token != mover.me.token:
                yield from mover.commit(None)  # a word from outside, or a dead one, left it running
            return False
        seconds = seconds_between(mover.now(), wake)
        if seconds > 0:
            if not mover.patient:
                return False
            if mover.draft.dirty:
                yield from self._commit()
            yield from nap(mover, seconds)
        return True

    def _forget_all(self) -> Flow[None]:
        """The join has fired: what still runs is let go of, and kept as evidence when it ends."""
        for branch in list(self.running):
            yield Forget(branch)
        self.running.clear()

    def _commit(self) -> Flow[bool]:
        """Commit what is there; False: it missed, and the draft is fresh, outcomes put in again.

        A run that another driver took over meanwhile is not touched: RunBusy, or Moved when that
        one is dead too.
        """
        from abstractruntime.engine.advance import Moved

        mover = self.mover
        try:
            yield from mover.commit(mover.me)
        except Moved:
            driver = mover.draft.driver
            if driver is None or driver.token == mover.me.token:
                return False
            mover.refuse_if_busy()
            yield from self._forget_all()
            raise
        return True
