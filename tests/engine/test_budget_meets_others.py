"""Budgets beside what else holds a step: approvals keep their grant, undos are under none."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import Approval, Budget, Effect, RunStatus, StepPlan, WorkflowSpec
from abstractruntime.storage.base import Capability
from tests.engine.conftest import Counter, World


@pytest.fixture(autouse=True)
def needs_counters(world: World) -> None:
    if Capability.COUNTERS not in world.store.capabilities:
        pytest.skip("the store does not promise 'counters'")


def two(effect: Effect) -> WorkflowSpec:
    def end(run: Any, ctx: Any) -> StepPlan:
        if run.vars.get("fails"):
            raise ValueError("no")
        return StepPlan("end", complete_output={})

    return WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", Effect("look", {}, "seen"), "b"),
            "b": lambda run, ctx: StepPlan("b", effect, "end"),
            "end": end,
        },
    )


def test_an_approved_effect_that_a_budget_holds_back_keeps_its_grant(world: World) -> None:
    pays = Counter()
    world.make(effect_handlers={"look": Counter(), "pay": pays})
    spec = two(Effect("pay", {"sum": 7}, "paid", approval=Approval()))
    run_id = world.runtime.start(workflow=spec, budget=Budget(steps=1))
    assert world.tick(spec, run_id).status is RunStatus.WAITING
    state = world.resume(spec, run_id, {"decision": "approve"}, actor_id="ann")
    assert state.checkpoint is not None
    assert state.checkpoint.terms.phase == "paused"
    assert pays.performed == []
    world.runtime.raise_budget(run_id, steps=1)
    assert world.tick(spec, run_id).status is RunStatus.COMPLETED
    assert pays.performed == [{"sum": 7}]


def test_a_run_without_budget_left_is_undone_all_the_same(world: World) -> None:
    refunds = Counter()
    world.make(effect_handlers={"look": Counter(), "pay": Counter(), "refund": refunds})
    spec = two(Effect("pay", {}, "paid", undo=Effect("refund", {})))
    run_id = world.runtime.start(workflow=spec, vars={"fails": True}, budget=Budget(steps=2))
    assert world.tick(spec, run_id).status is RunStatus.FAILED
    assert refunds.performed == [{}]


def test_a_deadline_stands_beside_a_budget(world: World) -> None:
    from abstractruntime.core.times import plus

    spec = WorkflowSpec(
        "w", "a", {"a": lambda run, ctx: StepPlan("a", Effect("ask_user", {"prompt": "?"}), "a")}
    )
    deadline = plus(world.clock.now, 60)
    run_id = world.runtime.start(workflow=spec, budget=Budget(steps=5), deadline=deadline)
    assert world.tick(spec, run_id).status is RunStatus.WAITING
    world.clock.forward(61)
    assert world.tick(spec, run_id).status is RunStatus.FAILED
