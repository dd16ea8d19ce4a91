"""ask_user {prompt, wait_key?, choices?, allow_free_text?, answer_schema?, timeout_s? | until?,
timeout_node?, resume_to_node?}."""

from __future__ import annotations

from abstractruntime.core.checkpoint import MAIN
from abstractruntime.core.models import WaitReason, WaitState
from abstractruntime.engine.answer_schemas import compiled
from abstractruntime.engine.builtin_effects.time_limits import limit_of
from abstractruntime.engine.effects import StepFacts
from abstractruntime.engine.outcome import EffectOutcome
from abstractruntime.errors import InvalidInput


def ask_user(facts: StepFacts) -> EffectOutcome:
    """Wait for a person's answer to payload.prompt."""
    payload = facts.payload
    prompt = payload.get("prompt")
    if not prompt or not isinstance(prompt, str):
        return EffectOutcome.failed("ask_user requires payload.prompt")
    choices = payload.get("choices")
    if choices is not None and not (
        isinstance(choices, list) and all(isinstance(choice, str) for choice in choices)
    ):
        return EffectOutcome.failed("ask_user payload.choices must be a list of texts")
    try:
        until, details = limit_of(facts)
    except InvalidInput as error:
        return EffectOutcome.failed(f"ask_user {error.message}")
    schema = payload.get("answer_schema")
    if schema is not None:
        try:
            compiled(schema)
        except InvalidInput as error:
            return EffectOutcome.failed(f"ask_user payload.answer_schema: {error.message}")
        details = {**details, "answer_schema": schema}
    return EffectOutcome.waiting(
        WaitState(
            reason=WaitReason.USER,
            wait_key=payload.get("wait_key") or _default_key(facts),
            until=until,
            resume_to_node=payload.get("resume_to_node") or facts.next_node,
            result_key=facts.result_key,
            prompt=prompt,
            choices=choices,
            allow_free_text=bool(payload.get("allow_free_text", True)),
            details=details or None,
        )
    )


def _default_key(facts: StepFacts) -> str:
    key = f"user:{facts.run.run_id}:{facts.run.current_node}"
    return key if facts.branch == MAIN else f"{key}:{facts.branch}"
