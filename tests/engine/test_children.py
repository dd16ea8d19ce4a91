"""Child runs: one to a step, driven by their parent, heard of once."""

from __future__ import annotations

from typing import Any

from abstractruntime import Effect, EffectType, RunStatus, StepPlan, WaitReason, WorkflowSpec
from tests.engine.conftest import Counter, World


def parent(**payload: Any) -> WorkflowSpec:
    def start(run: Any, ctx: Any) -> StepPlan:
        effect = Effect(EffectType.START_SUBWORKFLOW, {"workflow_id": "child", **payload}, "sub")
        return StepPlan("start", effect, "end")

    def end(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("end", complete_output={"sub": run.vars["sub"]})

    return WorkflowSpec("parent", "start", {"start": start, "end": end})


def child_of(node: Any) -> WorkflowSpec:
    return WorkflowSpec(
        "child",
        "only",
        {
            "only": node,
            "then": lambda run, ctx: StepPlan("then", complete_output=dict(run.vars["r"])),
        },
    )


def test_a_child_that_completes_within_the_call_is_the_steps_result(world: World) -> None:
    world.registry.register(
        child_of(lambda run, ctx: StepPlan("only", complete_output={"x": run.vars["x"] + 1}))
    )
    work = parent(vars={"x": 1})
    run_id = world.runtime.start(workflow=work, actor_id="me", session_id="s")
    state = world.tick(work, run_id)
    assert state.status is RunStatus.COMPLETED
    assert state.output is not None
    child_id = state.output["sub"]["sub_run_id"]
    assert state.output == {"sub": {"sub_run_id": child_id, "output": {"x": 2}}}
    child = world.runtime.get_state(child_id)
    assert (child.parent_run_id, child.actor_id, child.session_id) == (run_id, "me", "s")
    assert "_limits" in child.vars
    assert world.statuses(run_id) == [("start", "started"), ("start", "completed")]


def test_a_child_that_fails_fails_its_parent_by_name(world: World) -> None:
    def bad(run: Any, ctx: Any) -> StepPlan:
        raise RuntimeError("broken")

    world.registry.register(child_of(bad))
    state = world.run(parent())
    assert state.status is RunStatus.FAILED
    assert state.error == (
        "Effect failed after 1 attempts: Subworkflow 'child' failed: "
        "Node 'only' raised RuntimeError: broken"
    )


def waiting_child() -> WorkflowSpec:
    return child_of(
        lambda run, ctx: StepPlan("only", Effect("wait_event", {"wait_key": "k"}, "r"), "then")
    )


def test_a_parent_waits_with_its_child_and_goes_on_when_the_child_has_ended(world: World) -> None:
    child = waiting_child()
    world.registry.register(child)
    work = parent()
    state = world.run(work)
    assert state.waiting is not None
    assert state.waiting.reason is WaitReason.SUBWORKFLOW
    assert state.waiting.details is not None
    child_id = state.waiting.details["sub_run_id"]
    assert state.waiting.wait_key == f"subworkflow:{child_id}"
    assert state.waiting.details == {
        "sub_run_id": child_id,
        "sub_workflow_id": "child",
        "sub_waiting": {"reason": "event", "wait_key": "k"},
    }
    assert world.tick(work, state.run_id) == state
    world.resume(child, child_id, {"got": 7})
    assert world.tick(work, state.run_id).output == {
        "sub": {"sub_run_id": child_id, "output": {"got": 7}}
    }
    assert world.store.list_messages(state.run_id) == []


def test_a_waiting_parent_fails_when_its_child_is_cancelled(world: World) -> None:
    world.registry.register(waiting_child())
    work = parent()
    state = world.run(work)
    assert state.waiting is not None
    assert state.waiting.details is not None
    world.runtime.cancel_run(state.waiting.details["sub_run_id"], reason="no more")
    ended = world.tick(work, state.run_id)
    assert ended.status is RunStatus.FAILED
    assert ended.error == "Effect failed after 1 attempts: Subworkflow 'child' failed: no more"


def test_a_parent_may_be_moved_by_hand_with_the_childs_output(world: World) -> None:
    child = waiting_child()
    world.registry.register(child)
    work = parent()
    state = world.run(work)
    assert state.waiting is not None
    assert state.waiting.details is not None
    child_id = state.waiting.details["sub_run_id"]
    ended = world.resume(child, child_id, {"got": 7})
    answer = {"sub_run_id": child_id, "output": ended.output}
    after = world.resume(work, state.run_id, answer, wait_key=state.waiting.wait_key)
    assert after.output == {"sub": answer}
    assert world.store.list_messages(state.run_id) == []


def test_an_async_child_is_started_and_left_to_its_host(world: World) -> None:
    world.registry.register(child_of(lambda run, ctx: StepPlan("only", complete_output={"x": 1})))
    state = world.run(parent(**{"async": True}))
    assert state.output is not None
    child_id = state.output["sub"]["sub_run_id"]
    assert state.output == {"sub": {"sub_run_id": child_id, "async": True}}
    child = world.runtime.get_state(child_id)
    assert (child.status, child.current_node) == (RunStatus.RUNNING, "only")
    assert child.checkpoint is not None
    assert child.checkpoint.driver is None


def test_a_child_that_needs_more_steps_keeps_its_parent_waiting_until_it_has_them(
    world: World,
) -> None:
    counter = Counter()
    world.make(effect_handlers={"probe": counter})

    def only(run: Any, ctx: Any) -> StepPlan:
        run.vars["n"] = run.vars.get("n", 0) + 1
        if run.vars["n"] > 150:
            return StepPlan("only", complete_output={"n": run.vars["n"]})
        return StepPlan("only", Effect("probe"), "only")

    world.registry.register(child_of(only))
    work = parent()
    state = world.run(work)
    assert state.status is RunStatus.WAITING
    assert state.waiting is not None
    assert state.waiting.details is not None
    assert state.waiting.details["sub_waiting"] is None
    assert len(counter.performed) == 100
    state = world.tick(work, state.run_id)
    assert state.status is RunStatus.COMPLETED
    assert len(counter.performed) == 150


def test_without_a_registry_the_error_says_how_to_set_one(world: World) -> None:
    world.make(workflow_registry=None)
    assert world.run(parent()).error == (
        "Effect failed after 1 attempts: start_subworkflow requires a workflow_registry. "
        "Set it via Runtime(workflow_registry=...) or runtime.set_workflow_registry(...)"
    )


def test_an_unknown_child_workflow_fails_by_name(world: World) -> None:
    assert world.run(parent()).error == (
        "Effect failed after 1 attempts: Workflow 'child' not found in registry"
    )


def test_children_of_children_are_driven_in_one_tick(world: World) -> None:
    def start(level: int) -> Any:
        def node(run: Any, ctx: Any) -> StepPlan:
            if level == 0:
                return StepPlan("n", complete_output={"deepest": True})
            effect = Effect("start_subworkflow", {"workflow_id": f"level{level - 1}"}, "sub")
            return StepPlan("n", effect, "end")

        return node

    specs = [
        WorkflowSpec(
            f"level{level}",
            "n",
            {
                "n": start(level),
                "end": lambda run, ctx: StepPlan("end", complete_output=run.vars["sub"]["output"]),
            },
        )
        for level in range(6)
    ]
    for spec in specs:
        world.registry.register(spec)
    assert world.run(specs[-1]).output == {"deepest": True}


def test_a_workflow_that_starts_itself_without_end_fails_by_name(world: World) -> None:
    endless = WorkflowSpec(
        "child",
        "only",
        {
            "only": lambda run, ctx: StepPlan(
                "only", Effect("start_subworkflow", {"workflow_id": "child"}), "only"
            )
        },
    )
    world.registry.register(endless)
    state = world.run(endless)
    assert state.status is RunStatus.FAILED
    assert state.error is not None
    assert state.error.endswith("Subworkflows nest deeper than 64")
