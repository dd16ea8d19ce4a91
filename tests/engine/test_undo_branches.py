"""Undos of a plan with several effects at once."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import Effect, RunStatus, StepPlan, WorkflowSpec
from abstractruntime.core.checkpoint import Terms
from abstractruntime.errors import NeedsResolve
from tests.engine.conftest import World
from tests.engine.test_undo import Desk, failing, terms_of


def fan(n: int = 4) -> WorkflowSpec:
    """`n` bookings at once, then one that fails."""
    undo = [Effect("unbook", {"of": i, "id": {"$result": "id"}}) for i in range(1, n + 2)]
    effects = [Effect("book", {"seat": i}, undo=undo[i - 1]) for i in range(1, n + 1)]
    last = Effect("book", {"seat": n + 1}, undo=undo[n])
    return WorkflowSpec(
        "fan",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", effects=effects, next_node="b", into="all"),
            "b": lambda run, ctx: StepPlan("b", last, "b"),
        },
    )


def test_branches_are_taken_back_as_they_were_registered_after_the_join(world: World) -> None:
    desk = Desk(world, book5=failing)
    state = world.run(fan())
    assert state.error == "Effect failed after 1 attempts: no seat left"
    assert desk.taken_back == [(i, f"b{i}") for i in (4, 3, 2, 1)]
    assert terms_of(world, state.run_id) == Terms()


def test_a_branch_that_fails_takes_the_others_back(world: World) -> None:
    desk = Desk(world, book2=failing)
    state = world.run(fan())
    assert state.status is RunStatus.FAILED
    assert "1 of 4 branches failed" in (state.error or "")
    # What a branch had begun may have been done: it is taken back too, its result unknown.
    done = [(i, f"b{i}" if i in desk.booked else None) for i in (4, 3, 1)]
    assert [seat for seat, _ in desk.taken_back] == [4, 3, 1]
    assert desk.taken_back[-1] == done[-1]


def test_a_cancel_of_a_run_with_branches_that_wait_takes_the_others_back(world: World) -> None:
    desk = Desk(world)
    undo = Effect("unbook", {"of": 1, "id": {"$result": "id"}})
    effects = [Effect("book", {"seat": 1}, undo=undo), Effect("wait_event", {"wait_key": "go"})]
    work = WorkflowSpec(
        "w",
        "a",
        {"a": lambda run, ctx: StepPlan("a", effects=effects, next_node="a", into="all")},
    )
    run_id = world.run(work).run_id
    assert world.runtime.get_state(run_id).status is RunStatus.WAITING
    assert world.runtime.cancel_run(run_id, reason="enough").status is RunStatus.RUNNING
    state = world.tick(work, run_id)
    assert (state.status, state.error) == (RunStatus.CANCELLED, "enough")
    assert desk.taken_back == [(1, "b1")]


def test_an_undo_in_doubt_after_branches_is_resolved(world: World) -> None:
    def fails(step: Any) -> None:
        raise RuntimeError("refused")

    desk = Desk(world, book5=failing, unbook3=fails)
    work = fan()
    state = world.run(work)
    assert state.status is RunStatus.WAITING
    with pytest.raises(NeedsResolve):
        world.resume(work, state.run_id, None)
    world.runtime.resolve(state.run_id, outcome="fail")
    assert world.tick(work, state.run_id).status is RunStatus.FAILED
    assert [seat for seat, _ in desk.taken_back] == [4, 2, 1]
