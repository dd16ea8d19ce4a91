"""The time limit a wait may have: {timeout_s? | until?, timeout_node?} in its payload."""

from __future__ import annotations

import math
from typing import Any

from abstractruntime.core.machine.mail import TIMEOUT_NODE
from abstractruntime.core.times import normal, plus
from abstractruntime.engine.effects import StepFacts
from abstractruntime.errors import InvalidInput


def limit_of(facts: StepFacts) -> tuple[str | None, dict[str, Any]]:
    """Until when the wait lasts, and what its details must say of it; InvalidInput."""
    payload = facts.payload
    seconds, until = payload.get("timeout_s"), payload.get("until")
    node = payload.get(TIMEOUT_NODE)
    if seconds is not None and until is not None:
        raise InvalidInput("takes payload.timeout_s or payload.until, not both")
    if seconds is not None:
        if type(seconds) not in (int, float) or not 0 < seconds < math.inf:
            raise InvalidInput("payload.timeout_s must be seconds above 0")
        until = plus(facts.now, seconds)
    elif until is not None:
        until = normal(until, what="payload.until")
    if node is None:
        return until, {}
    if until is None:
        raise InvalidInput("payload.timeout_node needs payload.timeout_s or payload.until")
    if not isinstance(node, str) or node not in facts.spec.nodes:
        raise InvalidInput(f"payload.timeout_node names no node: {node!r}")
    return until, {TIMEOUT_NODE: node}
