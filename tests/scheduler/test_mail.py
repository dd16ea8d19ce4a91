"""A scheduler wakes for messages and for the end of a wait's time, and for nothing else."""

from __future__ import annotations

from typing import Any

from abstractruntime import Effect, StepPlan, WorkflowSpec
from tests.scheduler.conftest import Bench


def listener(**payload: Any) -> WorkflowSpec:
    """Waits for one message and ends with it."""

    def hear(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("hear", Effect("wait_event", {"wait_key": "k", **payload}, "said"), "end")

    def end(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("end", complete_output={"said": run.vars["said"]})

    return WorkflowSpec("listener", "hear", {"hear": hear, "end": end})


def test_a_message_moves_its_run_at_the_next_poll(bench: Bench) -> None:
    run_id, other = bench.run(listener()), bench.start(listener())
    scheduler = bench.scheduler()
    assert scheduler.poll_once() == 0
    bench.runtime.send(run_id, "k", 1)
    bench.runtime.send(other, "k", 2)
    assert scheduler.poll_once() == 1, "the other one is parked: its host moves it"
    assert bench.next_moved().output == {"said": 1}


def test_a_running_scheduler_hears_of_a_message_before_its_next_poll(bench: Bench) -> None:
    run_id = bench.run(listener())
    bench.scheduler(poll_interval_s=600).start()
    bench.runtime.send(run_id, "k", 1)
    assert bench.next_moved().output == {"said": 1}


def test_what_is_emitted_moves_every_run_that_waits_for_it(bench: Bench) -> None:
    runs = {bench.run(listener()) for _ in range(3)}
    scheduler = bench.scheduler()
    assert bench.runtime.emit("k", "all") == 3
    assert scheduler.poll_once() == 3
    assert {bench.next_moved().run_id for _ in runs} == runs


def test_a_wait_whose_time_is_over_is_moved(bench: Bench) -> None:
    run_id = bench.run(listener(timeout_s=60))
    scheduler = bench.scheduler()
    assert scheduler.poll_once() == 0
    bench.clock.forward(60)
    assert scheduler.poll_once() == 1
    moved = bench.next_moved()
    assert (moved.run_id, moved.output) == (run_id, {"said": {"timeout": True}})


def test_an_expired_message_wakes_nobody(bench: Bench) -> None:
    run_id = bench.run(listener())
    bench.runtime.send(run_id, "k", 1, ttl_s=5)
    bench.clock.forward(5)
    scheduler = bench.scheduler()
    assert scheduler.poll_once() == 0
    assert bench.store.list_answered() == [run_id]
    bench.runtime.send(run_id, "k", 2)
    assert scheduler.poll_once() == 1
    assert bench.next_moved().output == {"said": 2}
