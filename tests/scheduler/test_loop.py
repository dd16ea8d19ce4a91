"""The scheduler's own thread: when it wakes, what it waits for, what cannot stop it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from typing import Any

import pytest

from abstractruntime import Effect, RunStatus, Runtime, StepPlan, WorkflowSpec
from abstractruntime.core.commit import Loaded
from abstractruntime.core.models import RunState
from abstractruntime.errors import StoreBusy
from abstractruntime.storage.memory_store import MemoryStore
from tests.scheduler.conftest import PATIENCE_S, Bench, asker, parent, sleeper


class Gate:
    """A handler that says when it is inside and waits to be let out."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> str:
        self.inside.set()
        assert self.open.wait(PATIENCE_S)
        return "out"


def test_a_timer_fires_while_another_runs_handler_blocks(bench: Bench) -> None:
    gate = Gate()
    blocked = bench.run(sleeper(60, gate, workflow_id="blocks"))
    timed = bench.run(sleeper(120, workflow_id="timed"))
    bench.scheduler(poll_interval_s=0.05).start()
    bench.clock.forward(61)
    assert gate.inside.wait(PATIENCE_S)
    bench.clock.forward(61)
    assert bench.next_moved().run_id == timed
    assert bench.runtime.get_state(blocked).status is RunStatus.RUNNING
    gate.open.set()
    assert bench.next_moved().run_id == blocked


@pytest.mark.parametrize("store", ["memory", "sqlite"], indirect=True)
def test_a_thousand_timers_due_at_once_all_fire_once(bench: Bench) -> None:
    fired: Counter[str] = Counter()
    lock = threading.Lock()

    def fire(step: Any) -> None:
        with lock:
            fired[step.run_id] += 1

    spec = sleeper(60, fire)
    run_ids = [bench.run(spec) for _ in range(1000)]
    bench.clock.forward(61)
    begin = time.monotonic()
    bench.scheduler(poll_interval_s=0.05).start()
    moved = Counter(bench.next_moved().run_id for _ in run_ids)
    print(f"1000 timers in {time.monotonic() - begin:.2f} s")
    assert moved == Counter(run_ids)
    assert fired == Counter(run_ids)


@pytest.mark.parametrize("store", ["memory", "sqlite"], indirect=True)
def test_more_due_runs_than_it_may_move_at_once_all_get_their_turn(bench: Bench) -> None:
    spec = sleeper(60)
    run_ids = {bench.run(spec) for _ in range(50)}
    bench.clock.forward(61)
    bench.scheduler(poll_interval_s=0.05, concurrency=1).start()
    assert {bench.next_moved().run_id for _ in run_ids} == run_ids


def test_a_parent_goes_on_when_its_child_has_ended(bench: Bench) -> None:
    bench.registry.register(asker())
    parent_id = bench.run(parent("asker"))
    waiting = bench.runtime.get_state(parent_id).waiting
    assert waiting is not None
    assert waiting.details is not None
    # An interval that would never be over: only the news of another's commit can wake it.
    bench.scheduler(poll_interval_s=1000.0).start()
    bench.runtime.resume(
        workflow=asker(), run_id=waiting.details["sub_run_id"], wait_key="k", payload="yes"
    )
    state = bench.next_moved()
    assert (state.run_id, state.status) == (parent_id, RunStatus.COMPLETED)


def test_a_child_that_sleeps_wakes_and_then_its_parent_goes_on(bench: Bench) -> None:
    bench.registry.register(sleeper())
    parent_id = bench.run(parent("sleeper"))
    bench.scheduler(poll_interval_s=0.05).start()
    bench.clock.forward(120)
    child, after = bench.next_moved(), bench.next_moved()
    assert child.parent_run_id == parent_id
    assert (after.run_id, after.status) == (parent_id, RunStatus.COMPLETED)


