"""Schedulers and hosts in several processes: the killed are recovered, nothing is done twice."""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import (
    Effect,
    RunStatus,
    Runtime,
    Scheduler,
    StepPlan,
    WorkflowRegistry,
    WorkflowSpec,
    open_store,
)
from abstractruntime.core.models import RunState
from abstractruntime.core.times import plus, seconds_between
from abstractruntime.storage.base import Store
from abstractruntime.testing.clock import EPOCH, VirtualClock
from abstractruntime.testing.witness import FileWitness
from tests.crashes.verdict import check_ended
from tests.faults.campaign import context
from tests.scheduler.conftest import PATIENCE_S, Bench, sleeper


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/runs.db"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(url(tmp_path)) as opened:
        yield opened


def hold_a_step_open(folder: Path, run_id: str, pipe: Any) -> None:
    """Tick until the effect is under way, say so, and never come back."""

    def act() -> None:
        pipe.send("inside")
        pipe.recv()

    with open_store(url(folder)) as store:
        Runtime(store=store).tick(workflow=sleeper(0, act), run_id=run_id)


def test_a_run_whose_process_was_killed_is_recovered_and_a_live_ones_is_not(
    bench: Bench, tmp_path: Path
) -> None:
    spec = sleeper(0)
    run_id = bench.start(spec)
    made = context()
    ours, theirs = made.Pipe()
    process = made.Process(target=hold_a_step_open, args=(tmp_path, run_id, theirs), daemon=True)
    process.start()
    try:
        assert ours.poll(PATIENCE_S)
        assert ours.recv() == "inside"
        before = bench.runtime.get_state(run_id)
        scheduler = bench.scheduler(poll_interval_s=0.05)
        assert scheduler.poll_once() == 0
        assert bench.runtime.get_state(run_id) == before, "its driver lives"
        scheduler.start()
        process.kill()
        state = bench.next_moved()
    finally:
        process.kill()
        process.join(PATIENCE_S)
    assert (state.run_id, state.status) == (run_id, RunStatus.COMPLETED)
    check_ended(bench.store, state)


def put_to_sleep(folder: Path, pipe: Any) -> None:
    """In another process: a run that sleeps for a moment; it tells when that is over."""
    with open_store(url(folder)) as store:
        runtime = Runtime(store=store)
        # On a busy machine a moment may be over before the run waits: then a longer one.
        for seconds in (0.01, 0.02, 0.04, 0.08, 0.5):
            due = plus(runtime.now_iso(), seconds)
            run_id = runtime.start(workflow=timed(), vars={"until": due})
            state = runtime.tick(workflow=timed(), run_id=run_id)
            if state.status is RunStatus.WAITING:
                pipe.send(max(due, state.updated_at))
                return


def timed() -> WorkflowSpec:
    """Sleeps until the time that its vars name."""

    def sleep(run: RunState, context: Any) -> StepPlan:
        return StepPlan("sleep", Effect("wait_until", {"until": run.vars["until"]}), "end")

    return WorkflowSpec(
        "sleeper",
        "sleep",
        {
            "sleep": sleep,
            "end": lambda run, context: StepPlan("end", complete_output={"at": context.now_iso()}),
        },
    )


def test_a_nearer_timer_that_another_process_sets_is_noticed_in_time(
    store: Store, tmp_path: Path
) -> None:
    """Within 25 ms on a quiet machine; here the bound is one that a busy one keeps too."""
    registry = WorkflowRegistry()
    registry.register(timed())
    moved: queue.Queue[RunState] = queue.Queue()
    scheduler = Scheduler(
        runtime=Runtime(store=store, workflow_registry=registry),
        registry=registry,
        poll_interval_s=1000.0,  # only the other's write can wake it
        on_run_resumed=moved.put,
    )
    made = context()
    lateness = []
    scheduler.start()
    try:
        for _ in range(15):
            there, here = made.Pipe(duplex=False)
            process = made.Process(target=put_to_sleep, args=(tmp_path, here), daemon=True)
            process.start()
            here.close()
            due = there.recv()
            state = moved.get(timeout=PATIENCE_S)
            process.join(PATIENCE_S)
            assert state.output is not None
            lateness.append(seconds_between(due, state.output["at"]))
    finally:
        scheduler.stop(PATIENCE_S)
    print("late by ms:", [round(late * 1000, 1) for late in lateness])
    assert min(lateness) < 0.1
    assert max(lateness) < 1.0


