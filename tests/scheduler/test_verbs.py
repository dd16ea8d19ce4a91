"""What the api says of Scheduler: its verbs, its texts, its counters."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import (
    Effect,
    InMemoryLedgerStore,
    RunStatus,
    Runtime,
    Scheduler,
    StepPlan,
    WaitReason,
    WorkflowRegistry,
    WorkflowSpec,
)
from abstractruntime.core.models import RunState
from abstractruntime.storage.base import RunStore
from tests.scheduler.conftest import Bench, asker, parent, sleeper


class Unlisted(RunStore):
    """A store that cannot list its runs."""

    def save(self, run: RunState) -> None: ...

    def load(self, run_id: str) -> RunState | None:
        return None


def test_a_store_that_cannot_be_queried_is_refused_by_name() -> None:
    runtime = Runtime(run_store=Unlisted(), ledger_store=InMemoryLedgerStore())
    with pytest.raises(TypeError, match="QueryableRunStore"):
        Scheduler(runtime=runtime, registry=WorkflowRegistry())


def test_a_scheduler_that_runs_is_not_started_twice_and_can_be_started_again(bench: Bench) -> None:
    scheduler = bench.scheduler()
    assert not scheduler.is_running
    scheduler.start()
    with pytest.raises(RuntimeError, match=r"^Scheduler is already running$"):
        scheduler.start()
    scheduler.stop()
    scheduler.stop()
    assert not scheduler.is_running
    run_id = bench.run(sleeper())
    bench.clock.forward(120)
    scheduler.start()
    assert bench.next_moved().run_id == run_id
    scheduler.stop()


def test_poll_once_moves_what_is_due_and_counts_it(bench: Bench) -> None:
    scheduler = bench.scheduler()
    spec = sleeper()
    run_ids = [bench.run(spec) for _ in range(3)]
    assert scheduler.poll_once() == 0
    bench.clock.forward(120)
    assert scheduler.poll_once() == 3
    assert scheduler.poll_once() == 0
    for run_id in run_ids:
        state = bench.runtime.get_state(run_id)
        assert state.status is RunStatus.COMPLETED
        assert state.output is not None
        assert state.output["slept"]["ready"] is True
    stats = scheduler.stats
    assert (stats.runs_resumed, stats.runs_failed, stats.errors) == (3, 0, [])
    assert stats.poll_cycles >= 3
    assert stats.last_poll_at is not None


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_poll_once_moves_all_that_is_due_however_few_it_may_move_at_once(bench: Bench) -> None:
    spec = sleeper()
    for _ in range(50):
        bench.run(spec)
    bench.clock.forward(120)
    assert bench.scheduler(concurrency=1).poll_once() == 50


def test_a_run_that_fails_when_it_is_moved_is_counted_as_failed(bench: Bench) -> None:
    def fails() -> None:
        raise OSError("no more")

    scheduler = bench.scheduler()
    run_id = bench.run(sleeper(act=fails))
    bench.clock.forward(120)
    assert scheduler.poll_once() == 1
    assert bench.next_moved().status is RunStatus.FAILED
    assert "no more" in (bench.runtime.get_state(run_id).error or "")
    assert scheduler.stats.runs_failed == 1


def test_a_run_whose_workflow_nobody_registered_is_told_of_and_left_as_it_is(bench: Bench) -> None:
    scheduler = bench.scheduler(max_errors_kept=2)
    spec = sleeper()
    run_ids = {bench.run(spec) for _ in range(3)}
    before = [bench.runtime.get_state(run_id) for run_id in run_ids]
    bench.registry.unregister("sleeper")
    bench.clock.forward(120)
    assert scheduler.poll_once() == 0
    told = [bench.failed.get(timeout=1) for _ in run_ids]
    assert {run_id for run_id, _ in told} == run_ids
    for _, error in told:
        assert isinstance(error, KeyError)
        assert "Workflow 'sleeper' is not registered. Register it with" in str(error)
    assert scheduler.stats.runs_failed == 3
    assert len(scheduler.stats.errors) == 2, "the newest are kept"
    assert [bench.runtime.get_state(run_id) for run_id in run_ids] == before
    bench.registry.register(spec)
    assert bench.scheduler().poll_once() == 3


def test_resume_event_answers_a_waiting_run_and_refuses_another(bench: Bench) -> None:
    scheduler = bench.scheduler()
    run_id = bench.run(asker())
    with pytest.raises(ValueError, match="wait_key mismatch: expected 'k', got 'other'"):
        scheduler.resume_event(run_id=run_id, wait_key="other", payload="x")
    state = scheduler.resume_event(run_id=run_id, wait_key="k", payload="yes")
    assert state.output == {"said": "yes"}
    with pytest.raises(ValueError, match=rf"^Run '{run_id}' is not waiting \(status=completed\)"):
        scheduler.resume_event(run_id=run_id, wait_key="k", payload="again")
    with pytest.raises(KeyError, match="Unknown run_id: nobody"):
        scheduler.resume_event(run_id="nobody", wait_key="k", payload="x")


def test_waiting_runs_are_found_by_reason_and_workflow(bench: Bench) -> None:
    scheduler = bench.scheduler()
    asking, asking_too = bench.run(asker()), bench.run(asker("other"))
    sleeping = bench.run(sleeper())
    bench.start(asker())
    assert {run.run_id for run in scheduler.find_waiting_runs()} == {asking, asking_too, sleeping}
    by_reason = scheduler.find_waiting_runs(wait_reason=WaitReason.USER)
    assert {run.run_id for run in by_reason} == {asking, asking_too}
    (found,) = scheduler.find_waiting_runs(workflow_id="other")
    assert found.run_id == asking_too
    assert len(scheduler.find_waiting_runs(limit=2)) == 2


def test_a_parent_can_be_moved_by_hand_when_its_child_has_ended(bench: Bench) -> None:
    scheduler = bench.scheduler()
    bench.registry.register(asker())
    parent_id = bench.run(parent("asker"))
    waiting = bench.runtime.get_state(parent_id).waiting
    assert waiting is not None
    assert waiting.details is not None
    child_id = waiting.details["sub_run_id"]
    bench.runtime.resume(workflow=asker(), run_id=child_id, wait_key="k", payload="hm")
    output = bench.runtime.get_state(child_id).output
    state = scheduler.resume_subworkflow_parent(child_run_id=child_id, child_output=output)
    assert state is not None
    assert state.output == {"sub": {"sub_run_id": child_id, "output": {"said": "hm"}}}
    again = scheduler.resume_subworkflow_parent(child_run_id=child_id, child_output=output)
    assert again is None
    assert scheduler.resume_subworkflow_parent(child_run_id=parent_id, child_output={}) is None
    assert scheduler.poll_once() == 0, "nothing is left over of the child's end"


def test_cancelling_with_children_goes_down_three_levels(bench: Bench) -> None:
    scheduler = bench.scheduler()
    for spec in (asker("leaf"), parent("leaf", "middle")):
        bench.registry.register(spec)
    top = bench.run(parent("middle", "top"))
    bystander = bench.run(asker("leaf"))
    cancelled = scheduler.cancel_with_children(top, reason="enough")
    assert [run.workflow_id for run in cancelled] == ["top", "middle", "leaf"]
    for run in cancelled:
        state = bench.runtime.get_state(run.run_id)
        assert (state.status, state.error, state.waiting) == (RunStatus.CANCELLED, "enough", None)
    assert bench.runtime.get_state(bystander).status is RunStatus.WAITING
    assert scheduler.cancel_with_children(top) == []
    assert scheduler.poll_once() == 0, "an ended parent hears of its child no more"
    assert bench.runtime.get_state(top).status is RunStatus.CANCELLED


def test_poll_once_works_inside_a_running_event_loop(bench: Bench) -> None:
    import asyncio

    async def polled() -> int:
        return scheduler.poll_once()

    scheduler = bench.scheduler()
    bench.run(sleeper())
    bench.clock.forward(120)
    assert asyncio.run(polled()) == 1


def test_a_retry_that_is_due_is_made_by_the_scheduler_without_sleeping(bench: Bench) -> None:
    from abstractruntime import DefaultEffectPolicy, EffectOutcome

    attempts: list[int] = []

    def flaky(run: RunState, effect: Any, step: Any) -> EffectOutcome:
        attempts.append(step.attempt)
        if step.attempt < 3:
            return EffectOutcome.failed("not yet")
        return EffectOutcome.completed("at last")

    bench.make(
        effect_handlers={"flaky": flaky},
        effect_policy=DefaultEffectPolicy(default_max_attempts=3, default_backoff_base=60.0),
    )
    spec = WorkflowSpec(
        "w",
        "sleep",
        {
            **sleeper().nodes,
            "act": lambda run, context: StepPlan("act", Effect("flaky", {}, "got"), "end"),
        },
    )
    scheduler = bench.scheduler()
    run_id = bench.run(spec)
    bench.clock.forward(120)
    for number in (1, 2, 3):
        assert scheduler.poll_once() == 1
        assert attempts == list(range(1, number + 1))
        assert scheduler.poll_once() == 0, "the next attempt is not due"
        bench.clock.forward(121)
    state = bench.runtime.get_state(run_id)
    assert state.output is not None
    assert state.output["got"] == "at last"
