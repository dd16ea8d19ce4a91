"""wait_event {wait_key, resume_to_node?} and wait_until {until, resume_to_node?}."""

from __future__ import annotations

from abstractruntime.core.models import WaitReason, WaitState
from abstractruntime.core.times import normal
from abstractruntime.engine.effects import StepFacts
from abstractruntime.engine.outcome import EffectOutcome
from abstractruntime.errors import InvalidTime


def wait_event(facts: StepFacts) -> EffectOutcome:
    """Wait for an answer or message under payload.wait_key."""
    wait_key = facts.payload.get("wait_key")
    if not wait_key or not isinstance(wait_key, str):
        return EffectOutcome.failed("wait_event requires payload.wait_key")
    return EffectOutcome.waiting(
        WaitState(
            reason=WaitReason.EVENT,
            wait_key=wait_key,
            resume_to_node=facts.payload.get("resume_to_node") or facts.next_node,
            result_key=facts.result_key,
            prompt=facts.payload.get("prompt"),
            details=facts.payload.get("details"),
        )
    )


def wait_until(facts: StepFacts) -> EffectOutcome:
    """Wait until payload.until; completed at once when it is already due."""
    until = facts.payload.get("until")
    if not until:
        return EffectOutcome.failed("wait_until requires payload.until (ISO timestamp)")
    try:
        due = normal(until, what="payload.until")
    except InvalidTime as error:
        return EffectOutcome.failed(error.message)
    if due <= normal(facts.now):
        return EffectOutcome.completed({"until": until, "ready": True})
    return EffectOutcome.waiting(
        WaitState(
            reason=WaitReason.UNTIL,
            until=until,
            resume_to_node=facts.payload.get("resume_to_node") or facts.next_node,
            result_key=facts.result_key,
        )
    )
