"""What a node may plan, in which order it counts, and what is refused before it is performed."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import Effect, EffectOutcome, EffectType, RunStatus, StepPlan, WorkflowSpec
from abstractruntime.errors import InvalidIdentifier
from tests.engine.conftest import Counter, World


def spec(**nodes: Any) -> WorkflowSpec:
    return WorkflowSpec("w", next(iter(nodes)), nodes)


def finish(run: Any, ctx: Any) -> StepPlan:
    return StepPlan("finish", complete_output={"vars": dict(run.vars)})


def test_an_empty_output_completes_the_run_with_its_own_record(world: World) -> None:
    done = spec(only=lambda run, ctx: StepPlan("only", complete_output={}))
    state = world.run(done)
    assert (state.status, state.output) == (RunStatus.COMPLETED, {})
    last = world.runtime.get_ledger(state.run_id)[-1]
    assert (last["effect"], last["result"], last["status"]) == (
        None,
        {"completed": True},
        "completed",
    )


def test_an_output_counts_before_an_effect(world: World) -> None:
    counter = Counter()
    world.make(effect_handlers={EffectType.LLM_CALL: counter})
    plan = StepPlan("only", Effect(EffectType.LLM_CALL), "only", {"x": 1})
    assert world.run(spec(only=lambda run, ctx: plan)).output == {"x": 1}
    assert counter.performed == []


def test_a_result_goes_to_its_dotted_key_and_makes_objects_on_the_way(world: World) -> None:
    world.make(effect_handlers={"probe": lambda run, effect: EffectOutcome.completed({"ok": 1})})
    work = spec(
        a=lambda run, ctx: StepPlan("a", Effect("probe", {}, "x.y.z"), "finish"), finish=finish
    )
    state = world.run(work, x="in the way")
    assert state.output is not None
    assert state.output["vars"]["x"] == {"y": {"z": {"ok": 1}}}


def test_a_none_result_is_a_performed_effect_that_stores_nothing(world: World) -> None:
    counter = Counter(lambda n: EffectOutcome.completed(None))
    world.make(effect_handlers={"probe": counter})
    work = spec(a=lambda run, ctx: StepPlan("a", Effect("probe", {}, "x"), "finish"), finish=finish)
    state = world.run(work)
    assert state.output is not None
    assert "x" not in state.output["vars"]
    assert world.statuses(state.run_id) == [("a", "started"), ("a", "completed")]
    assert len(counter.performed) == 1


def test_a_step_has_one_step_id_and_its_effect_in_both_records(world: World) -> None:
    world.make(effect_handlers={"probe": Counter()})
    work = spec(
        a=lambda run, ctx: StepPlan("a", Effect("probe", {"q": [1]}, "x"), "finish"), finish=finish
    )
    state = world.run(work)
    first, second = (r for r in world.runtime.get_ledger(state.run_id) if r["effect"])
    assert first["step_id"] == second["step_id"]
    effect = {"type": "probe", "payload": {"q": [1]}, "result_key": "x"}
    assert first["effect"] == second["effect"] == effect
    assert first["ended_at"] is None
    assert second["ended_at"] is not None
    assert second["result"] == {"n": 1}


@pytest.mark.parametrize(
    ("plan", "error"),
    [
        (StepPlan("a"), "Node 'a' returned no effect and no next_node"),
        (
            StepPlan("a", Effect("probe")),
            "Node 'a' executed effect but did not specify next_node",
        ),
        (
            StepPlan("a", Effect("start_subworkflow", {"workflow_id": "c", "async": True})),
            "Node 'a' executed effect but did not specify next_node",
        ),
        (StepPlan("a", None, "nowhere"), "Unknown node_id 'nowhere' in workflow 'w'"),
        (StepPlan("a", Effect("probe"), "nowhere"), "Unknown node_id 'nowhere' in workflow 'w'"),
        (
            StepPlan("a", Effect("wait_event", {"wait_key": "k", "resume_to_node": "no"})),
            "Unknown node_id 'no' in workflow 'w'",
        ),
        ("not a plan", "Node 'a' returned str, not a StepPlan"),
    ],
)
def test_an_impossible_plan_fails_the_run_before_anything_is_performed(
    world: World, plan: Any, error: str
) -> None:
    counter = Counter()
    world.make(effect_handlers={"probe": counter})
    state = world.run(spec(a=lambda run, ctx: plan))
    assert (state.status, state.error) == (RunStatus.FAILED, error)
    assert counter.performed == []
    assert [r["status"] for r in world.runtime.get_ledger(state.run_id)] == ["failed"]


def test_a_payload_that_is_no_json_names_its_path(world: World) -> None:
    plan = StepPlan("a", Effect("probe", {"when": [{1, 2}]}), "a")
    state = world.run(spec(a=lambda run, ctx: plan))
    assert state.status is RunStatus.FAILED
    assert state.error is not None
    assert "$.effect.payload.when[0]" in state.error


def test_a_node_that_raises_leaves_vars_as_they_were(world: World) -> None:
    def bad(run: Any, ctx: Any) -> StepPlan:
        run.vars["kept"]["half"] = True
        raise RuntimeError("no luck")

    state = world.run(spec(bad=bad), kept={})
    assert (state.status, state.error) == (
        RunStatus.FAILED,
        "Node 'bad' raised RuntimeError: no luck",
    )
    assert state.vars["kept"] == {}
    (record,) = world.runtime.get_ledger(state.run_id)
    assert (record["node_id"], record["status"]) == ("bad", "failed")
    assert record["result"]["error_type"] == "RuntimeError"
    assert record["result"]["traceback"]


def test_vars_that_are_no_json_fail_the_node_that_left_them(world: World) -> None:
    def bad(run: Any, ctx: Any) -> StepPlan:
        run.vars["deep"] = {"set": {1}}
        return StepPlan("bad", complete_output={})

    state = world.run(spec(first=lambda run, ctx: StepPlan("first", None, "bad"), bad=bad))
    assert state.status is RunStatus.FAILED
    assert state.error is not None
    assert state.error.startswith("Node 'bad'")
    assert "deep" in state.error
    assert "deep" not in state.vars


def test_pure_transitions_ride_in_few_commits_and_leave_a_record_each(world: World) -> None:
    def hop(run: Any, ctx: Any) -> StepPlan:
        run.vars["n"] = run.vars.get("n", 0) + 1
        if run.vars["n"] == 130:
            return StepPlan("hop", complete_output={"n": run.vars["n"]})
        return StepPlan("hop", None, "hop")

    work = spec(hop=hop)
    run_id = world.start(work)
    state = world.tick(work, run_id, max_steps=1000)
    assert state.output == {"n": 130}
    assert world.kinds(run_id).count("moved") == 129
    assert state.checkpoint is not None
    assert state.checkpoint.revision == 1 + 2 + 1


def test_max_steps_counts_node_calls_and_leaves_the_run_running_and_undriven(world: World) -> None:
    counter = Counter()
    world.make(effect_handlers={"probe": counter})
    loop = spec(a=lambda run, ctx: StepPlan("a", Effect("probe"), "a"))
    run_id = world.start(loop)
    for done in range(1, 4):
        state = world.tick(loop, run_id, max_steps=1)
        assert state.status is RunStatus.RUNNING
        assert len(counter.performed) == done
        assert state.checkpoint is not None
        assert state.checkpoint.driver is None
    assert world.tick(loop, run_id, max_steps=0).checkpoint == state.checkpoint


def test_n_effects_cost_n_plus_two_commits(world: World) -> None:
    world.make(effect_handlers={"probe": Counter()})

    def a(run: Any, ctx: Any) -> StepPlan:
        run.vars["i"] = run.vars.get("i", 0) + 1
        if run.vars["i"] > 20:
            return StepPlan("a", complete_output={})
        return StepPlan("a", Effect("probe", {"i": run.vars["i"]}), "a")

    state = world.run(spec(a=a))
    assert state.checkpoint is not None
    assert state.checkpoint.revision == 22


def test_a_missing_handler_fails_the_run_by_name(world: World) -> None:
    state = world.run(spec(a=lambda run, ctx: StepPlan("a", Effect("nobody"), "a")))
    assert state.error == "Effect failed after 1 attempts: No effect handler registered for nobody"


def test_a_workflow_without_its_entry_is_refused_at_start(world: World) -> None:
    with pytest.raises(ValueError, match="entry"):
        world.start(WorkflowSpec("w", "missing", {}))


def test_identifiers_of_256_characters_are_taken_and_longer_ones_refused(world: World) -> None:
    def named(size: int) -> WorkflowSpec:
        node = "n" * size
        wait = Effect("wait_event", {"wait_key": "k" * size})
        return WorkflowSpec("w" * size, node, {node: lambda run, ctx: StepPlan(node, wait)})

    assert world.run(named(256)).status is RunStatus.WAITING
    with pytest.raises(InvalidIdentifier, match="257 characters"):
        world.start(named(257))


def test_a_wait_key_that_is_too_long_fails_the_step_by_name(world: World) -> None:
    wait = Effect("wait_event", {"wait_key": "k" * 257})
    state = world.run(spec(a=lambda run, ctx: StepPlan("a", wait)))
    assert state.status is RunStatus.FAILED
    assert state.error is not None
    assert "wait_key has 257 characters" in state.error
