"""How often an effect is tried, how long between attempts, and the key that names a step outside.

Pure rules: nothing here waits, counts or stores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Protocol, runtime_checkable

from abstractruntime.core.canonical import key_form
from abstractruntime.core.models import Effect, EffectType, RunState, type_name

KEY_LENGTH = 32
# Python's float exponent ends at 1023: more doublings would overflow, and no bound is that high.
_MOST_DOUBLINGS = 1023


@runtime_checkable
class EffectPolicy(Protocol):
    """When an effect is tried again, and the key its handler sends outside."""

    def max_attempts(self, effect: Effect) -> int:
        """How many attempts an effect gets in all, at least 1."""
        ...

    def backoff_seconds(self, *, effect: Effect, attempt: int) -> float:
        """Seconds to wait after the failed `attempt` (1 is the first)."""
        ...

    def idempotency_key(self, *, run: RunState, node_id: str, effect: Effect) -> str:
        """The key of the step that `effect` is at `node_id`."""
        ...


@dataclass
class DefaultEffectPolicy:
    """Attempts by effect type, waits that double up to a bound, keys by the rule of `step_key`.

    `effect_max_attempts` maps effect type values ("llm_call") to attempts; times are seconds.
    """

    default_max_attempts: int = 1
    default_backoff_base: float = 1.0
    default_backoff_max: float = 60.0
    effect_max_attempts: Mapping[str, int] | None = None

    def max_attempts(self, effect: Effect) -> int:
        """Attempts of this effect's type, else the default."""
        return (self.effect_max_attempts or {}).get(
            type_name(effect.type), self.default_max_attempts
        )

    def backoff_seconds(self, *, effect: Effect, attempt: int) -> float:
        """base · 2^(attempt-1), at most the bound."""
        doublings = min(attempt - 1, _MOST_DOUBLINGS)
        return min(self.default_backoff_base * 2.0**doublings, self.default_backoff_max)

    def idempotency_key(self, *, run: RunState, node_id: str, effect: Effect) -> str:
        """The key of this effect at the run's present visit of the node; TypeError for no JSON."""
        checkpoint = run.checkpoint
        return step_key(
            run_id=run.run_id,
            node_id=node_id,
            effect=effect,
            visit=visit_of(run, node_id),
            generation=1 if checkpoint is None else checkpoint.generation,
        )


class RetryPolicy(DefaultEffectPolicy):
    """LLM and tool calls get more than one attempt; every other effect gets one."""

    def __init__(
        self,
        *,
        llm_max_attempts: int = 3,
        tool_max_attempts: int = 2,
        backoff_base: float = 1.0,
        backoff_max: float = 30.0,
    ) -> None:
        super().__init__(
            default_backoff_base=backoff_base,
            default_backoff_max=backoff_max,
            effect_max_attempts={
                EffectType.LLM_CALL.value: llm_max_attempts,
                EffectType.TOOL_CALLS.value: tool_max_attempts,
            },
        )


class NoRetryPolicy(DefaultEffectPolicy):
    """One attempt for every effect."""

    def __init__(self) -> None:
        super().__init__(default_max_attempts=1)


def makes_own_keys(policy: EffectPolicy) -> bool:
    """Whether a policy's keys are its user's own: sent verbatim and looked up by key."""
    return getattr(
        type(policy), "idempotency_key", None
    ) is not DefaultEffectPolicy.idempotency_key or "idempotency_key" in getattr(
        policy, "__dict__", {}
    )


def visit_of(run: RunState, node_id: str) -> int:
    """Which visit of the node a step planned now belongs to; 1 for a run without checkpoint."""
    checkpoint = run.checkpoint
    if checkpoint is None:
        return 1
    counted = checkpoint.visits.get(node_id, 0)
    # A node the host jumped to is counted when its step is planned, which is now.
    jumped = node_id == run.current_node and not checkpoint.entered
    return max(counted + jumped, 1)


def compute_idempotency_key(*, run_id: str, node_id: str, effect: Effect) -> str:
    """The key of an effect at the first visit of a node; TypeError for no JSON."""
    return step_key(run_id=run_id, node_id=node_id, effect=effect, visit=1)


class Asked(Protocol):
    """Whatever says which effect is asked for."""

    @property
    def type(self) -> EffectType | str: ...

    @property
    def payload(self) -> Any: ...


def step_key(
    *,
    run_id: str,
    node_id: str,
    effect: Asked,
    visit: int,
    branch: str = "",
    generation: int = 1,
    payload_form: str | None = None,
) -> str:
    """The idempotency key of a step: 32 hex digits of the sha256 of its identity and effect.

    Hashed is the key form (stdlib JSON, sorted keys, no spaces, ASCII) of {effect_payload,
    effect_type, node_id, run_id}, with branch when not "", generation when not 1, and visit from
    the second on or beside one of those. `payload_form` is the key form of the effect's payload
    where it is known already. TypeError when the payload is no JSON.
    """
    payload = key_form(effect.payload) if payload_form is None else payload_form
    # Written by hand, keys in sorted order: the payload is by far the largest part of the text.
    before = "" if branch == "" else f'"branch":{quoted(branch)},'
    between = "" if generation == 1 else f'"generation":{generation},'
    after = "" if visit == 1 and not before and not between else f',"visit":{visit}'
    text = (
        f'{{{before}"effect_payload":{payload},"effect_type":{quoted(type_name(effect.type))},'
        f'{between}"node_id":{quoted(node_id)},"run_id":{quoted(run_id)}{after}}}'
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:KEY_LENGTH]
