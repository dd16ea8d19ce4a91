"""Random workflows from a seed: chains, loops, waits, timers, children, retries, growing variables.

Whatever happens to a run of one, its output and the effects it performs are the same: nodes and
effects depend on the shape and on vars only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from abstractruntime.core.models import Effect, RunState, StepPlan
from abstractruntime.core.policy import DefaultEffectPolicy, EffectPolicy
from abstractruntime.core.spec import NodeHandler, WorkflowSpec
from abstractruntime.core.times import plus
from abstractruntime.engine.outcome import EffectHandler, EffectOutcome, StepContext
from abstractruntime.testing.clock import EPOCH

KINDS = (
    "call",
    "async_call",
    "handler",
    "flaky",
    "loop",
    "moves",
    "grow",
    "event",
    "person",
    "timer",
    "child",
)
"""What a stage of a random workflow can be."""

ATTEMPTS = 3


class Seer(Protocol):
    """What effects tell of themselves to; a Witness is one."""

    def perform(self, step: StepContext) -> Any:
        """The side effect of `step` happens now."""
        ...


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its kind, its size (visits, hops, failures, hours, KiB) and its child."""

    kind: str
    size: int = 1
    child: Shape | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """A workflow as stages one after another."""

    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Built:
    """A workflow that can be run: give `specs` as registry, `handlers` and `policy` to a Runtime.

    `effects` names every effect it performs, as (workflow id, node, visit).
    """

    root: WorkflowSpec
    specs: Mapping[str, WorkflowSpec]
    handlers: Mapping[str, EffectHandler]
    policy: EffectPolicy
    effects: frozenset[tuple[str, str, int]]

    def get(self, workflow_id: str) -> WorkflowSpec | None:
        """So that it is the registry of its own workflows."""
        return self.specs.get(workflow_id)


def random_shape(seed: int, *, length: int = 8, depth: int = 1) -> Shape:
    """A shape of 1 to `length` stages, children at most `depth` deep; a seed gives one shape."""
    return _shape(random.Random(seed), length, depth)


