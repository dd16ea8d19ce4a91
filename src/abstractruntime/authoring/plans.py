"""What a node returns: plans as frozen values, with nodes and functions named as is handiest.

A plan performs nothing; a `Workflow` turns it into the StepPlan the engine knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol, Self

from abstractruntime.core import times
from abstractruntime.core.machine.undo import RESULT
from abstractruntime.core.models import Effect, EffectType, StepPlan
from abstractruntime.core.options import Retry
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.errors import InvalidPlan

Target = str | Callable[..., Any] | None
"""A node to go to: its function or its name. None: the node that plans it, entered again."""


class Names(Protocol):
    """How a workflow calls functions."""

    def node_name(self, function: Callable[..., Any]) -> str | None:
        """The node this function is; None when it is none."""

    def function_name(self, function: Callable[..., Any]) -> str | None:
        """The name `call` finds this function by; None when it is not registered."""


class HasSpec(Protocol):
    """Whatever builds a workflow."""

    @property
    def workflow_id(self) -> str: ...


@dataclass(frozen=True)
class Undo:
    """A `call` that takes back what a step did, with the function where it was given as one."""

    effect: Effect
    function: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Plan:
    """What a node wants next: an effect, a node to go to then, or the run's output."""

    effect: Effect | None = None
    then: Target = None
    output: dict[str, Any] | None = None
    function: Callable[..., Any] | None = None
    """What a `call` effect calls, where it was given as a function."""
    undo: Undo | Effect | None = None
    late: Target = None
    """Where a wait goes whose time is over; None: to `then`."""

    def with_(
        self,
        *,
        delivery: str | None = None,
        retry: Retry | None = None,
        timeout_s: float | None = None,
        total_timeout_s: float | None = None,
        heartbeat_s: float | None = None,
    ) -> Self:
        """The same plan, its effect performed so: see Effect. What is left out stays as it was.

        InvalidPlan when it has no effect.
        """
        if self.effect is None:
            raise InvalidPlan("with_ says how an effect is performed, and this plan has none")
        said = {
            "delivery": delivery,
            "retry": retry,
            "timeout_s": timeout_s,
            "total_timeout_s": total_timeout_s,
            "heartbeat_s": heartbeat_s,
        }
        given: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
        return replace(self, effect=replace(self.effect, **given))

    def write(self, vars: dict[str, Any]) -> None:
        """What the plan puts into the run's variables by itself: nothing."""

    def to_step_plan(self, node_id: str, names: Names) -> StepPlan:
        """The plan in the engine's words; InvalidPlan when `then` is a function but no node."""
        then = named(self.then, node_id, names)
        effect = self.effect
        if effect is not None and self.late is not None:
            late = named(self.late, node_id, names)
            effect = replace(effect, payload={**effect.payload, "timeout_node": late})
        if effect is not None:
            effect = _calling(effect, self.function, names)
            undo = self.undo
            if isinstance(undo, Undo):
                undo = _calling(undo.effect, undo.function, names)
            if undo is not None:
                effect = replace(effect, undo=undo)
        return StepPlan(node_id=node_id, effect=effect, next_node=then, complete_output=self.output)


def _calling(effect: Effect, function: Callable[..., Any] | None, names: Names) -> Effect:
    """The effect with the name by which its function is found."""
    registered = None if function is None else names.function_name(function)
    if registered is None:
        return effect
    return replace(effect, payload={**effect.payload, "function": registered})


def named(target: Target, node_id: str, names: Names) -> str | None:
    """The name of the node to go to; InvalidPlan for a function that is none."""
    if target is None or isinstance(target, str):
        return target
    found = names.node_name(target)
    if found is None:
        raise InvalidPlan(
            f"Node '{node_id}' goes to the function {_called(target)}, which is no node",
            node=node_id,
            fix="decorate it with @wf.node",
        )
    return found


def _called(function: object) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def ask_user(
    prompt: str,
    *,
    key: str | None = None,
    choices: Sequence[str] | None = None,
    allow_free_text: bool = True,
    into: str | None = "answer",
    then: Target = None,
    timeout_s: float | None = None,
    until: str | datetime | None = None,
    late: Target = None,
) -> Plan:
    """Ask a person and wait; the answer goes to vars at `into`.

    Without `then` the same node is entered again once there is an answer. With a time limit, see
    wait_event.
    """
    payload: dict[str, Any] = {"prompt": prompt}
    if key is not None:
        payload["wait_key"] = key
    if choices is not None:
        payload["choices"] = list(choices)
    if not allow_free_text:
        payload["allow_free_text"] = False
    payload.update(_limit(timeout_s, until))
    return Plan(Effect(EffectType.ASK_USER, payload, into), then, late=late)


