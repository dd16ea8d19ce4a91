"""A step whose outcome nobody knows: its handler is asked, else a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from abstractruntime.core.canonical import decode, encode
from abstractruntime.core.checkpoint import OpenStep
from abstractruntime.engine.effects import Decision, Perform, reconciliation
from abstractruntime.engine.outcome import EffectOutcome, Intent
from abstractruntime.engine.requests import NEXT, Flow
from abstractruntime.engine.settle import Done, apply

if TYPE_CHECKING:
    from abstractruntime.engine.advance import Mover

CUT_SHORT = "Its driver died between the intent and the outcome"


def reconcile(mover: Mover, open_step: OpenStep, decision: Decision) -> Flow[bool]:
    """An attempt of an at_most_once step was cut short: what its handler says of it, or unknown."""
    said: EffectOutcome | None = None
    declared = decision.declared if isinstance(decision, Perform) else None
    why = CUT_SHORT
    if declared is not None and declared.reconcile is not None:
        yield reconciliation(declared.reconcile, intent_of(mover, open_step), open_step.branch)
        _, answer = yield NEXT
        if isinstance(answer, EffectOutcome):
            said = answer
        elif answer is not None:
            why = f"{CUT_SHORT}, and reconcile said: {answer}"
    outcome = said or EffectOutcome.unknown(why)
    apply(mover, Done(open_step, outcome))
    if mover.draft.open_steps:
        return True
    yield from mover.commit(mover.me)
    return True


def intent_of(mover: Mover, open_step: OpenStep) -> Intent:
    """What handlers are told of a step that may have been performed; the payload is their own."""
    effect = open_step.effect
    return Intent(
        run_id=mover.run.run_id,
        node_id=open_step.node_id,
        visit=open_step.visit,
        step_id=open_step.step_id,
        key=open_step.key,
        attempt=open_step.attempt,
        started_at=open_step.started_at,
        type=effect["type"],
        payload=decode(encode(effect["payload"])),
        progress=open_step.progress,
    )