def _shape(dice: random.Random, length: int, depth: int) -> Shape:
    stages = []
    for _ in range(dice.randint(1, length)):
        kind = dice.choice(KINDS if depth else KINDS[:-1])
        child = _shape(dice, max(length // 2, 1), depth - 1) if kind == "child" else None
        size = 70 if kind == "moves" and dice.random() < 0.2 else dice.randint(1, 4)
        stages.append(Stage(kind, size, child))
    return Shape(tuple(stages))


def build(shape: Shape, seer: Seer, *, name: str = "random", backoff: float = 0.0) -> Built:
    """The workflow of `shape`, whose effects tell `seer` each time they are performed.

    `backoff` seconds go by between attempts; who drives by hand sleeps them.
    """
    specs: dict[str, WorkflowSpec] = {}
    effects: set[tuple[str, str, int]] = set()
    root = _Builder(seer, specs, effects).build(shape, name)
    policy = DefaultEffectPolicy(default_max_attempts=ATTEMPTS, default_backoff_base=backoff)
    handlers = {"note": _note(seer), "flaky": _flaky(seer)}
    return Built(root, specs, handlers, policy, frozenset(effects))


@dataclass
class _Builder:
    seer: Seer
    specs: dict[str, WorkflowSpec]
    effects: set[tuple[str, str, int]]
    _name: str = field(default="", init=False)

    def build(self, shape: Shape, name: str) -> WorkflowSpec:
        nodes: dict[str, NodeHandler] = {}
        for place, stage in enumerate(shape.stages):
            node_id, after = f"n{place}", f"n{place + 1}"
            if place + 1 == len(shape.stages):
                after = "end"
            nodes[node_id] = self._node(stage, name, node_id, after)
        nodes["end"] = _end
        spec = WorkflowSpec(name, "n0", nodes, functions=_functions(self.seer))
        self.specs[name] = spec
        return spec

    def _node(self, stage: Stage, name: str, node_id: str, after: str) -> NodeHandler:
        if stage.child is not None:
            child = f"{name}.{node_id}"
            _Builder(self.seer, self.specs, self.effects).build(stage.child, child)
            plan = _plan_child(child, node_id, after)
        else:
            plan = _PLANS[stage.kind](stage.size, node_id, after)
        visits = stage.size if stage.kind == "loop" else 1
        if stage.kind in _PERFORMING:
            self.effects.update((name, node_id, visit) for visit in range(1, visits + 1))

        def node(run: RunState, context: Any) -> StepPlan:
            entered = run.vars.setdefault("entered", {})
            entered[node_id] = entered.get(node_id, 0) + 1
            return plan(run)

        return node


_PERFORMING = frozenset({"call", "async_call", "handler", "flaky", "loop", "grow"})

_Plan = Callable[[RunState], StepPlan]


def _end(run: RunState, context: Any) -> StepPlan:
    output = {name: value for name, value in run.vars.items() if name != "_limits"}
    return StepPlan("end", complete_output=output)


def _call(node_id: str, after: str, function: str, **arguments: Any) -> StepPlan:
    payload = {"function": function, "arguments": {"node": node_id, **arguments}}
    return StepPlan(node_id, Effect("call", payload, f"results.{node_id}"), after)


def _plan_call(size: int, node_id: str, after: str) -> _Plan:
    return lambda run: _call(node_id, after, "work", size=size)


def _plan_async_call(size: int, node_id: str, after: str) -> _Plan:
    return lambda run: _call(node_id, after, "work_async", size=size)


def _plan_handler(size: int, node_id: str, after: str) -> _Plan:
    effect = Effect("note", {"node": node_id, "size": size}, f"results.{node_id}")
    return lambda run: StepPlan(node_id, effect, after)


def _plan_flaky(size: int, node_id: str, after: str) -> _Plan:
    failures = min(size, ATTEMPTS) - 1
    effect = Effect("flaky", {"failures": failures}, f"results.{node_id}")
    return lambda run: StepPlan(node_id, effect, after)


def _plan_loop(size: int, node_id: str, after: str) -> _Plan:
    """The same effect at each visit: its visits are told apart by number alone."""

    def plan(run: RunState) -> StepPlan:
        again = run.vars["entered"][node_id] < size
        return _call(node_id, node_id if again else after, "work")

    return plan


def _plan_moves(size: int, node_id: str, after: str) -> _Plan:
    def plan(run: RunState) -> StepPlan:
        again = run.vars["entered"][node_id] < size
        return StepPlan(node_id, next_node=node_id if again else after)

    return plan


def _plan_grow(size: int, node_id: str, after: str) -> _Plan:
    text = "".join(random.Random(node_id).choices("abcdefgh", k=1024 * size))

    def plan(run: RunState) -> StepPlan:
        grown = run.vars.setdefault("grown", [])
        grown.append(text)
        return _call(node_id, after, "work", grown=grown)

    return plan


def _plan_event(size: int, node_id: str, after: str) -> _Plan:
    effect = Effect("wait_event", {"wait_key": f"event:{node_id}"}, f"results.{node_id}")
    return lambda run: StepPlan(node_id, effect, after)


def _plan_person(size: int, node_id: str, after: str) -> _Plan:
    payload = {"prompt": f"{node_id}?", "choices": ["yes", "no"], "allow_free_text": False}
    effect = Effect("ask_user", payload, f"results.{node_id}")
    return lambda run: StepPlan(node_id, effect, after)


def _plan_timer(size: int, node_id: str, after: str) -> _Plan:
    effect = Effect("wait_until", {"until": plus(EPOCH, 3600.0 * size)}, f"results.{node_id}")
    return lambda run: StepPlan(node_id, effect, after)


def _plan_child(workflow_id: str, node_id: str, after: str) -> _Plan:
    payload = {"workflow_id": workflow_id, "vars": {"from": node_id}}
    effect = Effect("start_subworkflow", payload, f"results.{node_id}")
    return lambda run: StepPlan(node_id, effect, after)


_PLANS: dict[str, Callable[[int, str, str], _Plan]] = {
    "call": _plan_call,
    "async_call": _plan_async_call,
    "handler": _plan_handler,
    "flaky": _plan_flaky,
    "loop": _plan_loop,
    "moves": _plan_moves,
    "grow": _plan_grow,
    "event": _plan_event,
    "person": _plan_person,
    "timer": _plan_timer,
}


def _functions(seer: Seer) -> dict[str, Callable[..., Any]]:
    def work(*, step: StepContext, **arguments: Any) -> dict[str, Any]:
        seer.perform(step)
        return {"visit": step.visit, "took": sorted(arguments)}

    async def work_async(*, step: StepContext, **arguments: Any) -> dict[str, Any]:
        return work(step=step, **arguments)

    return {"work": work, "work_async": work_async}


def _note(seer: Seer) -> EffectHandler:
    """A handler that also leaves something in vars."""

    def note(run: RunState, effect: Effect, step: StepContext) -> EffectOutcome:
        seer.perform(step)
        notes = run.vars.setdefault("notes", [])
        notes.append(f"{step.node_id}:{step.visit}")
        return EffectOutcome.completed({"size": effect.payload["size"]})

    return note


def _flaky(seer: Seer) -> EffectHandler:
    """A handler whose first attempts fail, having left something in vars that must not stay."""

    def flaky(run: RunState, effect: Effect, step: StepContext) -> EffectOutcome:
        run.vars["half_done"] = step.attempt
        if step.attempt <= effect.payload["failures"]:
            return EffectOutcome.failed(f"attempt {step.attempt} is one that fails")
        run.vars.pop("half_done")
        seer.perform(step)
        return EffectOutcome.completed({"attempt": step.attempt})

    return flaky
