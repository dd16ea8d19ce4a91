"""An effect that has to be approved and has an undo: the approver sees it, the grant brings it."""

from __future__ import annotations

from typing import Any

from abstractruntime import Approval, Effect, EffectOutcome, Rule, RunStatus, StepPlan, WorkflowSpec
from tests.engine.conftest import Counter, World

UNDO = Effect("refund", {"receipt": {"$result": "n"}})


def pays_then_fails() -> WorkflowSpec:
    def fails(run: Any, ctx: Any) -> StepPlan:
        raise ValueError("no stock")

    pay = Effect("pay", {"sum": 7}, "paid", approval=Approval(), undo=UNDO)
    return WorkflowSpec("w", "a", {"a": lambda run, ctx: StepPlan("a", pay, "b"), "b": fails})


def approved(world: World, **options: Any) -> tuple[Any, Counter, Counter]:
    pays, refunds = Counter(), Counter()
    world.make(effect_handlers={"pay": pays, "refund": refunds}, **options)
    state = world.run(pays_then_fails())
    assert state.status is RunStatus.WAITING
    assert state.waiting is not None
    assert "refund" in str(state.waiting.details)
    state = world.resume(pays_then_fails(), state.run_id, {"decision": "approve"}, actor_id="ann")
    return state, pays, refunds


def test_the_undo_of_an_approved_effect_is_performed_when_the_run_fails(world: World) -> None:
    state, pays, refunds = approved(world)
    assert state.status is RunStatus.FAILED
    assert (pays.performed, refunds.performed) == ([{"sum": 7}], [{"receipt": 1}])


def test_an_effect_that_was_rejected_has_nothing_to_undo(world: World) -> None:
    pays, refunds = Counter(), Counter()
    world.make(effect_handlers={"pay": pays, "refund": refunds})
    state = world.run(pays_then_fails())
    said = {"decision": "reject", "reason": "no"}
    state = world.resume(pays_then_fails(), state.run_id, said, actor_id="ann")
    assert state.status is RunStatus.FAILED
    assert pays.performed == refunds.performed == []


def test_an_undo_that_a_rule_denies_asks_a_person(world: World) -> None:
    state, _, refunds = approved(world, approvals=(Rule("deny", "refund"),))
    assert state.status is RunStatus.WAITING
    assert refunds.performed == []
    world.runtime.resolve(state.run_id, outcome=EffectOutcome.completed())
    assert world.tick(pays_then_fails(), state.run_id).status is RunStatus.FAILED
