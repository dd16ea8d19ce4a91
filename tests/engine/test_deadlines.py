"""A run with a deadline fails when it has not ended by then, whatever it is doing."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from abstractruntime import (
    Effect,
    EffectOutcome,
    Retry,
    RunState,
    RunStatus,
    StepPlan,
    WorkflowSpec,
)
from abstractruntime.errors import InvalidTime
from abstractruntime.storage.base import Capability
from tests.engine.conftest import Counter, World

DEADLINE = "2026-01-01T01:00:00+00:00"
LATE = f"The run's deadline passed: {DEADLINE[:19]}.000000+00:00"


def plan(*effects: Effect) -> WorkflowSpec:
    def node(run: Any, ctx: Any) -> StepPlan:
        if len(effects) == 1:
            return StepPlan("a", effects[0], "b")
        return StepPlan("a", effects=effects, next_node="b", into="all")

    return WorkflowSpec(
        "w", "a", {"a": node, "b": lambda run, ctx: StepPlan("b", complete_output={})}
    )


WAITS = plan(Effect("wait_event", {"wait_key": "go"}, "got"))
ASKS = plan(Effect("ask_user", {"prompt": "0?"}), Effect("ask_user", {"prompt": "1?"}))


def start(world: World, spec: WorkflowSpec, deadline: str = DEADLINE) -> str:
    return world.runtime.start(workflow=spec, deadline=deadline)


def is_late(state: RunState) -> bool:
    return (state.status, state.error) == (RunStatus.FAILED, LATE)


def by_the_clock(world: World, spec: WorkflowSpec, run_id: str) -> RunState | None:
    return asyncio.run(world.runtime.amove(find=lambda _: spec, run_id=run_id))


@pytest.mark.parametrize("spec", [WAITS, ASKS], ids=["one wait", "branches"])
def test_a_waiting_run_fails_at_its_deadline(world: World, spec: WorkflowSpec) -> None:
    run_id = start(world, spec)
    assert world.tick(spec, run_id).status is RunStatus.WAITING
    world.clock.forward(3599)
    assert world.tick(spec, run_id).status is RunStatus.WAITING
    world.clock.forward(1)
    state = world.tick(spec, run_id)
    assert is_late(state)
    assert "overdue" in world.kinds(run_id)
    assert state.checkpoint is not None
    assert state.checkpoint.join is None
    assert not {*state.checkpoint.waits, *state.checkpoint.open_steps}


@pytest.mark.parametrize("spec", [WAITS, ASKS], ids=["one wait", "branches"])
def test_a_clock_finds_the_runs_that_are_late(world: World, spec: WorkflowSpec) -> None:
    if Capability.QUERYABLE not in world.store.capabilities:
        return
    run_id = start(world, spec)
    world.tick(spec, run_id)
    assert world.store.list_due(world.clock.now) == []
    world.clock.forward(3600)
    assert world.store.list_due(world.clock.now) == [run_id]
    state = by_the_clock(world, spec, run_id)
    assert state is not None
    assert is_late(state)
    assert world.store.list_due(world.clock.now) == []


def test_a_parked_run_fails_at_its_deadline_and_is_left_alone_before(world: World) -> None:
    run_id = start(world, WAITS)
    assert by_the_clock(world, WAITS, run_id) is None
    world.clock.forward(3600)
    state = by_the_clock(world, WAITS, run_id)
    assert state is not None
    assert is_late(state)


RETRY = Retry(attempts=9, backoff_s=700, backoff_max_s=700)
PROBES = plan(Effect("probe", {}, retry=RETRY))
BOTH = plan(Effect("probe", {}, retry=RETRY), Effect("wait_event", {"wait_key": "go"}))


@pytest.mark.parametrize("spec", [PROBES, BOTH], ids=["one step", "branches"])
def test_a_run_between_two_attempts_fails_at_its_deadline(
    world: World, spec: WorkflowSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(lambda n: EffectOutcome.failed("no"))
    world.make(effect_handlers={"probe": counter})
    run_id = start(world, spec)

    async def pass_by(seconds: float) -> None:
        world.clock.forward(seconds)

    monkeypatch.setattr(time, "sleep", world.clock.forward)
    monkeypatch.setattr(asyncio, "sleep", pass_by)
    assert is_late(world.tick(spec, run_id))
    assert len(counter.performed) == 6
    assert world.clock.now.startswith("2026-01-01T01:00:00")


def test_an_answer_that_comes_too_late_does_not_save_the_run(world: World) -> None:
    run_id = start(world, WAITS)
    world.tick(WAITS, run_id)
    world.clock.forward(3601)
    assert is_late(world.resume(WAITS, run_id, "here"))


def test_a_run_that_ends_in_time_is_not_touched(world: World) -> None:
    run_id = start(world, WAITS)
    world.tick(WAITS, run_id)
    assert world.resume(WAITS, run_id, "here").status is RunStatus.COMPLETED
    world.clock.forward(7200)
    assert world.tick(WAITS, run_id).status is RunStatus.COMPLETED


def test_a_paused_run_fails_when_it_is_unpaused_too_late(world: World) -> None:
    run_id = start(world, WAITS)
    world.tick(WAITS, run_id)
    world.runtime.pause_run(run_id)
    world.clock.forward(7200)
    assert world.tick(WAITS, run_id).status is RunStatus.WAITING
    world.runtime.unpause_run(run_id)
    assert is_late(world.tick(WAITS, run_id))


def test_whoever_reopens_a_late_run_gives_it_time(world: World) -> None:
    run_id = start(world, WAITS)
    world.tick(WAITS, run_id)
    world.clock.forward(7200)
    world.tick(WAITS, run_id)
    world.runtime.reopen(run_id, actor_id="ann", reason="it may go on")
    assert world.tick(WAITS, run_id).status is RunStatus.WAITING


def test_any_offset_will_do_and_none_will_not(world: World) -> None:
    run_id = start(world, WAITS, "2026-01-01T02:00:00+01:00")
    world.clock.forward(3600)
    assert is_late(world.tick(WAITS, run_id))
    for wrong in ("2026-01-01T01:00:00", "tomorrow"):
        with pytest.raises(InvalidTime, match="deadline"):
            start(world, WAITS, wrong)


def test_a_start_that_is_awaited_takes_a_deadline_too(world: World) -> None:
    run_id = asyncio.run(world.runtime.astart(workflow=WAITS, deadline=DEADLINE))
    world.clock.forward(3600)
    assert is_late(world.tick(WAITS, run_id))
