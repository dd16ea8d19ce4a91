"""Budgets of branches, children and waits: held back, asked about, raised, given back."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import (
    Effect,
    RunStatus,
    Scheduler,
    StepPlan,
    WaitReason,
    WorkflowSpec,
)
from abstractruntime.core.models import RunState
from abstractruntime.storage.base import Capability
from tests.engine.conftest import World
from tests.engine.test_budgets import begin, counting, loop, uses

__all__ = ["counting"]


def test_a_budget_may_ask_and_the_answer_is_to_look_again_or_to_stop(world: World) -> None:
    spec = loop(5, costs={"tokens": 30})
    run_id, counter = begin(world, spec, uses(30), tokens=100, on_exceeded="ask")
    state = world.tick(spec, run_id)
    assert state.status is RunStatus.WAITING
    assert state.waiting is not None
    assert (state.waiting.reason, state.waiting.choices) == (WaitReason.USER, ["retry", "stop"])
    assert world.resume(spec, run_id, "retry").status is RunStatus.WAITING  # there is no more yet
    assert len(counter.performed) == 3
    world.runtime.raise_budget(run_id, tokens=20)
    assert world.tick(spec, run_id).status is RunStatus.WAITING
    assert [each["n"] for each in counter.performed] == [0, 1, 2, 3]
    state = world.resume(spec, run_id, {"choice": "stop"})
    assert (state.status, (state.error or "")[:15]) == (RunStatus.FAILED, "Budget exceeded")
    assert world.runtime.get_budget(run_id)["reserved"] == {"tokens": 0}


def test_children_spend_from_budgets_of_their_own_and_above(world: World) -> None:
    child = loop(10, costs={"tokens": 10})
    world.registry.register(child)

    def node(run: RunState, ctx: Any) -> StepPlan:
        budget = {"tokens": 35, "on_exceeded": "fail"}
        payload = {"workflow_id": "loop", "budget": budget}
        effects = [Effect("start_subworkflow", payload) for _ in range(2)]
        return StepPlan("a", effects=effects, next_node="b", failures=2, into="all")

    def end(run: RunState, ctx: Any) -> StepPlan:
        return StepPlan("b", complete_output=run.vars["all"]["errors"])

    spec = WorkflowSpec("parent", "a", {"a": node, "b": end})
    run_id, counter = begin(world, spec, uses(10), tokens=1000)
    state = world.tick(spec, run_id)
    assert state.status is RunStatus.COMPLETED
    assert list(state.output or {}) == ["0", "1"]
    assert len(counter.performed) == 6
    found = world.runtime.get_budget(run_id)
    assert (found["used"], found["reserved"]) == ({"tokens": 60}, {"tokens": 0})
    first = world.store.list_children(parent_run_id=run_id)[0].run_id
    assert world.runtime.get_budget(first)["used"] == {"tokens": 30}
    assert world.runtime.get_budget(first)["above"] == [run_id]


def test_branches_share_what_is_left_and_the_rest_goes_on_when_it_is_raised(world: World) -> None:
    def node(run: RunState, ctx: Any) -> StepPlan:
        effects = [Effect("tool", {"n": n}, costs={"tokens": 30}) for n in range(5)]
        return StepPlan("a", effects=effects, next_node="b", into="all")

    def end(run: RunState, ctx: Any) -> StepPlan:
        results = [each["n"] > 0 for each in run.vars["all"]["results"]]
        return StepPlan("b", complete_output={"results": results})

    spec = WorkflowSpec("w", "a", {"a": node, "b": end})
    run_id, counter = begin(world, spec, uses(30), tokens=100)
    state = world.tick(spec, run_id)
    assert (state.status, len(counter.performed)) == (RunStatus.RUNNING, 3)
    world.runtime.raise_budget(run_id, tokens=50)
    assert world.tick(spec, run_id).output == {"results": [True] * 5}
    assert sorted(each["n"] for each in counter.performed) == [0, 1, 2, 3, 4]
    assert world.runtime.get_budget(run_id)["used"] == {"tokens": 150}


def test_what_a_cancelled_run_holds_goes_back(world: World) -> None:
    spec = loop(10, costs={"tokens": 30})
    run_id, _ = begin(world, spec, uses(20), tokens=100_000)
    world.tick(spec, run_id, max_steps=2)
    assert world.runtime.get_budget(run_id)["reserved"]["tokens"] > 0
    world.runtime.cancel_run(run_id)
    found = world.runtime.get_budget(run_id)
    assert (found["used"], found["reserved"]) == ({"tokens": 40}, {"tokens": 0})


def test_a_transactional_step_is_settled_in_its_transaction(world: World) -> None:
    if Capability.TRANSACTIONAL not in world.store.capabilities:
        pytest.skip("it needs a SQL store")
    spec = loop(5, costs={"tokens": 30}, delivery="transactional")
    run_id, counter = begin(world, spec, uses(30), tokens=100)
    world.tick(spec, run_id)
    assert len(counter.performed) == 3
    assert world.store.list_counters(run_id)["tokens"].value == 90


def test_branches_that_wait_or_are_refused_are_settled_when_they_are_counted(world: World) -> None:
    def node(run: RunState, ctx: Any) -> StepPlan:
        effects = [
            Effect("wait_event", {"wait_key": "go"}),
            Effect("wait_until", {"until": world.clock.now}),
            Effect("tool", {}, delivery="transactional", costs={"tokens": 1}),
        ]
        return StepPlan("a", effects=effects, next_node="b", into="all", failures=1)

    def end(run: RunState, ctx: Any) -> StepPlan:
        return StepPlan("b", complete_output={"all": run.vars["all"]["results"]})

    spec = WorkflowSpec("w", "a", {"a": node, "b": end})
    run_id, _ = begin(world, spec, uses(1), tokens=100, steps=3)
    assert world.tick(spec, run_id).status is RunStatus.WAITING
    state = world.resume(spec, run_id, "went", wait_key="go")
    assert (state.output or {})["all"][0] == "went"
    assert world.runtime.get_budget(run_id)["used"]["steps"] == 3


def test_a_step_that_is_decided_by_data_is_held_back_and_goes_on(world: World) -> None:
    def node(run: RunState, ctx: Any) -> StepPlan:
        run.vars["entered"] = run.vars.get("entered", 0) + 1
        return StepPlan("a", Effect("wait_event", {"wait_key": "go"}, "said"), "b")

    def start(run: RunState, ctx: Any) -> StepPlan:
        payload = {"workflow_id": "loop"}
        return StepPlan("b", Effect("start_subworkflow", payload, "child"), "c")

    def end(run: RunState, ctx: Any) -> StepPlan:
        return StepPlan("c", complete_output={"child": run.vars["child"]["output"]})

    world.registry.register(loop(1))
    spec = WorkflowSpec("w", "a", {"a": node, "b": start, "c": end})
    run_id, counter = begin(world, spec, steps=0)
    assert world.tick(spec, run_id).status is RunStatus.RUNNING
    world.runtime.raise_budget(run_id, steps=1)
    state = world.tick(spec, run_id)
    assert (state.status, state.vars["entered"]) == (RunStatus.WAITING, 1)
    world.resume(spec, run_id, "went", wait_key="go")
    assert (world.store.list_children(parent_run_id=run_id), counter.performed) == ([], [])
    world.runtime.raise_budget(run_id, steps=1)
    world.tick(spec, run_id)  # the child is there, and held back in its turn
    assert len(world.store.list_children(parent_run_id=run_id)) == 1
    world.runtime.raise_budget(run_id, steps=1)
    assert world.tick(spec, run_id).output == {"child": {"done": 1}}
    assert len(counter.performed) == 1


def test_a_scheduler_goes_on_with_what_was_raised(world: World) -> None:
    spec = loop(5, costs={"tokens": 30})
    world.registry.register(spec)
    run_id, counter = begin(world, spec, uses(30), tokens=100)
    world.tick(spec, run_id, max_steps=float("inf"))
    scheduler = Scheduler(runtime=world.runtime, registry=world.registry)
    scheduler.poll_once()
    assert len(counter.performed) == 3
    world.runtime.raise_budget(run_id, tokens=60)
    scheduler.poll_once()
    assert world.runtime.get_state(run_id).output == {"done": 5}
