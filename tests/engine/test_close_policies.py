"""What becomes of the children of a run that ends, or whose branch was not waited for."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import Effect, RunStatus, StepPlan, WorkflowSpec
from tests.engine.conftest import World
from tests.engine.test_trees import check_cancelled, starter, tree, waiter


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (None, ["completed", "waiting", "waiting"]),
        ("abandon", ["completed", "waiting", "waiting"]),
        ("request", ["completed", "cancelled", "waiting"]),
        ("cancel", ["completed", "cancelled", "cancelled"]),
    ],
)
def test_a_parent_that_ends_closes_its_children_by_their_policy(
    world: World, policy: str | None, left: list[str]
) -> None:
    said = {} if policy is None else {"close_policy": policy}
    top = starter("top", "middle", 1, **said)
    world.registry.register(starter("middle", "leaf", 1))
    world.registry.register(waiter())
    run_id = world.run(top).run_id
    (middle,) = world.store.list_children(parent_run_id=run_id)
    world.tick(world.registry.get_or_raise("middle"), middle.run_id)
    (leaf,) = world.store.list_children(parent_run_id=middle.run_id)
    world.tick(world.registry.get_or_raise("leaf"), leaf.run_id)
    state = world.resume(top, run_id, None)
    assert (state.status, state.output) == (RunStatus.COMPLETED, {})
    runs = list(tree(world.store, run_id))
    assert [run.status.value for run in runs] == left
    for run in runs[1:]:
        if run.status is RunStatus.CANCELLED:
            assert run.error == f"Its parent run '{run_id}' has completed"
    if policy in ("cancel", "request"):
        assert world.kinds(run_id)[-2:] == ["ending", "completed"]


@pytest.mark.parametrize("end", ["cancel", "deadline", "fail"])
def test_a_parent_that_does_not_complete_closes_its_sync_child(world: World, end: str) -> None:
    from dataclasses import replace

    world.registry.register(waiter())
    payload = {"workflow_id": "leaf", "close_policy": "cancel"}
    start = Effect("start_subworkflow", payload, "sub")
    work = WorkflowSpec("p", "a", {"a": lambda run, ctx: StepPlan("a", start, "a")})
    run_id = world.run(work).run_id
    (child,) = world.store.list_children(parent_run_id=run_id)
    if end == "cancel":
        state = world.runtime.cancel_run(run_id, reason="over", actor_id="ann")
        check_cancelled(world.store, run_id)
    elif end == "deadline":
        from abstractruntime.engine.operations.change import change

        def bound(draft: Any) -> bool:
            draft.terms = replace(draft.terms, deadline=world.clock.now)
            draft.note("bounded", line_id="line", now=world.clock.now)
            return True

        world.runtime._drive(lambda _: change(world.runtime._settings, run_id, bound))
        world.clock.forward(1)
        state = world.tick(work, run_id)
        assert state.status is RunStatus.FAILED
    else:
        world.runtime.cancel_run(child.run_id, reason="over")
        state = world.tick(work, run_id)
        assert state.status is RunStatus.FAILED
    assert state.checkpoint is not None
    assert state.checkpoint.terms.phase is None
    assert world.runtime.get_state(child.run_id).status is RunStatus.CANCELLED


def test_a_close_policy_that_is_none_is_refused(world: World) -> None:
    world.registry.register(waiter())
    state = world.run(starter("top", "leaf", 1, close_policy="kill"))
    assert state.status is RunStatus.FAILED
    assert "close_policy is one of cancel, request, abandon" in (state.error or "")


def test_children_of_branches_that_lose_are_cancelled_with_what_is_below_them(
    world: World,
) -> None:
    world.registry.register(starter("middle", "leaf", 1))
    world.registry.register(waiter())
    ask = Effect("wait_event", {"wait_key": "first"})
    sub = Effect("start_subworkflow", {"workflow_id": "middle"})
    work = WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", effects=[ask, sub], next_node="b", join="any"),
            "b": lambda run, ctx: StepPlan("b", complete_output={}),
        },
    )
    run_id = world.run(work).run_id
    (middle,) = world.store.list_children(parent_run_id=run_id)
    (leaf,) = world.store.list_children(parent_run_id=middle.run_id)
    state = world.resume(work, run_id, None, wait_key="first")
    assert state.status is RunStatus.COMPLETED
    assert state.checkpoint is not None
    assert state.checkpoint.terms.losing is None
    for child in (middle, leaf):
        ended = world.runtime.get_state(child.run_id)
        assert (ended.status, ended.error) == (
            RunStatus.CANCELLED,
            "Its branch was not waited for",
        )
