"""Clocks that jump by hours and years, forth and back: timers fire once, no step is repeated."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from abstractruntime import (
    Effect,
    RunStatus,
    Runtime,
    Scheduler,
    StepPlan,
    WorkflowRegistry,
    WorkflowSpec,
)
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState
from abstractruntime.core.policy import DefaultEffectPolicy
from abstractruntime.core.times import plus
from abstractruntime.engine.outcome import StepContext
from abstractruntime.errors import RetryableError
from abstractruntime.inspect.verify import verify_run
from abstractruntime.storage.base import Store
from abstractruntime.testing.clock import EPOCH
from abstractruntime.testing.witness import Witness
from tests.crashes.verdict import check_ended
from tests.faults.ten_steps import KINDS, Place

SEED = 20265
HOUR, YEAR = 3_600.0, 365.25 * 86_400.0
ROUNDS = 5
MOST_POLLS = 500
JUMPS = (1.0, HOUR, YEAR, 30 * YEAR, -1.0, -HOUR, -YEAR, -20 * YEAR)


@dataclass
class JumpingClock:
    """A clock that at one reading in four is somewhere else."""

    dice: random.Random
    now: str = EPOCH
    readings: int = 0
    back: int = 0
    reached: list[str] = field(default_factory=list)

    def now_iso(self) -> str:
        self.readings += 1
        self.now = plus(self.now, 0.001)
        if self.dice.random() < 0.25:
            self.jump(self.dice.choice(JUMPS))
        return self.now

    def jump(self, seconds: float) -> None:
        # Years of four digits is all that times have.
        if "1900" < plus(self.now, seconds)[:4] < "2400":
            self.now = plus(self.now, seconds)
            self.back += seconds < 0


def timed(witness: Witness) -> WorkflowSpec:
    """Five rounds of a step, whose third attempt works, and a timer of an hour."""

    def work(*, at: int, step: StepContext) -> int:
        witness.perform(step)
        if step.attempt < 1 + at % 3:
            raise RetryableError("not yet")
        return at

    return WorkflowSpec(
        "timed", "sleep", {"sleep": _sleep, "work": _work, "end": _end}, functions={"work": work}
    )


def _sleep(run: RunState, context: Any) -> StepPlan:
    until = plus(context.now_iso(), HOUR)
    run.vars.setdefault("until", []).append(until)
    return StepPlan("sleep", Effect("wait_until", {"until": until}), "work")


def _work(run: RunState, context: Any) -> StepPlan:
    at = len(run.vars.setdefault("worked", {}))
    payload = {"function": "work", "arguments": {"at": at}}
    after = "sleep" if at + 1 < ROUNDS else "end"
    return StepPlan("work", Effect("call", payload, f"worked.n{at}"), after)


def _end(run: RunState, context: Any) -> StepPlan:
    return StepPlan("end", complete_output=run.vars["worked"])


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_clock_that_jumps_timers_fire_once_and_no_step_is_repeated(
    kind: str, quick_path: Path
) -> None:
    jump_about(kind, quick_path, range(8))


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_on_many_clocks_that_jump_timers_fire_once_and_no_step_is_repeated(
    kind: str, quick_path: Path
) -> None:
    jump_about(kind, quick_path, range(200))


def jump_about(kind: str, folder: Path, seeds: range) -> None:
    total = Counter[str]()
    place = Place(folder, kind)
    place.disk.mkdir()
    for seed in seeds:
        clock = JumpingClock(random.Random(SEED + seed))
        witness = Witness()
        with place.open() as store:
            moves = finish(store, clock, witness)
        total += Counter(readings=clock.readings, back=clock.back, moves=moves)
    print(f"seed {SEED}, {kind}: {len(seeds)} runs, {dict(total)}")


def finish(store: Store, clock: JumpingClock, witness: Witness) -> int:
    """Let a scheduler move one run to its end and judge it; how often it did so."""
    spec, registry = timed(witness), WorkflowRegistry()
    registry.register(spec)
    policy = DefaultEffectPolicy(default_max_attempts=3, default_backoff_base=60.0)
    runtime = Runtime(store=store, context=clock, workflow_registry=registry, effect_policy=policy)
    run_id = runtime.start(workflow=spec)
    # A host hands over a run that waits: one that runs is parked, and no scheduler's to move.
    # The clock may have jumped past the first timer before it was even set.
    with mock.patch("time.sleep", clock.jump):
        while runtime.tick(workflow=spec, run_id=run_id, max_steps=1).status is RunStatus.RUNNING:
            pass
    scheduler = Scheduler(runtime=runtime, registry=registry)
    moved = 0
    for _ in range(MOST_POLLS):
        moved += scheduler.poll_once()
        run = runtime.get_state(run_id)
        if run.status in ENDED:
            judge(store, run, witness)
            return moved
        clock.jump(clock.dice.choice((HOUR, YEAR, -HOUR)))
    raise AssertionError(f"the run does not end: {run.status} at {run.current_node}")


def judge(store: Store, run: RunState, witness: Witness) -> None:
    assert run.status is RunStatus.COMPLETED, run.error
    assert run.output == {f"n{at}": at for at in range(ROUNDS)}
    performed = Counter((seen.visit, seen.attempt) for seen in witness.performed)
    expected = {(at + 1, attempt + 1) for at in range(ROUNDS) for attempt in range(1 + at % 3)}
    assert set(performed) == expected
    assert set(performed.values()) == {1}, "an attempt was made twice"
    check_ended(store, run)
    verdict = verify_run(store, run.run_id)
    assert verdict.ok, verdict.faults
    fired = Counter(
        (record["step_id"], record["status"])
        for record in store.list_records(run.run_id)
        if record["node_id"] == "sleep" and record["effect"] is not None
    )
    assert len(run.vars["until"]) == ROUNDS
    assert set(fired.values()) == {1}, f"a timer fired twice: {fired}"
