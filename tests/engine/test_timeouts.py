"""Attempts that take too long, heartbeats, exhausted retries, deadlines and pauses."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from abstractruntime import Effect, EffectOutcome, Retry, RunStatus, StepPlan, WorkflowSpec
from abstractruntime.core.commit import Commit
from abstractruntime.errors import InvalidPlan, RunEnded, RunPaused
from tests.engine.conftest import Counter, World

PATIENCE_S = 20.0
SHORT_S = 0.03


def work(**options: Any) -> WorkflowSpec:
    return WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", Effect("probe", {}, "got", **options), "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output={"got": run.vars.get("got")}),
        },
    )


def on_status(world: World, status: str, then: Callable[[], None]) -> None:
    """Call `then` when a step record of this status is committed."""

    def look(commit: Commit) -> None:
        if any(e.record["effect"] and e.record["status"] == status for e in commit.records):
            then()

    world.runtime.hooks.add(look)


class Slow:
    """A sync handler whose first attempt ends only when the gate opens."""

    def __init__(self, late: Any = None) -> None:
        self.gate = threading.Event()
        self.performed = 0
        self.threads: list[threading.Thread] = []
        self._late = late or EffectOutcome.completed({"n": 1})

    def __call__(self, run: Any, effect: Any) -> EffectOutcome:
        self.performed += 1
        if self.performed > 1:
            return EffectOutcome.completed({"n": self.performed})
        self.threads.append(threading.current_thread())
        assert self.gate.wait(PATIENCE_S)
        assert isinstance(self._late, EffectOutcome)
        return self._late


def attempts(world: World, run_id: str) -> list[tuple[str, int]]:
    records = world.runtime.get_ledger(run_id)
    return [(r["status"], r["attempt"]) for r in records if r["effect"]]


def test_no_attempt_begins_while_the_thread_of_a_late_one_lives(world: World) -> None:
    slow = Slow(EffectOutcome.failed("late and failed"))
    world.make(effect_handlers={"probe": slow})
    on_status(world, "failed", slow.gate.set)
    state = world.run(work(timeout_s=SHORT_S, retry=Retry(attempts=2, backoff_s=0)))
    assert state.output == {"got": {"n": 2}}
    started = [("started", 1), ("failed", 1), ("started", 2), ("completed", 2)]
    assert attempts(world, state.run_id) == started
    (kept,) = world.store.list_evidence(state.run_id)
    assert kept.outcome["error"] == "late and failed"


def test_a_late_outcome_of_a_step_that_is_still_open_is_its_outcome(world: World) -> None:
    slow = Slow()
    world.make(effect_handlers={"probe": slow})
    on_status(world, "failed", slow.gate.set)
    state = world.run(work(timeout_s=SHORT_S, retry=Retry(attempts=2, backoff_s=0)))
    assert state.output == {"got": {"n": 1}}
    assert slow.performed == 1


def test_a_late_outcome_of_a_run_that_has_ended_is_kept_as_evidence(world: World) -> None:
    slow = Slow()
    world.make(effect_handlers={"probe": slow})
    on_status(world, "failed", slow.gate.set)
    state = world.run(work(timeout_s=SHORT_S))
    assert state.status is RunStatus.FAILED
    assert "it took longer than 0.03 s" in str(state.error)
    for thread in slow.threads:
        thread.join(PATIENCE_S)
    for thread in threading.enumerate():
        if thread.name == "abstractruntime-late":
            thread.join(PATIENCE_S)
    (kept,) = world.store.list_evidence(state.run_id)
    assert kept.outcome["result"] == {"n": 1}


def test_a_late_at_most_once_attempt_is_unknown_and_not_made_again(world: World) -> None:
    slow = Slow()
    world.make(effect_handlers={"probe": slow})
    on_status(world, "waiting", slow.gate.set)
    options: dict[str, Any] = {"delivery": "at_most_once", "timeout_s": SHORT_S}
    state = world.run(work(retry=Retry(attempts=3, backoff_s=0), **options))
    assert state.status is RunStatus.WAITING
    assert slow.performed == 1
    for thread in slow.threads:
        thread.join(PATIENCE_S)


def test_an_async_attempt_that_takes_too_long_is_cancelled_and_made_again(world: World) -> None:
    ends: list[str] = []

    async def slow(run: Any, effect: Any) -> EffectOutcome:
        if not ends:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise
        return EffectOutcome.completed({"after": ends})

    world.make(effect_handlers={"probe": slow})
    state = world.run(work(timeout_s=SHORT_S, retry=Retry(attempts=2, backoff_s=0)))
    assert state.output == {"got": {"after": ["cancelled"]}}


def test_what_a_late_handler_does_to_vars_is_not_the_runs(world: World) -> None:
    gate = threading.Event()

    def scribble(run: Any, effect: Any) -> EffectOutcome:
        run.vars["mine"] = {"before": True}
        assert gate.wait(PATIENCE_S)
        run.vars["mine"]["after"] = True
        return EffectOutcome.failed("no")

    world.make(effect_handlers={"probe": scribble})
    on_status(world, "failed", gate.set)
    state = world.run(work(timeout_s=SHORT_S))
    assert "mine" not in state.vars
    assert "mine" not in world.runtime.get_state(state.run_id).vars


def test_a_handler_in_its_time_changes_vars_as_ever(world: World) -> None:
    def note(run: Any, effect: Any) -> EffectOutcome:
        run.vars["mine"] = 1
        return EffectOutcome.completed({"n": 0})

    world.make(effect_handlers={"probe": note})
    state = world.run(work(timeout_s=PATIENCE_S))
    assert (state.vars["mine"], state.status) == (1, RunStatus.COMPLETED)


def test_the_attempts_of_a_step_end_when_their_time_together_is_over(world: World) -> None:
    def fails(n: int) -> EffectOutcome:
        world.clock.forward(40)
        return EffectOutcome.failed("no")

    counter = Counter(fails)
    world.make(effect_handlers={"probe": counter})
    retry = Retry(attempts=10, backoff_s=0)
    state = world.run(work(retry=retry, total_timeout_s=100.0))
    assert state.status is RunStatus.FAILED
    assert len(counter.performed) == 3


# ---- heartbeats


def test_the_next_attempt_reads_how_far_the_last_one_came(world: World) -> None:
    seen: list[Any] = []

    def copies(run: Any, effect: Any, *, step: Any) -> EffectOutcome:
        seen.append(step.progress)
        step.heartbeat({"page": 10 * step.attempt})
        if step.attempt < 3:
            raise OSError("cut")
        return EffectOutcome.completed({})

    world.make(effect_handlers={"probe": copies})
    state = world.run(work(retry=Retry(attempts=3, backoff_s=0)))
    assert state.status is RunStatus.COMPLETED
    assert seen == [None, {"page": 10}, {"page": 20}]


def test_heartbeats_are_recorded_while_the_attempt_runs(world: World) -> None:
    recorded = threading.Event()

    def copies(run: Any, effect: Any, *, step: Any) -> EffectOutcome:
        page = 0
        while not recorded.is_set():
            page += 1
            step.heartbeat({"page": page})
            recorded.wait(0.005)
        return EffectOutcome.completed({})

    world.make(effect_handlers={"probe": copies})

    def look(commit: Commit) -> None:
        steps = list(commit.checkpoint.open_steps.values())
        if steps and steps[0].progress is not None:
            recorded.set()

    world.runtime.hooks.add(look)
    state = world.run(work(heartbeat_s=0.5))
    assert state.status is RunStatus.COMPLETED
    assert "heartbeat" in world.kinds(state.run_id)


def test_an_attempt_without_heartbeats_is_given_up(world: World) -> None:
    async def still(run: Any, effect: Any, *, step: Any) -> EffectOutcome:
        if step.attempt == 1:
            await asyncio.Event().wait()
        return EffectOutcome.completed({})

    world.make(effect_handlers={"probe": still})
    state = world.run(work(heartbeat_s=SHORT_S, retry=Retry(attempts=2, backoff_s=0)))
    failed = [r["error"] for r in world.runtime.get_ledger(state.run_id) if r["status"] == "failed"]
    assert failed == ["Effect attempt was given up: no heartbeat for 0.03 s"]


def test_a_run_that_is_cancelled_while_its_handler_beats_is_let_go(world: World) -> None:
    beating = threading.Event()

    async def still(run: Any, effect: Any, *, step: Any) -> EffectOutcome:
        while True:
            step.heartbeat()
            beating.set()
            await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.005)

    world.make(effect_handlers={"probe": still})
    spec = work(heartbeat_s=0.05)
    run_id = world.start(spec)

    def cancel() -> None:
        assert beating.wait(PATIENCE_S)
        world.runtime.cancel_run(run_id, reason="enough")

    thread = threading.Thread(target=cancel)
    thread.start()
    state = world.tick(spec, run_id)
    thread.join(PATIENCE_S)
    assert state.status is RunStatus.CANCELLED


# ---- exhaustion


def test_an_exhausted_effect_goes_to_the_node_it_names(world: World) -> None:
    spec = work(retry=Retry(attempts=2, backoff_s=0, on_exhausted="b"))
    world.make(effect_handlers={"probe": Counter(lambda n: EffectOutcome.failed("no"))})
    state = world.run(spec)
    assert state.output == {"got": {"error": "no", "attempts": 2}}


def test_a_node_that_is_not_there_is_refused_when_it_is_planned(world: World) -> None:
    counter = Counter()
    world.make(effect_handlers={"probe": counter})
    state = world.run(work(retry=Retry(on_exhausted="nowhere")))
    assert "nowhere" in str(state.error)
    assert counter.performed == []


def test_an_exhausted_effect_that_pauses_goes_on_when_unpaused(world: World) -> None:
    counter = Counter(
        lambda n: EffectOutcome.completed({"n": n}) if n > 3 else EffectOutcome.failed("no")
    )
    spec = work(retry=Retry(attempts=2, backoff_s=0, on_exhausted="pause"))
    world.make(effect_handlers={"probe": counter})
    run_id = world.start(spec)
    for _ in range(2):
        state = world.tick(spec, run_id)
        assert state.status is RunStatus.RUNNING
        assert state.checkpoint is not None
        assert state.checkpoint.terms.paused is not None
        assert len(counter.performed) == 2
    world.runtime.unpause_run(run_id, actor_id="ann")
    assert world.tick(spec, run_id).output == {"got": {"n": 4}}


@pytest.mark.parametrize("never", [("OSError",), ("Exception",)])
def test_errors_that_are_never_tried_again(world: World, never: tuple[str, ...]) -> None:
    def broken(n: int) -> Any:
        raise FileNotFoundError("gone")

    counter = Counter(broken)
    world.make(effect_handlers={"probe": counter})
    state = world.run(work(retry=Retry(attempts=5, backoff_s=0, never=never)))
    assert state.status is RunStatus.FAILED
    assert len(counter.performed) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"attempts": 0}, {"backoff_s": -1}, {"jitter": 2}, {"backoff_max_s": float("nan")}],
)
def test_a_retry_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidPlan):
        Retry(**wrong)


@pytest.mark.parametrize("wrong", [{"timeout_s": 0}, {"heartbeat_s": "1"}, {"timeout_s": True}])
def test_times_that_cannot_be_are_refused(world: World, wrong: dict[str, Any]) -> None:
    world.make(effect_handlers={"probe": Counter()})
    assert next(iter(wrong)) in str(world.run(work(**wrong)).error)


def test_jitter_shortens_a_backoff_by_at_most_its_share() -> None:
    retry = Retry(backoff_s=8, backoff_max_s=8, jitter=0.5)
    assert [retry.delay(3, spread=s) for s in (0.0, 0.5, 0.999)] == [8, 6, pytest.approx(4.004)]


# ---- pauses


def waits() -> WorkflowSpec:
    return WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", Effect("ask_user", {"prompt": "?"}, "got"), "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output={"got": run.vars.get("got")}),
        },
    )


def test_a_paused_run_is_moved_by_nobody_until_it_is_unpaused(world: World) -> None:
    spec = waits()
    run_id = world.start(spec)
    world.runtime.pause_run(run_id, reason="holiday", actor_id="ann")
    assert world.tick(spec, run_id).waiting is None
    world.runtime.unpause_run(run_id)
    assert world.tick(spec, run_id).status is RunStatus.WAITING
    assert world.kinds(run_id) == ["paused", "unpaused"]


def test_a_paused_run_takes_no_answer_but_keeps_its_wait(world: World) -> None:
    spec = waits()
    state = world.run(spec)
    world.runtime.pause_run(state.run_id, reason="holiday")
    with pytest.raises(RunPaused, match="holiday"):
        world.resume(spec, state.run_id, "yes")
    world.runtime.unpause_run(state.run_id)
    assert world.resume(spec, state.run_id, "yes").output == {"got": "yes"}


def test_a_paused_run_is_not_due_and_not_recovered(world: World) -> None:
    spec = work(retry=Retry(attempts=2, backoff_s=0, on_exhausted="pause"))
    world.make(effect_handlers={"probe": Counter(lambda n: EffectOutcome.failed("no"))})
    state = world.run(spec)
    world.clock.forward(1000)
    assert world.store.list_due(world.clock.now) == []
    world.runtime.unpause_run(state.run_id)
    assert world.store.list_due(world.clock.now) == [state.run_id]


def test_an_ended_run_is_not_paused(world: World) -> None:
    world.make(effect_handlers={"probe": Counter()})
    state = world.run(work())
    with pytest.raises(RunEnded):
        world.runtime.pause_run(state.run_id)


def test_pausing_twice_is_pausing_once(world: World) -> None:
    spec = waits()
    run_id = world.start(spec)
    for _ in range(2):
        world.runtime.pause_run(run_id)
    for _ in range(2):
        world.runtime.unpause_run(run_id)
    assert world.kinds(run_id) == ["paused", "unpaused"]
