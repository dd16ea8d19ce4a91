"""Delivery classes: what a crash between intent and outcome means, and who says what then."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from abstractruntime import (
    Effect,
    EffectOutcome,
    Retry,
    RunStatus,
    StepPlan,
    WaitReason,
    WorkflowSpec,
    durable,
)
from abstractruntime.errors import NeedsResolve, NotWaiting, OutcomeUnknown, RetryableError
from abstractruntime.storage.base import Capability
from tests.engine.conftest import Counter, World


class Died(BaseException):
    """The process ends here; the driver of the flow is dead."""


def work(**options: Any) -> WorkflowSpec:
    return WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", Effect("pay", {"sum": 7}, "paid", **options), "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output={"paid": run.vars.get("paid")}),
        },
    )


def dies_first(n: int) -> Any:
    if n == 1:
        raise Died
    return EffectOutcome.completed({"n": n})


def cut_short(
    world: World, answer: Callable[[int], Any] = dies_first, **options: Any
) -> tuple[WorkflowSpec, str, Counter]:
    """A run whose first attempt ended with its driver."""
    counter, spec = Counter(answer), work(**options)
    world.make(effect_handlers={"pay": counter})
    run_id = world.start(spec)
    with pytest.raises(Died):
        world.tick(spec, run_id)
    return spec, run_id, counter


def in_doubt(world: World) -> tuple[WorkflowSpec, str, Counter]:
    spec, run_id, counter = cut_short(world, delivery="at_most_once")
    state = world.tick(spec, run_id)
    assert state.status is RunStatus.WAITING
    return spec, run_id, counter


def test_at_least_once_is_performed_again_with_the_same_key(world: World) -> None:
    spec, run_id, counter = cut_short(world)
    assert world.tick(spec, run_id).output == {"paid": {"n": 2}}
    keys = {r["idempotency_key"] for r in world.runtime.get_ledger(run_id) if r["effect"]}
    assert (len(counter.performed), len(keys)) == (2, 1)


def test_at_most_once_is_not_performed_again_but_surfaced_with_its_intent(world: World) -> None:
    spec, run_id, counter = in_doubt(world)
    waiting = world.runtime.get_state(run_id).waiting
    assert waiting is not None
    assert waiting.reason is WaitReason.USER
    details = waiting.details or {}
    assert details["unknown"]["effect"]["payload"] == {"sum": 7}
    assert details["unknown"]["attempt"] == 1
    assert len(counter.performed) == 1
    assert world.tick(spec, run_id).status is RunStatus.WAITING
    assert len(counter.performed) == 1


def test_an_unknown_outcome_takes_no_answer(world: World) -> None:
    spec, run_id, _ = in_doubt(world)
    with pytest.raises(NeedsResolve):
        world.resume(spec, run_id, "it worked")
    assert world.runtime.get_state(run_id).status is RunStatus.WAITING


def test_a_host_that_changes_vars_meanwhile_does_not_resolve_it(world: World) -> None:
    spec, run_id, counter = in_doubt(world)
    run = world.runtime.get_state(run_id)
    run.vars["mine"] = 1
    world.runtime.run_store.save(run)
    with pytest.raises(NeedsResolve):
        world.resume(spec, run_id, "it worked")
    world.runtime.resolve(run_id, outcome=EffectOutcome.completed({"receipt": 5}))
    assert world.tick(spec, run_id).output == {"paid": {"receipt": 5}}
    assert len(counter.performed) == 1


def test_somebody_says_it_was_performed_and_with_which_result(world: World) -> None:
    spec, run_id, counter = in_doubt(world)
    said = EffectOutcome.completed({"receipt": 5})
    world.runtime.resolve(run_id, outcome=said, actor_id="ann", reason="the bank says so")
    assert world.tick(spec, run_id).output == {"paid": {"receipt": 5}}
    assert len(counter.performed) == 1
    (resolved,) = [
        r for r in world.runtime.get_ledger(run_id) if (r["result"] or {}).get("kind") == "resolved"
    ]
    assert resolved["actor_id"] == "ann"
    assert resolved["result"]["reason"] == "the bank says so"


def test_somebody_says_it_was_not_performed_and_it_is_tried_again(world: World) -> None:
    spec, run_id, counter = in_doubt(world)
    world.runtime.resolve(run_id, outcome="retry")
    assert world.tick(spec, run_id).output == {"paid": {"n": 2}}
    assert len(counter.performed) == 2
    attempts = [r["attempt"] for r in world.runtime.get_ledger(run_id) if r["status"] == "started"]
    assert attempts == [1, 2]


def test_somebody_gives_it_up_and_the_run_fails(world: World) -> None:
    spec, run_id, _ = in_doubt(world)
    state = world.runtime.resolve(run_id, outcome="fail")
    assert state.status is RunStatus.FAILED
    assert world.tick(spec, run_id).status is RunStatus.FAILED


def test_a_known_outcome_is_not_resolved(world: World) -> None:
    spec = work()
    world.make(effect_handlers={"pay": Counter()})
    run_id = world.start(spec)
    with pytest.raises(NotWaiting):
        world.runtime.resolve(run_id, outcome="retry")


@pytest.mark.parametrize(
    ("said", "output", "performed"),
    [
        (EffectOutcome.completed({"found": True}), {"paid": {"found": True}}, 1),
        (None, None, 1),
    ],
)
def test_the_handler_is_asked_before_a_person(
    world: World, said: EffectOutcome | None, output: Any, performed: int
) -> None:
    asked: list[Any] = []

    class Payments(Counter):
        def reconcile(self, intent: Any) -> EffectOutcome | None:
            asked.append(intent)
            return said

    counter, spec = Payments(dies_first), work(delivery="at_most_once")
    world.make(effect_handlers={"pay": counter})
    run_id = world.start(spec)
    with pytest.raises(Died):
        world.tick(spec, run_id)
    state = world.tick(spec, run_id)
    assert state.output == output
    assert state.status is (RunStatus.COMPLETED if said else RunStatus.WAITING)
    assert len(counter.performed) == performed
    (intent,) = asked
    assert (intent.payload, intent.attempt, intent.node_id) == ({"sum": 7}, 1, "a")
    keys = {r["idempotency_key"] for r in world.runtime.get_ledger(run_id) if r["effect"]}
    assert {intent.key} == keys


def test_an_outcome_that_a_handler_cannot_tell_waits_for_a_word(world: World) -> None:
    def broken(n: int) -> Any:
        raise OutcomeUnknown("the line went dead")

    world.make(effect_handlers={"pay": Counter(broken)})
    state = world.run(work(delivery="at_most_once"))
    assert state.status is RunStatus.WAITING
    assert "the line went dead" in str(state.waiting and state.waiting.prompt)


def test_an_at_most_once_effect_is_tried_again_only_when_its_handler_asks_for_it(
    world: World,
) -> None:
    def busy(n: int) -> Any:
        if n == 1:
            raise RetryableError("busy, nothing was done")
        raise OSError("who knows")

    counter = Counter(busy)
    world.make(effect_handlers={"pay": counter})
    state = world.run(work(delivery="at_most_once", retry=Retry(attempts=5, backoff_s=0)))
    assert state.status is RunStatus.FAILED
    assert len(counter.performed) == 2


def test_a_function_declares_how_it_is_delivered_wherever_it_is_called(world: World) -> None:
    calls: list[int] = []

    @durable(delivery="at_most_once")
    def pay(sum: int) -> int:
        calls.append(sum)
        raise Died

    spec = WorkflowSpec(
        "w",
        "a",
        {"a": lambda run, ctx: StepPlan("a", Effect("call", {"function": "pay",
            "arguments": {"sum": 3}}), "a")},
        {"pay": pay},
    )  # fmt: skip
    world.make()
    run_id = world.start(spec)
    with pytest.raises(Died):
        world.tick(spec, run_id)
    assert world.tick(spec, run_id).status is RunStatus.WAITING
    assert calls == [3]
    started = next(r for r in world.runtime.get_ledger(run_id) if r["status"] == "started")
    assert started["effect"]["options"] == {"delivery": "at_most_once"}


def test_the_outcome_of_an_at_most_once_effect_is_committed_before_the_next_node(
    world: World,
) -> None:
    seen: list[list[tuple[str, str]]] = []
    spec = work(delivery="at_most_once")

    def look(run: Any, ctx: Any) -> StepPlan:
        seen.append(world.statuses(run.run_id))
        return StepPlan("b", complete_output={})

    spec = WorkflowSpec("w", "a", {**spec.nodes, "b": look})
    world.make(effect_handlers={"pay": Counter()})
    world.run(spec)
    assert seen == [[("a", "started"), ("a", "completed")]]


def test_an_unknown_delivery_class_is_refused_before_anything_is_performed(world: World) -> None:
    counter = Counter()
    world.make(effect_handlers={"pay": counter})
    state = world.run(work(delivery="exactly_once"))
    assert state.status is RunStatus.FAILED
    assert "delivery" in str(state.error)
    assert counter.performed == []


# ---- transactional


def rows_of(world: World) -> list[tuple[Any, ...]]:
    import apsw

    with contextlib.closing(apsw.Connection(world.store.facts()["path"])) as connection:
        return connection.execute("SELECT n FROM mine ORDER BY n").fetchall()


def insert(run: Any, effect: Any, *, step: Any) -> EffectOutcome:
    step.transaction.execute("CREATE TABLE IF NOT EXISTS mine (n INTEGER)")
    step.transaction.execute("INSERT INTO mine VALUES (?)", (effect.payload["sum"],))
    return EffectOutcome.completed({"rows": 1})


def needs_transactions(world: World) -> None:
    if Capability.TRANSACTIONAL not in world.store.capabilities:
        pytest.skip("the store does not promise 'transactional'")


def test_a_transactional_handlers_rows_are_committed_with_its_step(world: World) -> None:
    needs_transactions(world)
    world.make(effect_handlers={"pay": insert})
    state = world.run(work(delivery="transactional"))
    assert state.output == {"paid": {"rows": 1}}
    assert rows_of(world) == [(7,)]
    assert world.statuses(state.run_id) == [("a", "started"), ("a", "completed")]


@pytest.mark.parametrize("end", [Died(), OSError("no"), RetryableError("later")])
def test_a_transactional_handler_that_does_not_end_well_leaves_no_row(
    world: World, end: BaseException
) -> None:
    needs_transactions(world)
    ends = [end]

    def breaks(run: Any, effect: Any, *, step: Any) -> EffectOutcome:
        outcome = insert(run, effect, step=step)
        if ends:
            raise ends.pop()
        return outcome

    world.make(effect_handlers={"pay": breaks})
    spec = work(delivery="transactional", retry=Retry(attempts=2, backoff_s=0))
    run_id = world.start(spec)
    if isinstance(end, Died):
        with pytest.raises(Died):
            world.tick(spec, run_id)
    assert world.tick(spec, run_id).output == {"paid": {"rows": 1}}
    assert rows_of(world) == [(7,)]


def test_a_transactional_handler_cannot_call_the_store(world: World) -> None:
    needs_transactions(world)

    def calls_back(run: Any, effect: Any, *, step: Any) -> EffectOutcome:
        world.runtime.start(workflow=work())
        return EffectOutcome.completed()

    world.make(effect_handlers={"pay": calls_back})
    state = world.run(work(delivery="transactional"))
    assert state.status is RunStatus.FAILED
    assert "cannot call the store" in str(state.error)


@pytest.mark.parametrize("sql", ["COMMIT", " rollback;", "PRAGMA synchronous=0", "BEGIN", ";"])
def test_a_transactional_handler_cannot_end_its_transaction(world: World, sql: str) -> None:
    needs_transactions(world)

    def ends_it(run: Any, effect: Any, *, step: Any) -> EffectOutcome:
        step.transaction.execute(sql)
        return EffectOutcome.completed()

    world.make(effect_handlers={"pay": ends_it})
    assert "is not for a step's transaction" in str(world.run(work(delivery="transactional")).error)


def test_a_transactional_effect_on_another_store_fails_before_it_is_performed(
    world: World,
) -> None:
    if Capability.TRANSACTIONAL in world.store.capabilities:
        pytest.skip("the store promises 'transactional'")
    counter = Counter()
    world.make(effect_handlers={"pay": counter})
    state = world.run(work(delivery="transactional"))
    assert state.status is RunStatus.FAILED
    assert "needs a SQL store" in str(state.error)
    assert counter.performed == []


def test_a_transaction_that_takes_too_long_is_undone(world: World) -> None:
    needs_transactions(world)
    clock = iter([True, False])

    def slow(run: Any, effect: Any, *, step: Any) -> EffectOutcome:
        outcome = insert(run, effect, step=step)
        if next(clock):
            step.transaction._end = 0.0
        return outcome

    world.make(effect_handlers={"pay": slow})
    spec = work(delivery="transactional", retry=Retry(attempts=2, backoff_s=0))
    state = world.run(spec)
    assert rows_of(world) == [(7,)]
    attempts = [r["status"] for r in world.runtime.get_ledger(state.run_id) if r["effect"]]
    assert attempts == ["started", "failed", "started", "completed"]