def test_stop_waits_for_the_run_that_is_being_moved(bench: Bench) -> None:
    gate = Gate()
    run_id = bench.run(sleeper(60, gate))
    late = bench.run(sleeper(120, workflow_id="late"))
    bench.clock.forward(61)
    scheduler = bench.scheduler(poll_interval_s=0.05)
    scheduler.start()
    assert gate.inside.wait(PATIENCE_S)
    scheduler.stop(timeout=0.01)
    assert scheduler.is_running, "the handler is not done: what was begun is drained"
    bench.clock.forward(120)
    gate.open.set()
    scheduler.stop(PATIENCE_S)
    assert not scheduler.is_running
    assert bench.runtime.get_state(run_id).status is RunStatus.COMPLETED
    assert bench.runtime.get_state(late).status is RunStatus.WAITING, "it took on nothing new"


def test_a_parked_run_is_left_to_its_host(bench: Bench) -> None:
    spec = sleeper(0)
    parked = bench.start(spec)
    before = bench.runtime.get_state(parked)
    scheduler = bench.scheduler()
    bench.clock.forward(120)
    assert scheduler.poll_once() == 0
    assert bench.runtime.get_state(parked) == before


class Overtaken(MemoryStore):
    """Between the answer of list_due and its use, a host moves the run: `act`."""

    act: Any = None

    def list_due(self, now_iso: str, *, limit: int = 100) -> list[str]:
        found = super().list_due(now_iso, limit=limit)
        if found and self.act is not None:
            act, self.act = self.act, None
            act()
        return found


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_a_due_run_that_its_host_has_moved_and_parked_meanwhile_is_left_to_it(bench: Bench) -> None:
    bench.store = store = Overtaken()
    bench.make()
    spec = sleeper(60)
    run_id = bench.run(spec)
    bench.clock.forward(61)
    store.act = lambda: bench.runtime.tick(workflow=spec, run_id=run_id, max_steps=0)
    assert bench.scheduler().poll_once() == 0
    state = bench.runtime.get_state(run_id)
    assert (state.status, state.current_node) == (RunStatus.RUNNING, "act"), "parked by its host"


def test_a_run_with_a_live_driver_is_left_alone(bench: Bench) -> None:
    gate = Gate()
    spec = sleeper(60, gate)
    run_id = bench.run(spec)
    bench.clock.forward(61)
    host = threading.Thread(target=lambda: bench.runtime.tick(workflow=spec, run_id=run_id))
    host.start()
    assert gate.inside.wait(PATIENCE_S)
    before = bench.runtime.get_state(run_id)
    scheduler = bench.scheduler()
    assert scheduler.poll_once() == 0
    assert bench.runtime.get_state(run_id) == before
    gate.open.set()
    host.join(PATIENCE_S)
    assert bench.failed.empty()


def test_a_run_whose_flow_died_in_this_process_is_recovered(bench: Bench) -> None:
    class Gone(BaseException):
        pass

    calls: list[int] = []

    def dies_once() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise Gone
        return "done"

    spec = sleeper(60, dies_once)
    run_id = bench.run(spec)
    bench.clock.forward(61)
    with pytest.raises(Gone):
        bench.runtime.tick(workflow=spec, run_id=run_id)
    assert bench.scheduler().poll_once() == 1
    assert bench.runtime.get_state(run_id).status is RunStatus.COMPLETED
    assert len(calls) == 2


# ---- what must not stop it


class Hiccups(MemoryStore):
    """The verbs named in `sick` raise StoreBusy, once each."""

    def __init__(self) -> None:
        super().__init__()
        self.sick: set[str] = set()
        self.met: queue.Queue[str] = queue.Queue()

    def _hiccup(self, verb: str) -> None:
        if verb in self.sick:
            self.sick.discard(verb)
            self.met.put(verb)
            raise StoreBusy(f"locked at {verb}")

    def changes(self) -> int:
        self._hiccup("changes")
        return super().changes()

    def next_wake(self) -> str | None:
        self._hiccup("next_wake")
        return super().next_wake()

    def list_due(self, now_iso: str, *, limit: int = 100) -> list[str]:
        self._hiccup("list_due")
        return super().list_due(now_iso, limit=limit)

    def list_answered(self, *, now_iso: str | None = None, limit: int = 100) -> list[str]:
        self._hiccup("list_answered")
        return super().list_answered(now_iso=now_iso, limit=limit)

    def list_driven(self, *, limit: int = 1000) -> list[RunState]:
        self._hiccup("list_driven")
        return super().list_driven(limit=limit)


