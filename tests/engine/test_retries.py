"""Failing effects: attempts, backoffs that survive, what handlers may say."""

from __future__ import annotations

import time
from typing import Any

import pytest

from abstractruntime import (
    DefaultEffectPolicy,
    Effect,
    EffectOutcome,
    RetryPolicy,
    RunStatus,
    StepPlan,
    WorkflowSpec,
)
from abstractruntime.errors import RetryableError, TerminalError
from tests.engine.conftest import Counter, World


def work(kind: str = "probe") -> WorkflowSpec:
    return WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", Effect(kind, {"q": 1}, "got"), "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output={"got": run.vars["got"]}),
        },
    )


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Backoffs as they were slept, by either driver; nobody really sleeps."""
    import asyncio

    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr(time, "sleep", naps.append)
    monkeypatch.setattr(asyncio, "sleep", nap)
    return naps


def test_attempts_are_made_by_policy_with_doubling_backoffs(
    world: World, slept: list[float]
) -> None:
    counter = Counter(
        lambda n: EffectOutcome.failed("no") if n < 4 else EffectOutcome.completed({"n": n})
    )
    world.make(
        effect_handlers={"probe": counter},
        effect_policy=DefaultEffectPolicy(default_max_attempts=4, default_backoff_max=3.0),
    )
    state = world.run(work())
    assert state.output == {"got": {"n": 4}}
    assert slept == [1.0, 2.0, 3.0]
    records = [r for r in world.runtime.get_ledger(state.run_id) if r["effect"]]
    assert [(r["status"], r["attempt"]) for r in records] == [
        ("started", 1),
        ("failed", 1),
        ("started", 2),
        ("failed", 2),
        ("started", 3),
        ("failed", 3),
        ("started", 4),
        ("completed", 4),
    ]
    assert len({r["step_id"] for r in records}) == 1
    assert len({r["idempotency_key"] for r in records}) == 1


def test_exhausted_attempts_fail_the_run_with_the_apis_text(world: World) -> None:
    def broken(n: int) -> Any:
        raise OSError("unplugged")

    counter = Counter(broken)
    world.make(effect_handlers={"llm_call": counter}, effect_policy=RetryPolicy())
    state = world.run(work("llm_call"))
    assert (state.status, state.error) == (
        RunStatus.FAILED,
        "Effect failed after 3 attempts: Effect handler raised exception: unplugged",
    )
    assert len(counter.performed) == 3


def test_no_backoff_means_no_sleep(world: World, slept: list[float]) -> None:
    counter = Counter(lambda n: EffectOutcome.failed("no"))
    policy = DefaultEffectPolicy(default_max_attempts=3, default_backoff_base=0.0)
    world.make(effect_handlers={"probe": counter}, effect_policy=policy)
    assert world.run(work()).status is RunStatus.FAILED
    assert (len(counter.performed), slept) == (3, [])


def test_a_terminal_error_is_not_tried_again(world: World, slept: list[float]) -> None:
    def broken(n: int) -> Any:
        raise TerminalError("never")

    counter = Counter(broken)
    world.make(
        effect_handlers={"probe": counter},
        effect_policy=DefaultEffectPolicy(default_max_attempts=5),
    )
    state = world.run(work())
    assert state.error == "Effect failed after 1 attempts: Effect handler raised exception: never"
    assert slept == []


def test_retry_after_stretches_the_backoff(world: World, slept: list[float]) -> None:
    def limited(n: int) -> Any:
        if n == 1:
            raise RetryableError("slow down", retry_after=17.5)
        return EffectOutcome.completed({"n": n})

    world.make(
        effect_handlers={"probe": Counter(limited)},
        effect_policy=DefaultEffectPolicy(default_max_attempts=2),
    )
    assert world.run(work()).output == {"got": {"n": 2}}
    assert slept == [17.5]


def test_what_a_handler_changed_in_vars_is_kept_with_its_outcome_and_undone_when_it_fails(
    world: World,
) -> None:
    def probe(run: Any, effect: Any) -> EffectOutcome:
        run.vars["seen"].append(len(run.vars["seen"]))
        if len(calls) < 2:
            calls.append(1)
            raise OSError("again")
        return EffectOutcome.completed({"ok": True})

    calls: list[int] = []
    world.make(
        effect_handlers={"probe": probe}, effect_policy=DefaultEffectPolicy(default_max_attempts=3)
    )
    run_id = world.start(work(), seen=[])
    state = world.tick(work(), run_id)
    assert state.status is RunStatus.COMPLETED
    assert state.vars["seen"] == [0]


def test_a_result_that_is_no_json_fails_the_step_and_is_not_tried_again(world: World) -> None:
    counter = Counter(lambda n: EffectOutcome.completed({"bad": object()}))
    world.make(
        effect_handlers={"probe": counter},
        effect_policy=DefaultEffectPolicy(default_max_attempts=3),
    )
    state = world.run(work())
    assert state.status is RunStatus.FAILED
    assert state.error is not None
    assert "$.result.bad" in state.error
    assert len(counter.performed) == 1


@pytest.mark.parametrize("takes", [2, 3])
def test_a_type_error_inside_a_handler_never_makes_it_run_twice(world: World, takes: int) -> None:
    calls: list[int] = []

    def two(run: Any, effect: Any) -> EffectOutcome:
        calls.append(2)
        raise TypeError("two() takes 2 positional arguments")

    def three(run: Any, effect: Any, default_next_node: Any) -> EffectOutcome:
        calls.append(3)
        assert default_next_node == "b"
        raise TypeError("three() takes 3 positional arguments")

    world.make(effect_handlers={"probe": two if takes == 2 else three})
    assert world.run(work()).status is RunStatus.FAILED
    assert calls == [takes]


def test_a_handler_may_make_the_run_wait(world: World) -> None:
    from abstractruntime import WaitReason, WaitState

    def probe(run: Any, effect: Any, default_next_node: Any) -> EffectOutcome:
        wait = WaitState(
            WaitReason.EVENT, "tools", resume_to_node=default_next_node, result_key="got"
        )
        return EffectOutcome.waiting(wait)

    world.make(effect_handlers={"probe": probe})
    state = world.run(work())
    assert state.status is RunStatus.WAITING
    assert world.statuses(state.run_id) == [("a", "started"), ("a", "waiting")]
    assert world.resume(work(), state.run_id, [1, 2], wait_key="tools").output == {"got": [1, 2]}