# ---- two schedulers, one store

TIMERS = 1000


def fire(folder: Path, pipe: Any) -> None:
    """A scheduler that says how many runs it moved, until it is told to stop."""
    witness = FileWitness(folder / "effects")

    def act(step: Any) -> None:
        witness.perform(step)

    registry = WorkflowRegistry()
    registry.register(sleeper(60, act))
    with open_store(url(folder), durability="process") as store:
        scheduler = Scheduler(
            runtime=Runtime(store=store, workflow_registry=registry),
            registry=registry,
            poll_interval_s=0.05,
            on_run_resumed=lambda state: pipe.send(state.run_id),
            on_run_failed=lambda run_id, error: pipe.send(f"{run_id}: {error!r}"),
        )
        pipe.send("ready")
        assert pipe.recv() == "go"
        scheduler.start()
        assert pipe.recv() == "stop"
        scheduler.stop(PATIENCE_S)
        pipe.send(scheduler.stats.errors)


@pytest.mark.slow
@pytest.mark.timeout(60, method="signal")  # a thousand runs are made, then moved, on two cores
def test_two_schedulers_in_two_processes_fire_a_thousand_timers_once_each(tmp_path: Path) -> None:
    with open_store(url(tmp_path), durability="process") as store:
        runtime = Runtime(store=store, context=VirtualClock(EPOCH, step=0.000_001))
        spec = sleeper(60)
        run_ids = [runtime.start(workflow=spec) for _ in range(TIMERS)]
        for run_id in run_ids:
            runtime.tick(workflow=spec, run_id=run_id)
    made = context()
    pipes = []
    for _ in range(2):
        ours, theirs = made.Pipe()
        made.Process(target=fire, args=(tmp_path, theirs), daemon=True).start()
        theirs.close()
        pipes.append(ours)
    assert [pipe.recv() for pipe in pipes] == ["ready", "ready"]
    begin = time.monotonic()
    for pipe in pipes:
        pipe.send("go")
    moved = Counter(heard(pipes, TIMERS))
    taken = time.monotonic() - begin
    for pipe in pipes:
        pipe.send("stop")
    assert [last(pipe) for pipe in pipes] == [[], []], "no errors, no locks"
    assert moved == Counter(run_ids), "each is moved by one of the two"
    performed = Counter(seen.run_id for seen in FileWitness(tmp_path / "effects").performed)
    assert performed == Counter(run_ids)
    shares = Counter(seen.pid for seen in FileWitness(tmp_path / "effects").performed)
    with open_store(url(tmp_path)) as store:
        for run in store.list_runs(limit=TIMERS):
            assert run.status is RunStatus.COMPLETED
            check_ended(store, run)
    print(f"{TIMERS} timers in {taken:.2f} s, shares {sorted(shares.values())}")


def heard(pipes: list[Any], count: int) -> list[str]:
    """What the processes say, until they have said so many things."""
    said: list[str] = []
    while len(said) < count:
        ready = wait(pipes, timeout=30)
        assert ready, f"only {len(said)} of {count} after 30 s of silence"
        said += [pipe.recv() for pipe in ready]
    return said


def last(pipe: Any) -> Any:
    """The list that a process ends with."""
    while True:
        said = pipe.recv()
        if isinstance(said, list):
            return said
        raise AssertionError(f"one run too many was moved: {said}")
