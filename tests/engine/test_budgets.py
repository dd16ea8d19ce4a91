"""Budgets: what a run and the runs below it may spend, and what happens when it is spent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from abstractruntime import (
    Budget,
    Effect,
    EffectOutcome,
    RunStatus,
    Runtime,
    StepPlan,
    WorkflowSpec,
    durable,
)
from abstractruntime.core.models import RunState
from abstractruntime.errors import InvalidInput, RetryableError, UnsupportedByStore
from abstractruntime.storage.base import Capability, Store
from tests.engine.conftest import Counter, World


class Died(BaseException):
    """The process ends here; the driver of the flow is dead."""


@pytest.fixture(autouse=True)
def counting(store: Store, request: pytest.FixtureRequest) -> None:
    """Budgets need counters: elsewhere they are refused, which one test shows."""
    counts = Capability.COUNTERS in store.capabilities
    if counts == ("without_counters" in request.node.name):
        pytest.skip("budgets need counters")


def uses(tokens: int, cost: int = 0) -> Callable[[int], Any]:
    usage = {"usage": {"total_tokens": tokens}, "cost": cost}
    return lambda n: EffectOutcome.completed({"n": n, **usage})


def loop(times: int, kind: str = "llm_call", **options: Any) -> WorkflowSpec:
    """A workflow that performs one effect so many times; each node call is counted in vars."""

    def node(run: RunState, ctx: Any) -> StepPlan:
        done = run.vars.get("done", 0)
        if done == times:
            return StepPlan("a", complete_output={"done": done})
        run.vars["done"] = done + 1
        return StepPlan("a", Effect(kind, {"n": done}, "last", **options), "a")

    def over(run: RunState, ctx: Any) -> StepPlan:
        return StepPlan("over", complete_output={"over": run.vars["last"]["error"]})

    return WorkflowSpec("loop", "a", {"a": node, "over": over})


def begin(world: World, spec: WorkflowSpec, answer: Any = None, **budget: Any) -> tuple[str, Any]:
    counter = Counter(answer)
    world.registry = world.registry
    world.make(effect_handlers={"llm_call": counter, "tool": counter})
    return world.runtime.start(workflow=spec, budget=Budget(**budget)), counter


def spent(runtime: Runtime, run_id: str) -> int:
    """Tokens, as the ledger says."""
    return sum(
        record["result"]["used"].get("tokens", 0)
        for record in runtime.get_ledger(run_id)
        if record["effect"] is None and record["result"].get("kind") == "spent"
    )


def test_a_run_stops_before_the_effect_that_would_pass_its_tokens(world: World) -> None:
    spec = loop(10, costs={"tokens": 30})
    run_id, counter = begin(world, spec, uses(30), tokens=100)
    state = world.tick(spec, run_id)
    assert (state.status, len(counter.performed)) == (RunStatus.RUNNING, 3)
    assert state.checkpoint is not None
    paused = state.checkpoint.terms.paused
    assert paused is not None
    assert paused["cause"] == "budget"
    assert (
        paused["reason"] == f"Budget exceeded: 10 of 100 tokens left to run '{run_id}', 30 needed"
    )
    found = world.runtime.get_budget(run_id)
    assert (found["limits"], found["used"]) == ({"tokens": 100}, {"tokens": 90})
    assert spent(world.runtime, run_id) == 90


def test_raising_resumes_exactly_where_it_paused(world: World) -> None:
    spec = loop(5, costs={"tokens": 30})
    run_id, counter = begin(world, spec, uses(30), tokens=100)
    world.tick(spec, run_id)
    assert world.tick(spec, run_id).vars["done"] == 4  # paused: nothing moves
    world.runtime.raise_budget(run_id, tokens=50, actor_id="ada", reason="worth it")
    state = world.tick(spec, run_id)
    assert state.output == {"done": 5}
    assert [each["n"] for each in counter.performed] == [0, 1, 2, 3, 4]
    starts = [r for r in world.runtime.get_ledger(run_id) if r["status"] == "started"]
    assert len(starts) == 5
    raised = [
        r for r in world.runtime.get_ledger(run_id)
        if r["effect"] is None and r["result"].get("kind") == "budget_raised"
    ]  # fmt: skip
    assert [(r["actor_id"], r["result"]["raised"]) for r in raised] == [("ada", {"tokens": 50})]
    found = world.runtime.get_budget(run_id)
    assert (found["used"], found["reserved"]) == ({"tokens": 150}, {"tokens": 0})


def test_steps_are_counted_as_they_begin_and_may_fail_the_run(world: World) -> None:
    spec = loop(10, costs={})
    run_id, counter = begin(world, spec, steps=4, on_exceeded="fail")
    state = world.tick(spec, run_id)
    text = f"Budget exceeded: 0 of 4 steps left to run '{run_id}', 1 needed"
    assert (state.status, state.error) == (RunStatus.FAILED, text)
    assert len(counter.performed) == 4


def test_effects_are_counted_by_type_and_a_node_may_take_over(world: World) -> None:
    spec = loop(10)
    run_id, counter = begin(world, spec, effects={"llm_call": 2}, on_exceeded="over")
    state = world.tick(spec, run_id)
    text = f"Budget exceeded: 0 of 2 effects.llm_call left to run '{run_id}', 1 needed"
    assert state.output == {"over": text}
    assert len(counter.performed) == 2
    other = loop(3, kind="tool")
    run_id, counter = begin(world, other, effects={"llm_call": 2})
    assert world.tick(other, run_id).output == {"done": 3}


def test_wall_time_is_over_at_the_next_move_and_can_be_extended(world: World) -> None:
    spec = loop(4)

    def slow(n: int) -> Any:
        world.clock.forward(40)
        return EffectOutcome.completed({})

    run_id, counter = begin(world, spec, slow, wall_s=100)
    assert world.tick(spec, run_id).status is RunStatus.RUNNING
    assert len(counter.performed) == 3
    world.runtime.raise_budget(run_id, wall_s=100)
    assert world.tick(spec, run_id).output == {"done": 4}


def nested(world: World) -> WorkflowSpec:
    """Each run starts one below it, without end."""

    def node(run: RunState, ctx: Any) -> StepPlan:
        return StepPlan("a", Effect("start_subworkflow", {"workflow_id": "nested"}, "x"), "b")

    def end(run: RunState, ctx: Any) -> StepPlan:
        return StepPlan("b", complete_output={})

    spec = WorkflowSpec("nested", "a", {"a": node, "b": end})
    world.registry.register(spec)
    return spec


def test_runs_nest_no_deeper_than_the_budget_says(world: World) -> None:
    spec = nested(world)
    run_id, _ = begin(world, spec, depth=2, on_exceeded="fail")
    state = world.tick(spec, run_id)
    assert state.status is RunStatus.FAILED
    assert "may have no run so deep" in (state.error or "")
    assert len(below(world.store, run_id)) == 2


def below(store: Store, run_id: str) -> list[RunState]:
    found: list[RunState] = []
    parents = [run_id]
    for parent in parents:
        children = store.list_children(parent_run_id=parent)
        found += children
        parents += [child.run_id for child in children]
    return found


def test_depth_can_be_raised_for_a_paused_run_below(world: World) -> None:
    spec = nested(world)
    run_id, _ = begin(world, spec, depth=2)
    world.tick(spec, run_id)
    assert len(below(world.store, run_id)) == 2
    world.runtime.raise_budget(run_id, depth=1)
    world.tick(spec, run_id)
    assert len(below(world.store, run_id)) == 3


def test_an_effect_without_a_ceiling_overshoots_once_and_it_is_recorded(world: World) -> None:
    spec = loop(10)
    run_id, counter = begin(world, spec, uses(60), tokens=100)
    world.tick(spec, run_id)
    assert len(counter.performed) == 2
    found = world.runtime.get_budget(run_id)
    assert (found["used"], found["reserved"]) == ({"tokens": 120}, {"tokens": 0})
    beyond = [
        r["result"]["beyond"] for r in world.runtime.get_ledger(run_id)
        if r["effect"] is None and r["result"].get("beyond")
    ]  # fmt: skip
    assert beyond == [{"tokens": 20}]


def test_cost_is_what_the_result_says_or_the_ceiling(world: World) -> None:
    spec = loop(10, costs={"cost": 500, "tokens": 0})
    run_id, counter = begin(world, spec, uses(7, 400), cost=1000, tokens=1000)
    world.tick(spec, run_id)
    assert len(counter.performed) == 2
    assert world.runtime.get_budget(run_id)["used"] == {"cost": 800, "tokens": 14}
    run_id, counter = begin(world, spec, None, cost=1000)
    world.tick(spec, run_id)
    assert world.runtime.get_budget(run_id)["used"] == {"cost": 1000}


def test_a_failed_attempt_costs_what_it_says_and_the_next_is_reserved_anew(world: World) -> None:
    def fails_once(n: int) -> Any:
        if n == 1:
            return EffectOutcome.failed("no", used={"tokens": 30})
        return EffectOutcome.completed({}, used={"tokens": 40})

    from abstractruntime import DefaultEffectPolicy

    spec = loop(1, costs={"tokens": 50})
    counter = Counter(fails_once)
    policy = DefaultEffectPolicy(default_max_attempts=3, default_backoff_base=0.0)
    world.make(effect_handlers={"llm_call": counter}, effect_policy=policy)
    run_id = world.runtime.start(workflow=spec, budget=Budget(tokens=70, steps=1))
    world.tick(spec, run_id)
    assert len(counter.performed) == 1  # 30 are spent: 50 more would pass 70
    world.runtime.raise_budget(run_id, tokens=10)
    assert world.tick(spec, run_id).output == {"done": 1}
    assert world.runtime.get_budget(run_id)["used"] == {"steps": 1, "tokens": 70}


def test_an_attempt_that_raised_and_says_nothing_costs_nothing(world: World) -> None:
    def raises_once(n: int) -> Any:
        if n == 1:
            raise RetryableError("busy")
        return EffectOutcome.completed({}, used={"tokens": 40})

    from abstractruntime import Retry

    spec = loop(1, costs={"tokens": 50}, retry=Retry(backoff_s=0))
    run_id, _ = begin(world, spec, raises_once, tokens=50)
    assert world.tick(spec, run_id).output == {"done": 1}
    assert world.runtime.get_budget(run_id)["used"] == {"tokens": 40}


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once"])
def test_an_attempt_that_a_crash_cut_short_counts_as_its_ceiling(
    world: World, delivery: str
) -> None:
    def dies_first(n: int) -> Any:
        if n == 1:
            raise Died
        return EffectOutcome.completed({}, used={"tokens": 20})

    spec = loop(1, costs={"tokens": 50}, delivery=delivery)
    run_id, _ = begin(world, spec, dies_first, tokens=100)
    with pytest.raises(Died):
        world.tick(spec, run_id)
    state = world.tick(spec, run_id)
    if delivery == "at_most_once":
        world.runtime.resolve(run_id, outcome="retry")
        state = world.tick(spec, run_id)
    assert state.output == {"done": 1}
    found = world.runtime.get_budget(run_id)
    assert (found["used"], found["reserved"]) == ({"tokens": 70}, {"tokens": 0})
    assert spent(world.runtime, run_id) == 70


def test_a_function_may_declare_what_it_costs(world: World) -> None:
    @durable(costs={"tokens": 40})
    def call(run: RunState, effect: Effect) -> EffectOutcome:
        return EffectOutcome.completed({})

    spec = loop(5)
    world.make(effect_handlers={"llm_call": call})
    run_id = world.runtime.start(workflow=spec, budget=Budget(tokens=100))
    world.tick(spec, run_id)
    assert world.runtime.get_budget(run_id)["used"] == {"tokens": 80}


def test_a_run_without_a_budget_has_no_terms(world: World) -> None:
    spec = loop(2)
    world.make(effect_handlers={"llm_call": Counter()})
    state = world.run(spec)
    assert state.checkpoint is not None
    assert "terms" not in state.checkpoint.to_dict()
    assert world.runtime.get_budget(state.run_id)["limits"] == {}
    with pytest.raises(InvalidInput, match="no budget of its own"):
        world.runtime.raise_budget(state.run_id, tokens=1)


def test_only_what_is_limited_can_be_raised(world: World) -> None:
    run_id, _ = begin(world, loop(2), tokens=10)
    with pytest.raises(InvalidInput, match="does not limit steps"):
        world.runtime.raise_budget(run_id, steps=1)
    with pytest.raises(InvalidInput, match="time or depth"):
        world.runtime.raise_budget(run_id, depth=1)


def test_a_store_without_counters_refuses_budgets(world: World) -> None:
    with pytest.raises(UnsupportedByStore, match="counters"):
        world.runtime.start(workflow=loop(1), budget=Budget(tokens=1))


@pytest.mark.parametrize(
    "said", [{"tokens": -1}, {"steps": 1.5}, {"wall_s": "x"}, {"effects": 3}, {"on_exceeded": ""}]
)
def test_what_is_no_limit_is_refused(world: World, said: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Budget(**said)
