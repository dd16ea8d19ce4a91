"""The registry of effect handlers, and how one attempt of an effect is made.

Built-in effects decide by data alone (a wait, a child) or name a function to perform; handlers
that programs pass are performed. Knows nothing of stores.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from abstractruntime.core.budget import Budget
from abstractruntime.core.canonical import decode
from abstractruntime.core.checkpoint import MAIN
from abstractruntime.core.models import Effect, EffectType, RunState, type_name
from abstractruntime.core.options import Declared, declared_by
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.core.values import value
from abstractruntime.engine.outcome import EffectHandler, EffectOutcome, Intent, StepContext
from abstractruntime.engine.requests import Spawn
from abstractruntime.errors import OutcomeUnknown, RetryableError, TerminalError


@value
class StepFacts:
    """What a built-in effect may know when it decides."""

    run: RunState
    spec: WorkflowSpec
    payload: dict[str, Any]
    result_key: str | None
    next_node: str | None
    now: str
    branch: str = MAIN


@value
class StartChild:
    """The decision to start a child run; `wait`: the parent goes on when it has ended.

    `closing`: its close policy, None where it lives on.
    """

    workflow_id: str
    vars: dict[str, Any]
    wait: bool
    closing: str | None = None
    budget: Budget | None = None


@value
class Perform:
    """The decision to perform something outside: `function(*arguments)` by `handler` rules.

    `touches_vars`: it is given the run and may change its vars. `wants_step`: and the StepContext.
    `declared`: how it says it is performed.
    """

    invoke: Callable[[RunState, Effect, str | None, StepContext | None], Any]
    awaits: bool
    touches_vars: bool = True
    wants_step: bool = False
    declared: Declared | None = None


@value
class Raised:
    """An attempt that ended with an exception: what to write and whether to try again.

    `kinds` names its type and those above it, `retryable` that the handler asked for another try,
    `unknown` that the handler cannot tell whether it was performed.
    """

    error: str
    retry: bool = True
    retry_after: float | None = None
    kinds: tuple[str, ...] = ()
    retryable: bool = False
    unknown: bool = False


Decision = EffectOutcome | StartChild | Perform

_TYPES: Mapping[str, EffectType] = {each.value: each for each in EffectType}


class BuiltinEffect(Protocol):
    """Decides from data alone, without I/O, what an effect comes to."""

    def __call__(self, facts: StepFacts) -> Decision: ...


class EffectRegistry:
    """Handlers by effect type: those of the program before the built-in ones."""

    def __init__(
        self,
        builtins: Mapping[str, BuiltinEffect],
        handlers: Mapping[EffectType | str, EffectHandler] | None,
    ) -> None:
        self._builtins = dict(builtins)
        self._handlers = {
            type_name(kind): _performer(handler) for kind, handler in (handlers or {}).items()
        }

    def knows(self, kind: str) -> bool:
        """Whether an effect of this type can be performed."""
        return kind in self._handlers or kind in self._builtins

    def decide(self, kind: str, facts: StepFacts) -> Decision:
        """What the effect comes to; a failed outcome when nothing handles it."""
        performer = self._handlers.get(kind)
        if performer is not None:
            return performer
        builtin = self._builtins.get(kind)
        if builtin is None:
            return EffectOutcome.failed(f"No effect handler registered for {kind}")
        return builtin(facts)


def _performer(handler: EffectHandler) -> Perform:
    wants_next, wants_step = _arity(handler)

    def invoke(
        run: RunState, effect: Effect, next_node: str | None, step: StepContext | None
    ) -> Any:
        named = {"step": step} if wants_step else {}
        if wants_next:
            return handler(run, effect, next_node, **named)
        return handler(run, effect, **named)

    call = getattr(handler, "__call__", handler)  # noqa: B004
    awaits = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
    return Perform(invoke, awaits, wants_step=wants_step, declared=declared_by(handler))


def _arity(handler: EffectHandler) -> tuple[bool, bool]:
    """(takes default_next_node, takes step), read once so that no call is ever tried twice."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return False, False
    positional = [
        p
        for p in parameters
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name != "step"
    ]
    takes_all = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    wants_step = any(p.name == "step" and p.kind is not p.VAR_POSITIONAL for p in parameters)
    return takes_all or len(positional) >= 3, wants_step


def attempt(
    perform: Perform,
    run: RunState,
    effect: Mapping[str, Any],
    text: bytes,
    next_node: str | None,
    step: StepContext | None,
    branch: str = MAIN,
) -> Spawn:
    """The request of one attempt. The handler gets a payload of its own."""
    request = Effect(_TYPES.get(effect["type"], effect["type"]), decode(text), effect["result_key"])

    if perform.awaits:

        async def make_later() -> EffectOutcome | Raised:
            try:
                return _checked(await perform.invoke(run, request, next_node, step))
            except Exception as error:
                return _raised(error)

        return Spawn(branch, make_later, True)

    def make() -> EffectOutcome | Raised:
        try:
            return _checked(perform.invoke(run, request, next_node, step))
        except Exception as error:
            return _raised(error)

    return Spawn(branch, make, False)


def _checked(outcome: Any) -> EffectOutcome | Raised:
    if isinstance(outcome, EffectOutcome):
        return outcome
    if outcome is None:
        return EffectOutcome.completed(None)
    found = type(outcome).__name__
    return Raised(f"Effect handler returned {found}, not an EffectOutcome", retry=False)


def _raised(error: Exception) -> Raised:
    text = f"Effect handler raised exception: {error}"
    kinds = tuple(kind.__name__ for kind in type(error).__mro__[:-2])
    if isinstance(error, TerminalError):
        return Raised(text, retry=False)
    if isinstance(error, RetryableError):
        return Raised(text, retry_after=error.retry_after, kinds=kinds, retryable=True)
    return Raised(text, kinds=kinds, unknown=isinstance(error, OutcomeUnknown))


def reconciliation(reconcile: Callable[..., Any], intent: Intent, branch: str = MAIN) -> Spawn:
    """The request to ask a handler what became of a step; its answer is an EffectOutcome, None, or
    the text of what it raised."""
    if inspect.iscoroutinefunction(reconcile):

        async def ask_later() -> Any:
            try:
                return _reconciled(await reconcile(intent))
            except Exception as error:
                return f"{type(error).__name__}: {error}"

        return Spawn(branch, ask_later, True)

    def ask() -> Any:
        try:
            return _reconciled(reconcile(intent))
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    return Spawn(branch, ask, False)


def _reconciled(said: Any) -> Any:
    if said is None or (isinstance(said, EffectOutcome) and said.status in ("completed", "failed")):
        return said
    return f"{type(said).__name__} is no EffectOutcome that is completed or failed, and not None"