def call(
    function: str | Callable[..., Any],
    /,
    *,
    into: str | None = None,
    then: Target = None,
    undo: Undo | Effect | None = None,
    **arguments: Any,
) -> Plan:
    """Call a function of the workflow (or runtime) as a durable step; its result goes to `into`.

    `arguments` are its keyword arguments and must be JSON; arguments named `into`, `then` and
    `undo` need `effect("call", …)`. `undo`, made by `undo_by`, is performed if the run does not
    complete. Only a branch of `parallel` does without `then`.
    """
    called = undo_by(function, **arguments)
    return Plan(replace(called.effect, result_key=into), then, function=called.function, undo=undo)


def undo_by(function: str | Callable[..., Any], /, **arguments: Any) -> Undo:
    """An undo that calls a function; in `arguments` result_of(…) stands for what its step gave."""
    if isinstance(function, str):
        return Undo(Effect(EffectType.CALL, {"function": function, "arguments": arguments}))
    name = getattr(function, "__name__", "")
    if not callable(function) or not name:
        raise InvalidPlan(f"call takes a function or its name, found {function!r}")
    return Undo(Effect(EffectType.CALL, {"function": name, "arguments": arguments}), function)


def result_of(path: str = "") -> dict[str, str]:
    """In the payload of an undo: what stands at the dotted `path` of its step's result, null where
    nothing does or nobody knows the result. Without a path the result itself."""
    return {RESULT: path}


def wait_until(time: str | datetime, *, then: Target = None) -> Plan:
    """Wait until a time with an offset (ISO-8601 or aware datetime); InvalidTime."""
    text = time.isoformat() if isinstance(time, datetime) else time
    return Plan(Effect(EffectType.WAIT_UNTIL, {"until": times.normal(text, what="time")}), then)


def wait_event(
    name: str | Sequence[str],
    *,
    into: str | None = None,
    then: Target = None,
    timeout_s: float | None = None,
    until: str | datetime | None = None,
    late: Target = None,
) -> Plan:
    """Wait for the event `name`, or for any of several; its payload goes to vars at `into`.

    Of several, {"wait_key", "payload"} goes there. A wait that lasts `timeout_s` seconds, or
    `until` a time, goes to the node `late` (else to `then`) with {"timeout": true}. InvalidTime.
    """
    payload: dict[str, Any] = (
        {"wait_key": name} if isinstance(name, str) else {"wait_keys": list(name)}
    )
    payload.update(_limit(timeout_s, until))
    return Plan(Effect(EffectType.WAIT_EVENT, payload, into), then, late=late)


def _limit(timeout_s: float | None, until: str | datetime | None) -> dict[str, Any]:
    limit: dict[str, Any] = {}
    if timeout_s is not None:
        limit["timeout_s"] = timeout_s
    if until is not None:
        text = until.isoformat() if isinstance(until, datetime) else until
        limit["until"] = times.normal(text, what="until")
    return limit


def start_subworkflow(
    workflow: str | WorkflowSpec | HasSpec,
    *,
    vars: Mapping[str, Any] | None = None,
    wait: bool = True,
    into: str | None = None,
    then: Target = None,
    close_policy: str | None = None,
) -> Plan:
    """Start a child run, by workflow or its id; with `wait` its end is waited for.

    {"sub_run_id", "output"} goes to vars at `into`; without `wait`, which needs `then`,
    {"sub_run_id", "async"}. `close_policy`: what becomes of it when this run ends before it:
    "cancel", "request" or, when None, "abandon".
    """
    payload: dict[str, Any] = {
        "workflow_id": workflow if isinstance(workflow, str) else workflow.workflow_id
    }
    if vars is not None:
        payload["vars"] = dict(vars)
    if not wait:
        payload["async"] = True
    if close_policy is not None:
        payload["close_policy"] = close_policy
    return Plan(Effect(EffectType.START_SUBWORKFLOW, payload, into), then)


def effect(
    type: EffectType | str,
    payload: Mapping[str, Any] | None = None,
    *,
    into: str | None = None,
    then: Target = None,
    undo: Undo | Effect | None = None,
) -> Plan:
    """Any effect that has a handler; its result goes to vars at `into`.

    `undo` is performed if the run does not complete.
    """
    return Plan(Effect(type, dict(payload or {}), into), then, undo=undo)


def goto(next: str | Callable[..., Any], /) -> Plan:
    """Go to a node; nothing is performed."""
    return Plan(then=next)


def complete(output: dict[str, Any] | None = None) -> Plan:
    """End the run with `output`, {} when None."""
    return Plan(output={} if output is None else output)
