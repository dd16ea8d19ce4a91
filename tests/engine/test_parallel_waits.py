"""Branches that wait: several people, timers and children at once, each heard by its own key."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import Effect, RunState, RunStatus, StepPlan, WorkflowSpec
from abstractruntime.core.models import EffectType
from abstractruntime.core.times import plus
from abstractruntime.errors import StaleAnswer, WaitKeyMismatch
from tests.engine.conftest import World
from tests.engine.test_parallel import asks, double, fan, joined, probes

# ---- several waits at once


def test_each_open_wait_is_answered_by_its_own_key_in_any_order(world: World) -> None:
    spec = fan(asks(3))
    state = world.run(spec)
    assert state.status is RunStatus.WAITING
    assert state.waiting is not None
    shown = (state.waiting.details or {})["branches"]
    assert [one["prompt"] for one in shown] == ["0?", "1?", "2?"]
    for n in (2, 0, 1):
        state = world.resume(spec, state.run_id, n * 10, wait_key=shown[n]["wait_key"])
    assert joined(state)["results"] == [0, 10, 20]
    assert state.vars["said"] == {"0": 0, "1": 10, "2": 20}


def test_an_answer_names_its_branch_by_key_or_wait_id(world: World) -> None:
    spec = fan(asks(2))
    state = world.run(spec)
    assert state.waiting is not None
    second = (state.waiting.details or {})["branches"][1]
    with pytest.raises(WaitKeyMismatch, match="2 branches wait"):
        world.resume(spec, state.run_id, "yes")
    with pytest.raises(WaitKeyMismatch, match="expected one of"):
        world.resume(spec, state.run_id, "yes", wait_key="elsewhere")
    with pytest.raises(StaleAnswer):
        world.resume(spec, state.run_id, "yes", wait_id="gone")
    world.resume(spec, state.run_id, "yes", wait_id=second["wait_id"])
    with pytest.raises(StaleAnswer):
        world.resume(spec, state.run_id, "again", wait_id=second["wait_id"])


def test_timers_in_branches_fire_each_at_its_time(world: World) -> None:
    effects = [
        Effect(EffectType.WAIT_UNTIL, {"until": plus(world.clock.now, seconds)})
        for seconds in (60, 30)
    ]
    spec = fan(effects)
    state = world.run(spec)
    assert state.status is RunStatus.WAITING
    assert world.store.next_wake() == plus(world.clock.now, 30)
    world.clock.forward(30)
    assert world.tick(spec, state.run_id).status is RunStatus.WAITING
    world.clock.forward(30)
    found = joined(world.tick(spec, state.run_id))
    assert [each["ready"] for each in found["results"]] == [True, True]


def test_effects_and_waits_go_together(world: World) -> None:
    world.make(effect_handlers={"probe": double})
    spec = fan([*probes(2), *asks(1)])
    state = world.run(spec)
    assert state.status is RunStatus.WAITING
    assert world.resume(spec, state.run_id, "yes").output == {
        "all": {"results": [0, 2, "yes"], "errors": {}, "cancelled": []}
    }


# ---- children


def child() -> WorkflowSpec:
    def only(run: RunState, ctx: Any) -> StepPlan:
        if run.vars.get("fails"):
            raise ValueError("broken child")
        return StepPlan("only", complete_output={"n": run.vars["n"]})

    return WorkflowSpec("child", "only", {"only": only})


def starts(count: int, **vars: Any) -> list[Effect]:
    kind = EffectType.START_SUBWORKFLOW
    return [Effect(kind, {"workflow_id": "child", "vars": {"n": n, **vars}}) for n in range(count)]


def test_children_are_joined_with_their_outputs_in_order(world: World) -> None:
    world.registry.register(child())
    found = joined(world.run(fan(starts(5))))
    assert [each["output"]["n"] for each in found["results"]] == [0, 1, 2, 3, 4]
    assert len({each["sub_run_id"] for each in found["results"]}) == 5


def test_a_child_that_fails_is_a_failed_branch(world: World) -> None:
    world.registry.register(child())
    effects = [*starts(2), *starts(1, fails=True)]
    found = joined(world.run(fan(effects, failures=1)))
    assert list(found["errors"]) == ["2"]
    assert "broken child" in found["errors"]["2"]


def asking_child() -> WorkflowSpec:
    return WorkflowSpec(
        "child",
        "ask",
        {
            "ask": lambda run, ctx: StepPlan(
                "ask", Effect("ask_user", {"prompt": "?"}, "said"), "end"
            ),
            "end": lambda run, ctx: StepPlan("end", complete_output={"said": run.vars["said"]}),
        },
    )


def test_children_that_wait_are_joined_when_they_have_ended(world: World) -> None:
    world.registry.register(asking_child())
    spec = fan(starts(3))
    state = world.run(spec)
    assert state.status is RunStatus.WAITING
    children = world.store.list_children(parent_run_id=state.run_id)
    assert len(children) == 3
    for n, each in enumerate(children):
        assert world.tick(spec, state.run_id).status is RunStatus.WAITING
        world.resume(asking_child(), each.run_id, n)
    found = joined(world.tick(spec, state.run_id))
    assert sorted(each["output"]["said"] for each in found["results"]) == [0, 1, 2]