@pytest.mark.parametrize(
    "verb", ["list_due", "list_answered", "list_driven", "next_wake", "changes"]
)
@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_a_store_that_is_busy_once_does_not_end_the_scheduler(
    verb: str, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    bench.store = store = Hiccups()
    bench.make()
    scheduler = bench.scheduler(poll_interval_s=0.05)
    run_id = bench.run(sleeper(60))
    scheduler.start()
    store.sick.add(verb)
    if verb == "list_answered":
        bench.run(asker())  # a change to look at
    assert store.met.get(timeout=PATIENCE_S) == verb
    bench.clock.forward(120)
    assert bench.next_moved().run_id == run_id
    assert scheduler.is_running


class BusyForChild(MemoryStore):
    """The first question for a run that is not there meets a lock."""

    met = False

    def load(self, run_id: str) -> Loaded | None:
        found = super().load(run_id)
        if found is None and not self.met:
            self.met = True
            raise StoreBusy("locked")
        return found


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_a_store_that_is_busy_in_the_middle_of_a_move_strands_no_run(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """An outcome is in hand when it happens: it is kept, and the run stays one that is moved."""
    caplog.set_level(logging.CRITICAL)
    bench.store = store = BusyForChild()
    bench.make()
    bench.registry.register(sleeper(0))
    acted: list[int] = []
    nodes = {
        **sleeper(60).nodes,
        "end": _starts_child,
        "after": lambda run, context: StepPlan("after", complete_output={}),
    }
    spec = WorkflowSpec("w", "sleep", nodes, functions={"act": lambda: acted.append(1)})
    run_id = bench.run(spec)
    bench.clock.forward(61)
    scheduler = bench.scheduler(poll_interval_s=0.05)
    scheduler.start()
    while True:
        state = bench.next_moved()
        if state.run_id == run_id and state.status is not RunStatus.RUNNING:
            break
    assert store.met
    assert state.status is RunStatus.COMPLETED
    assert acted == [1]


def _starts_child(run: RunState, context: Any) -> StepPlan:
    effect = Effect("start_subworkflow", {"workflow_id": "sleeper"}, "sub")
    return StepPlan("end", effect, "after")


def test_a_listener_that_raises_stops_neither_the_scheduler_nor_other_runs(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)

    def raises(state: RunState) -> None:
        bench.moved.put(state)
        raise ValueError("a listener's own fault")

    spec = sleeper(60)
    run_ids = {bench.run(spec) for _ in range(3)}
    bench.clock.forward(61)
    scheduler = bench.scheduler(on_run_resumed=raises)
    assert scheduler.poll_once() == 3
    assert {bench.next_moved().run_id for _ in run_ids} == run_ids


def test_a_due_run_that_cannot_be_moved_is_not_tried_more_often_than_the_interval(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    bench.run(sleeper(60))
    bench.registry.unregister("sleeper")
    bench.clock.forward(61)
    scheduler = bench.scheduler(poll_interval_s=1000.0)
    scheduler.start()
    bench.failed.get(timeout=PATIENCE_S)
    time.sleep(0.5)  # what is measured is how much it does in a time
    assert bench.failed.qsize() <= 2, f"tried {bench.failed.qsize()} times in half a second"


def test_a_runtime_without_registry_can_be_scheduled(bench: Bench) -> None:
    bench.runtime = Runtime(store=bench.store, context=bench.clock)
    run_id = bench.run(sleeper(60))
    bench.clock.forward(61)
    assert bench.scheduler().poll_once() == 1
    assert bench.runtime.get_state(run_id).status is RunStatus.COMPLETED
