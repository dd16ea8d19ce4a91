"""Approvals that take several, edits, refusals, the clock, and hosts that meddle."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from abstractruntime import (
    Approval,
    Effect,
    EffectOutcome,
    Retry,
    RunStatus,
    StepPlan,
    WorkflowSpec,
)
from abstractruntime.core.policy import DefaultEffectPolicy
from abstractruntime.errors import (
    AnswerRefused,
    NeedsResolve,
    NotEntitled,
    NotWaiting,
    RevisionConflict,
    RunBusy,
    StaleAnswer,
)
from abstractruntime.storage.base import Capability
from tests.engine.conftest import Counter, World
from tests.engine.test_approvals import NO, YES, begun, details, pays, said

# ---- several have to approve


def test_several_approvals_count_different_actors(world: World) -> None:
    spec, run_id, counter = begun(world, Approval(by=("ann", "bob", "cyd"), quorum=2))
    assert world.resume(spec, run_id, YES, actor_id="ann").status is RunStatus.WAITING
    with pytest.raises(AnswerRefused):
        world.resume(spec, run_id, YES, actor_id="ann")
    state = world.runtime.get_state(run_id)
    assert [vote["by"] for vote in details(state)["votes"]] == ["ann"]
    assert counter.performed == []
    assert world.resume(spec, run_id, YES, actor_id="cyd").status is RunStatus.COMPLETED
    (granted,) = said(world, run_id, "granted")
    assert granted["result"]["by"] == ["ann", "cyd"]
    assert len(counter.performed) == 1


def test_one_who_rejects_is_enough(world: World) -> None:
    spec, run_id, counter = begun(world, Approval(quorum=3))
    world.resume(spec, run_id, YES, actor_id="ann")
    world.resume(spec, run_id, YES, actor_id="bob")
    assert world.resume(spec, run_id, NO, actor_id="cyd").status is RunStatus.FAILED
    assert counter.performed == []


# ---- edit


def test_edited_arguments_are_performed_and_both_digests_are_in_the_ledger(world: World) -> None:
    spec, run_id, counter = begun(world)
    before = details(world.runtime.get_state(run_id))["digest"]
    edit = {"decision": "edit", "payload": {"sum": 5, "to": "Ödegård"}}
    state = world.resume(spec, run_id, edit, actor_id="ann")
    assert state.status is RunStatus.COMPLETED
    assert counter.performed == [{"sum": 5, "to": "Ödegård"}]
    (edited,) = said(world, run_id, "effect_edited")
    (granted,) = said(world, run_id, "granted")
    assert edited["actor_id"] == "ann"
    assert edited["result"]["digest_before"] == before
    assert edited["result"]["digest_after"] == granted["result"]["digest"] != before
    performed = [r for r in world.runtime.get_ledger(run_id) if r["effect"]]
    assert [r["effect"]["payload"]["sum"] for r in performed] == [7, 5, 5, 5]
    keys = [r["idempotency_key"] for r in performed]
    assert keys[-1] != keys[0]


def test_an_edit_restarts_the_votes_and_is_its_editors_own(world: World) -> None:
    spec, run_id, counter = begun(world, Approval(quorum=2))
    world.resume(spec, run_id, YES, actor_id="ann")
    opened = world.runtime.get_state(run_id).checkpoint
    assert opened is not None
    edit = {"decision": "edit", "payload": {"sum": 5}}
    state = world.resume(spec, run_id, edit, actor_id="bob")
    assert state.status is RunStatus.WAITING
    assert [vote["by"] for vote in details(state)["votes"]] == ["bob"]
    assert details(state)["effect"]["payload"] == {"sum": 5}
    with pytest.raises(StaleAnswer):  # what was seen before the edit
        world.resume(spec, run_id, YES, actor_id="cyd", wait_id=opened.waits[""].wait_id)
    assert world.resume(spec, run_id, YES, actor_id="ann").status is RunStatus.COMPLETED
    assert counter.performed == [{"sum": 5}]


def test_an_edit_to_the_same_is_an_approval(world: World) -> None:
    spec, run_id, counter = begun(world)
    edit = {"decision": "edit", "payload": {"to": "Ödegård", "sum": 7}}
    assert world.resume(spec, run_id, edit, actor_id="ann").status is RunStatus.COMPLETED
    assert said(world, run_id, "effect_edited") == []
    assert len(counter.performed) == 1


# ---- reject, expire, remind


@pytest.mark.parametrize("then", ["fail", "no"])
def test_a_rejection_fails_the_run_or_takes_its_branch(world: World, then: str) -> None:
    spec, run_id, counter = begun(world, Approval(on_rejected=then))
    state = world.resume(spec, run_id, NO, actor_id="ann")
    assert counter.performed == []
    text = "Approval of pay at node 'a' was rejected by ann: too much"
    if then == "fail":
        assert (state.status, state.error) == (RunStatus.FAILED, text)
    else:
        assert state.output == {
            "no": {"error": text, "decision": "rejected", "by": "ann", "reason": "too much"}
        }
    (rejected,) = said(world, run_id, "rejected")
    assert rejected["result"]["reason"] == "too much"


@pytest.mark.parametrize("then", ["fail", "no"])
def test_expiry_takes_its_branch_by_the_clock(world: World, then: str) -> None:
    spec, run_id, counter = begun(world, Approval(expires_s=60, on_expired=then))
    world.clock.forward(59)
    assert world.tick(spec, run_id).status is RunStatus.WAITING
    world.clock.forward(1)
    with pytest.raises(StaleAnswer):  # too late, though nothing has noticed yet
        world.resume(spec, run_id, YES, actor_id="ann")
    state = world.tick(spec, run_id)
    assert state.status is (RunStatus.FAILED if then == "fail" else RunStatus.COMPLETED)
    assert "expired at 2026-01-01T00:01:00" in str(state.error or state.output)
    assert counter.performed == []
    assert len(said(world, run_id, "expired")) == 1


def test_a_scheduler_finds_what_expires(world: World) -> None:
    spec, run_id, _ = begun(world, Approval(expires_s=60, remind_s=(20,)))
    assert world.store.next_wake() == "2026-01-01T00:00:20.000000+00:00"
    world.clock.forward(20)
    assert world.store.list_due(world.clock.now) == [run_id]
    world.tick(spec, run_id)
    assert world.store.next_wake() == "2026-01-01T00:01:00.000000+00:00"


def test_reminders_and_escalation_are_records_that_hooks_hear_of(world: World) -> None:
    spec, run_id, counter = begun(
        world, Approval(by=("ann",), remind_s=(10, 20), escalate_s=30, escalate_to=("boss",))
    )
    heard: list[str] = []
    world.runtime.hooks.add(
        lambda commit: heard.extend(e.record["result"]["kind"] for e in commit.records)
    )
    for seconds, kinds in ((10, ["reminded"]), (5, []), (15, ["reminded", "escalated"])):
        heard.clear()
        world.clock.forward(seconds)
        with pytest.raises(NotEntitled):
            world.resume(spec, run_id, YES, actor_id="boss")
        assert world.tick(spec, run_id).status is RunStatus.WAITING
        assert heard == kinds
    state = world.runtime.get_state(run_id)
    assert state.waiting is not None
    assert state.waiting.until is None
    assert world.resume(spec, run_id, YES, actor_id="boss").status is RunStatus.COMPLETED
    assert len(counter.performed) == 1


# ---- what hosts do


def test_a_host_that_sets_the_run_running_does_not_get_past_the_approval(world: World) -> None:
    spec, run_id, counter = begun(world)
    run = world.runtime.get_state(run_id)
    run.status, run.waiting = RunStatus.RUNNING, None
    world.runtime.run_store.save(run)
    state = world.tick(spec, run_id)
    assert state.status is RunStatus.WAITING
    assert counter.performed == []
    assert world.resume(spec, run_id, YES, actor_id="ann").status is RunStatus.COMPLETED
    assert len(counter.performed) == 1


def test_a_run_that_is_rewound_before_its_effect_asks_again(world: World) -> None:
    spec, run_id, counter = begun(world)
    run = world.runtime.get_state(run_id)
    run.status, run.waiting, run.current_node = RunStatus.RUNNING, None, "b"
    world.runtime.run_store.save(run)
    run = world.runtime.get_state(run_id)
    run.current_node = "a"
    world.runtime.run_store.save(run)
    state = world.tick(spec, run_id)
    assert state.status is RunStatus.WAITING
    assert counter.performed == []
    assert state.waiting is not None
    # A plain store's edits are noticed at the next load: there the run never left its node.
    assert state.waiting.wait_key in {f"approval:{run_id}:a:{visit}" for visit in (1, 2)}
    assert len(said(world, run_id, "granted")) == 0


def test_a_reopened_run_asks_again(world: World) -> None:
    spec, run_id, counter = begun(world)
    world.resume(spec, run_id, NO, actor_id="ann")
    world.runtime.reopen(run_id)
    assert world.tick(spec, run_id).status is RunStatus.WAITING
    world.resume(spec, run_id, YES, actor_id="ann")
    assert len(counter.performed) == 1


# ---- the effect's own ways


def test_a_granted_effect_is_retried_under_its_grant(world: World) -> None:
    def second(n: int) -> EffectOutcome:
        return EffectOutcome.failed("busy") if n == 1 else EffectOutcome.completed({"n": n})

    spec, run_id, _ = begun(world, answer=second, retry=Retry(attempts=2, backoff_s=0))
    state = world.resume(spec, run_id, YES, actor_id="ann")
    assert state.output == {"paid": {"n": 2}}
    assert len(said(world, run_id, "grant_used")) == 1


def test_a_child_is_started_once_it_is_approved(world: World) -> None:
    child = WorkflowSpec(
        "child", "c", {"c": lambda run, ctx: StepPlan("c", complete_output={"x": 1})}
    )
    world.registry.register(child)
    effect = Effect("start_subworkflow", {"workflow_id": "child"}, "sub", approval=Approval())
    spec = WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", effect, "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output=run.vars["sub"]["output"]),
        },
    )
    run_id = world.start(spec)
    assert world.tick(spec, run_id).status is RunStatus.WAITING
    assert world.store.list_children(parent_run_id=run_id) == []
    assert world.resume(spec, run_id, YES, actor_id="ann").output == {"x": 1}
    assert len(world.store.list_children(parent_run_id=run_id)) == 1


def test_a_transactional_effect_may_be_approved(world: World) -> None:
    if Capability.TRANSACTIONAL not in world.store.capabilities:
        pytest.skip("the store does not promise 'transactional'")

    def insert(run: Any, effect: Any, *, step: Any) -> EffectOutcome:
        step.transaction.execute("CREATE TABLE IF NOT EXISTS mine (n INTEGER)")
        step.transaction.execute("INSERT INTO mine VALUES (?)", (effect.payload["sum"],))
        return EffectOutcome.completed({"rows": 1})

    spec = pays(delivery="transactional")
    world.make(effect_handlers={"pay": insert})
    run_id = world.start(spec)
    assert world.tick(spec, run_id).status is RunStatus.WAITING
    state = world.resume(spec, run_id, YES, actor_id="ann")
    assert state.output == {"paid": {"rows": 1}}


class OwnKeys(DefaultEffectPolicy):
    def idempotency_key(self, *, run: Any, node_id: str, effect: Any) -> str:
        return f"pay-{effect.payload['sum']}"


def test_a_key_of_ones_own_that_recurs_needs_no_second_approval(world: World) -> None:
    effect = Effect("pay", {"sum": 7}, "paid", approval=Approval())
    spec = WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", effect, "again"),
            "again": lambda run, ctx: StepPlan("again", effect, "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output={"paid": run.vars["paid"]}),
        },
    )
    counter = Counter()
    world.make(effect_handlers={"pay": counter}, effect_policy=OwnKeys())
    run_id = world.start(spec)
    world.tick(spec, run_id)
    assert counter.performed == []
    state = world.resume(spec, run_id, YES, actor_id="ann")
    assert state.output == {"paid": {"n": 1}}
    assert len(counter.performed) == 1
    assert world.kinds(run_id).count("recalled") == 1


def test_an_unknown_outcome_of_an_approved_effect_is_resolved_as_any(world: World) -> None:
    class Died(BaseException):
        pass

    def dies_first(n: int) -> EffectOutcome:
        if n == 1:
            raise Died
        return EffectOutcome.completed({"n": n})

    spec, run_id, counter = begun(world, answer=dies_first, delivery="at_most_once")
    with pytest.raises(Died):
        world.resume(spec, run_id, YES, actor_id="ann")
    state = world.tick(spec, run_id)
    assert state.status is RunStatus.WAITING
    with pytest.raises(NeedsResolve):  # a grant is no word on what became of it
        world.resume(spec, run_id, YES, actor_id="ann")
    world.runtime.resolve(run_id, outcome="retry")
    assert world.tick(spec, run_id).output == {"paid": {"n": 2}}
    assert len(said(world, run_id, "granted")) == 1
    assert len(counter.performed) == 2


def test_of_many_who_answer_at_the_same_time_one_wins(world: World) -> None:
    spec, run_id, counter = begun(world)
    ready = threading.Barrier(8)

    def answer(number: int) -> str:
        ready.wait(10)
        try:
            world.runtime.resume(
                workflow=spec, run_id=run_id, wait_key=None, payload=YES, actor_id=f"actor-{number}"
            )
        except (RevisionConflict, NotWaiting, RunBusy) as refused:
            return type(refused).__name__
        return "won"

    with ThreadPoolExecutor(8) as threads:
        ends = list(threads.map(answer, range(8)))
    assert ends.count("won") == 1, ends
    assert len(counter.performed) == 1
    assert len(said(world, run_id, "granted")) == 1
    assert world.runtime.get_state(run_id).status is RunStatus.COMPLETED
