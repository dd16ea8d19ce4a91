"""wait_event {wait_key | wait_keys, timeout_s? | until?, timeout_node?, resume_to_node?} and
wait_until {until, resume_to_node?}."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.identifiers import checked
from abstractruntime.core.machine.mail import WAIT_KEYS
from abstractruntime.core.models import WaitReason, WaitState
from abstractruntime.core.times import normal
from abstractruntime.engine.builtin_effects.time_limits import limit_of
from abstractruntime.engine.effects import StepFacts
from abstractruntime.engine.outcome import EffectOutcome
from abstractruntime.errors import InvalidInput, InvalidTime

MOST_KEYS = 256
"""Keys that one wait may have."""


def wait_event(facts: StepFacts) -> EffectOutcome:
    """Wait for an answer or message under payload.wait_key, or under any of payload.wait_keys."""
    payload = facts.payload
    wait_key, several = payload.get("wait_key"), payload.get(WAIT_KEYS)
    if several is None and (not wait_key or not isinstance(wait_key, str)):
        return EffectOutcome.failed("wait_event requires payload.wait_key")
    details = payload.get("details")
    try:
        more: dict[str, Any] = {}
        if several is not None:
            keys = _keys(several if wait_key is None else [wait_key, *several])
            wait_key, more = keys[0], {WAIT_KEYS: keys}
        until, late = limit_of(facts)
        more.update(late)
        if more and details is not None and not isinstance(details, dict):
            raise InvalidInput("payload.details must be an object")
    except InvalidInput as error:
        return EffectOutcome.failed(f"wait_event {error.message}")
    return EffectOutcome.waiting(
        WaitState(
            reason=WaitReason.EVENT,
            wait_key=wait_key,
            until=until,
            resume_to_node=payload.get("resume_to_node") or facts.next_node,
            result_key=facts.result_key,
            prompt=payload.get("prompt"),
            details={**(details or {}), **more} if more else details,
        )
    )


def _keys(several: Any) -> list[str]:
    if not isinstance(several, list) or not 0 < len(several) <= MOST_KEYS:
        raise InvalidInput(f"payload.wait_keys must be a list of 1 to {MOST_KEYS} texts")
    return list(dict.fromkeys(checked(key, "payload.wait_keys") for key in several))


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
