"""Several effects of one plan at once: each has its records and key; the join fires once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
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
from abstractruntime.core.models import EffectType
from tests.engine.conftest import World

PATIENCE_S = 20.0


def fan(effects: Sequence[Effect], **options: Any) -> WorkflowSpec:
    options.setdefault("into", "all")
    return WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", effects=effects, next_node="b", **options),
            "b": lambda run, ctx: StepPlan("b", complete_output={"all": run.vars.get("all")}),
        },
    )


def probes(count: int, **options: Any) -> list[Effect]:
    return [Effect("probe", {"n": n}, **options) for n in range(count)]


def asks(count: int) -> list[Effect]:
    return [Effect(EffectType.ASK_USER, {"prompt": f"{n}?"}, f"said.{n}") for n in range(count)]


def double(run: RunState, effect: Effect) -> EffectOutcome:
    return EffectOutcome.completed(effect.payload["n"] * 2)


async def double_later(run: RunState, effect: Effect) -> EffectOutcome:
    await asyncio.sleep(0)
    return double(run, effect)


def joined(state: RunState) -> dict[str, Any]:
    assert state.status is RunStatus.COMPLETED, state.error
    assert state.output is not None
    found: dict[str, Any] = state.output["all"]
    return found


@pytest.mark.parametrize("handler", [double, double_later])
def test_results_come_in_the_order_of_the_effects(world: World, handler: Any) -> None:
    world.make(effect_handlers={"probe": handler})
    state = world.run(fan(probes(20), limit=7))
    assert joined(state) == {"results": [2 * n for n in range(20)], "errors": {}, "cancelled": []}
    assert world.kinds(state.run_id).count("joined") == 1


def test_every_branch_has_records_and_a_key_of_its_own(world: World) -> None:
    world.make(effect_handlers={"probe": double})
    state = world.run(fan([Effect("probe", {"n": 1}) for _ in range(3)]))
    records = [r for r in world.runtime.get_ledger(state.run_id) if r["effect"]]
    assert sorted((r["branch"], r["status"]) for r in records) == [
        (branch, status) for branch in "012" for status in ("completed", "started")
    ]
    assert len({r["idempotency_key"] for r in records}) == 3
    assert {r["visit"] for r in records} == {1}


def test_branches_run_at_the_same_time(world: World) -> None:
    together = threading.Barrier(4)

    def meet(run: RunState, effect: Effect) -> EffectOutcome:
        together.wait(PATIENCE_S)
        return EffectOutcome.completed(True)

    world.make(effect_handlers={"probe": meet})
    assert joined(world.run(fan(probes(4))))["results"] == [True] * 4


def test_no_more_run_at_a_time_than_the_plan_says(world: World) -> None:
    lock, seen, now = threading.Lock(), [], [0]

    def count(run: RunState, effect: Effect) -> EffectOutcome:
        with lock:
            now[0] += 1
            seen.append(now[0])
        with lock:
            now[0] -= 1
        return EffectOutcome.completed()

    world.make(effect_handlers={"probe": count})
    world.run(fan(probes(12), limit=2))
    assert max(seen) <= 2


def test_a_failed_branch_fails_the_run_by_name(world: World) -> None:
    def picky(run: RunState, effect: Effect) -> EffectOutcome:
        if effect.payload["n"] == 1:
            return EffectOutcome.failed("not this one")
        return double(run, effect)

    world.make(effect_handlers={"probe": picky})
    state = world.run(fan(probes(3)))
    assert state.status is RunStatus.FAILED
    assert "1 of 3 branches failed" in str(state.error)
    assert "not this one" in str(state.error)


def test_failures_that_are_borne_are_named_beside_the_results(world: World) -> None:
    def picky(run: RunState, effect: Effect) -> EffectOutcome:
        if effect.payload["n"] == 1:
            return EffectOutcome.failed("not this one")
        return double(run, effect)

    world.make(effect_handlers={"probe": picky})
    found = joined(world.run(fan(probes(3), failures=1)))
    assert found == {"results": [0, None, 4], "errors": {"1": "not this one"}, "cancelled": []}


def test_each_branch_is_tried_again_by_its_own_retry(world: World) -> None:
    tries: dict[int, int] = {}

    def flaky(run: RunState, effect: Effect) -> EffectOutcome:
        n = effect.payload["n"]
        tries[n] = tries.get(n, 0) + 1
        return EffectOutcome.failed("no") if tries[n] <= n else EffectOutcome.completed(n)

    world.make(effect_handlers={"probe": flaky})
    state = world.run(fan(probes(3, retry=Retry(attempts=3, backoff_s=0))))
    assert joined(state)["results"] == [0, 1, 2]
    assert tries == {0: 1, 1: 2, 2: 3}


@pytest.mark.parametrize("join", ["any", 2])
def test_a_join_that_has_enough_cancels_the_rest(world: World, join: Any) -> None:
    need = 1 if join == "any" else join
    state = world.run(fan(asks(4), join=join))
    for n in range(need):
        key = f"user:{state.run_id}:a:{n}"
        state = world.resume(fan(asks(4), join=join), state.run_id, f"yes {n}", wait_key=key)
    found = joined(state)
    assert found["results"] == [f"yes {n}" if n < need else None for n in range(4)]
    assert found["cancelled"] == [str(n) for n in range(need, 4)]
    assert world.kinds(state.run_id).count("branch_cancelled") == 4 - need


def test_the_loser_of_a_race_of_async_handlers_is_cancelled(world: World) -> None:
    ends: list[str] = []

    async def race(run: RunState, effect: Effect) -> EffectOutcome:
        if effect.payload["n"] == 0:
            return EffectOutcome.completed("first")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        return EffectOutcome.completed("never")

    world.make(effect_handlers={"probe": race})
    found = joined(world.run(fan(probes(2), join="any")))
    assert found["results"] == ["first", None]


def test_the_outcome_of_a_loser_that_cannot_be_stopped_is_kept_as_evidence(world: World) -> None:
    gate, threads = threading.Event(), []

    def race(run: RunState, effect: Effect) -> EffectOutcome:
        if effect.payload["n"] == 1:
            threads.append(threading.current_thread())
            assert gate.wait(PATIENCE_S)
        return EffectOutcome.completed(effect.payload["n"])

    world.make(effect_handlers={"probe": race})

    def open_gate(commit: Any) -> None:
        if commit.run.status is RunStatus.COMPLETED:
            gate.set()

    world.runtime.hooks.add(open_gate)
    state = world.run(fan(probes(2), join="any"))
    assert joined(state)["results"] == [0, None]
    for thread in [*threads, *threading.enumerate()]:
        if thread in threads or thread.name == "abstractruntime-late":
            thread.join(PATIENCE_S)
    (kept,) = world.store.list_evidence(state.run_id)
    assert kept.outcome["result"] == 1


# ---- crashes and rewinds


class Died(BaseException):
    """The process ends here."""


def test_after_a_crash_only_unfinished_branches_are_performed(world: World) -> None:
    performed: list[int] = []
    dies = [True]

    def work(run: RunState, effect: Effect) -> EffectOutcome:
        performed.append(effect.payload["n"])
        if effect.payload["n"] == 2 and dies:
            dies.pop()
            raise Died
        return double(run, effect)

    world.make(effect_handlers={"probe": work})
    spec = fan(probes(4), limit=1)
    run_id = world.start(spec)
    with pytest.raises(Died):
        world.tick(spec, run_id)
    assert joined(world.tick(spec, run_id))["results"] == [0, 2, 4, 6]
    assert sorted(performed) == [0, 1, 2, 2, 3]


def test_a_branch_that_is_performed_at_most_once_is_in_doubt_after_a_crash(world: World) -> None:
    performed: list[int] = []

    def work(run: RunState, effect: Effect) -> EffectOutcome:
        performed.append(effect.payload["n"])
        if effect.payload["n"] == 1:
            raise Died
        return double(run, effect)

    world.make(effect_handlers={"probe": work})
    spec = fan(probes(3, delivery="at_most_once"), limit=1)
    run_id = world.start(spec)
    with pytest.raises(Died):
        world.tick(spec, run_id)
    state = world.tick(spec, run_id)
    assert state.status is RunStatus.WAITING
    assert performed == [0, 1, 2]
    world.runtime.resolve(run_id, outcome=EffectOutcome.completed("by hand"))
    assert joined(world.tick(spec, run_id))["results"] == [0, "by hand", 4]
    assert performed == [0, 1, 2]


def test_a_host_that_rewinds_to_the_branches_performs_none_again(world: World) -> None:
    performed: list[int] = []

    def work(run: RunState, effect: Effect) -> EffectOutcome:
        performed.append(effect.payload["n"])
        return double(run, effect)

    world.make(effect_handlers={"probe": work})
    spec = fan(probes(3))
    state = world.run(spec)
    again = world.runtime.get_state(state.run_id)
    again.status, again.current_node, again.output = RunStatus.RUNNING, "a", None
    world.runtime.run_store.save(again)
    assert joined(world.tick(spec, state.run_id))["results"] == [0, 2, 4]
    assert sorted(performed) == [0, 1, 2]


def test_what_handlers_do_to_vars_side_by_side_is_all_kept(world: World) -> None:
    def note(run: RunState, effect: Effect) -> EffectOutcome:
        run.vars[f"seen_{effect.payload['n']}"] = True
        return EffectOutcome.completed()

    world.make(effect_handlers={"probe": note})
    state = world.run(fan(probes(5)))
    assert joined(state)["errors"] == {}
    assert {name for name in state.vars if name.startswith("seen_")} == {
        f"seen_{n}" for n in range(5)
    }


# ---- what cannot be


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"join": 4}, "1 to 3"),
        ({"join": 0}, "1 to 3"),
        ({"join": "most"}, "1 to 3"),
        ({"limit": 0}, "limit"),
        ({"failures": -1}, "failures"),
    ],
)
def test_plans_that_cannot_be_are_refused_before_anything_is_performed(
    world: World, options: dict[str, Any], named: str
) -> None:
    performed: list[int] = []
    world.make(effect_handlers={"probe": lambda run, effect: performed.append(1)})
    state = world.run(fan(probes(3), **options))
    assert state.status is RunStatus.FAILED
    assert named in str(state.error)
    assert performed == []


def test_a_plan_of_no_effects_is_refused(world: World) -> None:
    assert "0 effects" in str(world.run(fan([])).error)
