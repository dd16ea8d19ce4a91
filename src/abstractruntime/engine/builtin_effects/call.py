"""call {function, arguments?}: a Python function, sync or async, as a durable step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from abstractruntime.core.models import Effect, RunState
from abstractruntime.core.options import declared_by
from abstractruntime.engine.effects import Decision, Perform, StepFacts
from abstractruntime.engine.outcome import EffectOutcome, StepContext
from abstractruntime.errors import UnknownFunction


class CallEffect:
    """Functions come from the workflow, else from the runtime; there is no global registry."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        self._functions = dict(functions)
        self._performs: dict[Callable[..., Any], Perform] = {}

    def __call__(self, facts: StepFacts) -> Decision:
        name = facts.payload.get("function")
        if not isinstance(name, str) or not name:
            return EffectOutcome.failed("call requires payload.function")
        arguments = facts.payload.get("arguments")
        if arguments is not None and not isinstance(arguments, dict):
            return EffectOutcome.failed("call payload.arguments must be an object")
        function = facts.spec.functions.get(name) or self._functions.get(name)
        if function is None:
            known = sorted({*facts.spec.functions, *self._functions})
            error = UnknownFunction(f"Unknown function '{name}'; known: {', '.join(known)}")
            return EffectOutcome.failed(f"{error.message}. {error.how_to_fix}")
        perform = self._performs.get(function)
        if perform is None:
            perform = self._performs[function] = _perform(function)
        return perform


def _perform(function: Callable[..., Any]) -> Perform:
    try:
        wants_step = "step" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        wants_step = False

    def invoke(
        run: RunState, effect: Effect, _: str | None, step: StepContext | None
    ) -> EffectOutcome:
        arguments = effect.payload.get("arguments") or {}
        if wants_step:
            return EffectOutcome.completed(function(**arguments, step=step))
        return EffectOutcome.completed(function(**arguments))

    async def invoke_async(
        run: RunState, effect: Effect, _: str | None, step: StepContext | None
    ) -> EffectOutcome:
        arguments = effect.payload.get("arguments") or {}
        if wants_step:
            return EffectOutcome.completed(await function(**arguments, step=step))
        return EffectOutcome.completed(await function(**arguments))

    awaits = inspect.iscoroutinefunction(function)
    chosen = invoke_async if awaits else invoke
    return Perform(chosen, awaits, False, wants_step, declared_by(function))
