"""Approvals: what is asked, who answers, and that nothing else than what was granted is done."""

from __future__ import annotations

import hashlib
from typing import Any
from unittest import mock

import pytest
import rfc8785 as rfc

from abstractruntime import (
    Approval,
    Effect,
    RunState,
    RunStatus,
    StepPlan,
    WaitReason,
    WorkflowSpec,
    durable,
)
from abstractruntime.errors import (
    AnswerRefused,
    NotEntitled,
    NotWaiting,
    RevisionConflict,
    RunPaused,
    StaleAnswer,
    WaitKeyMismatch,
)
from tests.engine.conftest import Counter, World

YES = {"decision": "approve"}
NO = {"decision": "reject", "reason": "too much"}


def pays(approval: Any = None, payload: Any = None, **options: Any) -> WorkflowSpec:
    """Pay after an approval; node "no" is where a refusal may lead."""
    approval = Approval() if approval is None else approval
    payload = {"sum": 7, "to": "Ödegård"} if payload is None else payload
    effect = Effect("pay", payload, "paid", approval=approval, **options)
    return WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", effect, "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output={"paid": run.vars.get("paid")}),
            "no": lambda run, ctx: StepPlan("no", complete_output={"no": run.vars.get("paid")}),
        },
    )


def begun(
    world: World, approval: Any = None, answer: Any = None, **options: Any
) -> tuple[WorkflowSpec, str, Counter]:
    """A run that waits for the approval."""
    counter, spec = Counter(answer), pays(approval, **options)
    world.make(effect_handlers={"pay": counter})
    run_id = world.start(spec)
    state = world.tick(spec, run_id)
    assert state.status is RunStatus.WAITING, state.error
    assert counter.performed == []
    return spec, run_id, counter


def said(world: World, run_id: str, kind: str) -> list[dict[str, Any]]:
    return [
        record
        for record in world.runtime.get_ledger(run_id)
        if record["effect"] is None and (record["result"] or {}).get("kind") == kind
    ]


def details(state: RunState) -> dict[str, Any]:
    assert state.waiting is not None
    return (state.waiting.details or {})["approval"]


# ---- what is asked


def test_the_request_shows_the_exact_stored_effect_and_its_digest(world: World) -> None:
    _, run_id, _ = begun(world, Approval(quorum=1, by=("ann",)), delivery="at_most_once")
    state = world.runtime.get_state(run_id)
    assert state.waiting is not None
    assert state.waiting.reason is WaitReason.USER
    assert state.waiting.wait_key == f"approval:{run_id}:a:1"
    effect = details(state)["effect"]
    assert effect == {
        "type": "pay",
        "payload": {"sum": 7, "to": "Ödegård"},
        "result_key": "paid",
        "options": {"delivery": "at_most_once", "approval": {"by": ["ann"]}},
    }
    assert details(state)["digest"] == hashlib.sha256(rfc.dumps(effect)).hexdigest()
    assert state.checkpoint is not None
    (step,) = state.checkpoint.open_steps.values()
    assert (step.attempt, step.effect) == (0, effect)
    assert world.statuses(run_id) == [("a", "waiting")]


def test_a_tick_changes_nothing_while_it_waits(world: World) -> None:
    spec, run_id, counter = begun(world)
    before = world.runtime.get_ledger(run_id)
    assert world.tick(spec, run_id).status is RunStatus.WAITING
    assert world.runtime.get_ledger(run_id) == before
    assert counter.performed == []


def test_a_large_payload_is_named_by_its_digest_and_kept_in_the_ledger(world: World) -> None:
    payload = {"text": "x" * 20_000}
    spec, run_id, counter = begun(world, payload=payload)
    state = world.runtime.get_state(run_id)
    assert "payload" not in details(state)["effect"]
    assert world.runtime.get_ledger(run_id)[-1]["effect"]["payload"] == payload
    world.resume(spec, run_id, YES, actor_id="ann")
    assert counter.performed == [payload]


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**80])
def test_what_i_json_cannot_hold_is_refused_with_its_path(world: World, number: int) -> None:
    counter = Counter()
    world.make(effect_handlers={"pay": counter})
    state = world.run(pays(payload={"deep": [1, {"n": number}]}))
    assert state.status is RunStatus.FAILED
    assert "$.effect.payload.deep[1].n" in str(state.error)
    assert counter.performed == []


def test_a_node_that_a_refusal_leads_to_is_known_before_anything_is_asked(world: World) -> None:
    world.make(effect_handlers={"pay": Counter()})
    state = world.run(pays(Approval(on_rejected="nowhere")))
    assert state.status is RunStatus.FAILED
    assert "nowhere" in str(state.error)


def test_the_form_of_a_dict_is_an_approval_too(world: World) -> None:
    spec, run_id, _ = begun(world, {"by": ["ann"], "quorum": 1})
    with pytest.raises(NotEntitled):
        world.resume(spec, run_id, YES, actor_id="bob")
    assert world.resume(spec, run_id, YES, actor_id="ann").status is RunStatus.COMPLETED


def test_an_approval_with_an_unknown_field_fails_the_node(world: World) -> None:
    world.make(effect_handlers={"pay": Counter()})
    state = world.run(pays({"who": "ann"}))
    assert state.status is RunStatus.FAILED
    assert "who" in str(state.error)


def test_a_function_may_ask_wherever_it_is_called(world: World) -> None:
    done: list[int] = []

    @durable(approval=Approval(by=("ann",)))
    def pay(sum: int) -> int:
        done.append(sum)
        return sum

    effect = Effect("call", {"function": "pay", "arguments": {"sum": 3}}, "paid")
    spec = WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", effect, "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output={"paid": run.vars["paid"]}),
        },
        {"pay": pay},
    )
    run_id = world.start(spec)
    assert world.tick(spec, run_id).status is RunStatus.WAITING
    assert done == []
    assert world.resume(spec, run_id, "approve", actor_id="ann").output == {"paid": 3}
    assert done == [3]


# ---- approve


def test_an_approved_effect_is_performed_once_by_its_grant(world: World) -> None:
    spec, run_id, counter = begun(world)
    world.clock.forward(5)
    state = world.resume(spec, run_id, YES, actor_id="ann")
    assert state.output == {"paid": {"n": 1}}
    assert counter.performed == [{"sum": 7, "to": "Ödegård"}]
    assert world.statuses(run_id) == [("a", "waiting"), ("a", "started"), ("a", "completed")]
    assert world.kinds(run_id) == ["approved", "granted", "grant_used", "completed"]
    (vote,) = said(world, run_id, "approved")
    assert vote["actor_id"] == "ann"
    digests = {
        record["result"]["digest"]
        for kind in ("approved", "granted", "grant_used")
        for record in said(world, run_id, kind)
    }
    assert len(digests) == 1
    steps = [r for r in world.runtime.get_ledger(run_id) if r["effect"]]
    assert [r["attempt"] for r in steps] == [0, 1, 1]
    begun_at = world.clock.now
    assert [r["started_at"] == begun_at for r in steps] == [False, True, True]


def test_the_outcome_of_an_approved_effect_is_committed_before_the_next_node(
    world: World,
) -> None:
    seen: list[list[tuple[str, str]]] = []
    spec = pays()

    def look(run: Any, ctx: Any) -> StepPlan:
        seen.append(world.statuses(run.run_id))
        return StepPlan("b", complete_output={})

    spec = WorkflowSpec("w", "a", {**spec.nodes, "b": look})
    world.make(effect_handlers={"pay": Counter()})
    run_id = world.start(spec)
    world.tick(spec, run_id)
    world.resume(spec, run_id, YES, actor_id="ann")
    assert seen == [[("a", "waiting"), ("a", "started"), ("a", "completed")]]


def test_each_visit_is_approved_anew(world: World) -> None:
    effect = Effect("pay", {"sum": 7}, "paid", approval=Approval())
    spec = WorkflowSpec("w", "a", {"a": lambda run, ctx: StepPlan("a", effect, "a")})
    counter = Counter()
    world.make(effect_handlers={"pay": counter})
    run_id = world.start(spec)
    world.tick(spec, run_id)
    for visit in (1, 2, 3):
        state = world.runtime.get_state(run_id)
        assert state.waiting is not None
        assert state.waiting.wait_key == f"approval:{run_id}:a:{visit}"
        assert len(counter.performed) == visit - 1
        world.resume(spec, run_id, YES, actor_id="ann")
    assert len(counter.performed) == 3


@pytest.mark.parametrize(
    ("payload", "actor"),
    [
        ({"decision": "maybe"}, "ann"),
        ({}, "ann"),
        ("yes", "ann"),
        (None, "ann"),
        (["approve"], "ann"),
        (YES, None),
        ({"decision": "edit"}, "ann"),
        ({"decision": "edit", "payload": [1]}, "ann"),
        ({"decision": "edit", "payload": {"resume_to_node": "b"}}, "ann"),
        ({"decision": "reject", "reason": "x" * 5000}, "ann"),
        ({"decision": "reject", "reason": 5}, "ann"),
    ],
)
def test_what_decides_nothing_is_refused_and_nothing_is_lost(
    world: World, payload: Any, actor: str | None
) -> None:
    spec, run_id, counter = begun(world)
    before = world.runtime.get_ledger(run_id)
    with pytest.raises(AnswerRefused):
        world.resume(spec, run_id, payload, actor_id=actor)
    assert world.runtime.get_ledger(run_id) == before
    assert counter.performed == []
    assert world.resume(spec, run_id, YES, actor_id="ann").status is RunStatus.COMPLETED


def test_only_those_who_may_answer_do(world: World) -> None:
    spec, run_id, counter = begun(world, Approval(by=("ann", "bob")))
    with pytest.raises(NotEntitled):
        world.resume(spec, run_id, YES, actor_id="eve")
    with pytest.raises(NotEntitled):
        world.resume(spec, run_id, NO, actor_id="eve")
    assert counter.performed == []
    assert world.resume(spec, run_id, YES, actor_id="bob").status is RunStatus.COMPLETED


def test_an_answer_for_another_effect_wait_or_key_is_refused(world: World) -> None:
    spec, run_id, counter = begun(world)
    with pytest.raises(StaleAnswer):
        world.resume(spec, run_id, {**YES, "digest": "0" * 64}, actor_id="ann")
    with pytest.raises(StaleAnswer):
        world.resume(spec, run_id, YES, actor_id="ann", wait_id="another")
    with pytest.raises(WaitKeyMismatch):
        world.resume(spec, run_id, YES, actor_id="ann", wait_key="another")
    digest = details(world.runtime.get_state(run_id))["digest"]
    state = world.resume(spec, run_id, {**YES, "digest": digest}, actor_id="ann")
    assert state.status is RunStatus.COMPLETED
    assert len(counter.performed) == 1


def test_a_second_answer_finds_nothing_that_waits(world: World) -> None:
    spec, run_id, counter = begun(world)
    world.resume(spec, run_id, YES, actor_id="ann")
    with pytest.raises(NotWaiting):
        world.resume(spec, run_id, NO, actor_id="bob")
    assert len(counter.performed) == 1


def test_of_two_answers_at_once_one_wins_and_the_other_is_told(world: World) -> None:
    spec, run_id, counter = begun(world)
    other = world.runtime
    answered: list[bool] = []

    def first(write: Any) -> Any:
        def written(commit: Any) -> Any:
            if not answered:
                answered.append(True)
                other.resume(
                    workflow=spec, run_id=run_id, wait_key=None, payload=YES, actor_id="bob"
                )
            return write(commit)

        return written

    with (
        mock.patch.object(world.store, "submit", first(world.store.submit)),
        mock.patch.object(world.store, "commit", first(world.store.commit)),
        pytest.raises((RevisionConflict, NotWaiting)),
    ):
        world.resume(spec, run_id, NO, actor_id="ann")
    state = world.runtime.get_state(run_id)
    assert state.status is RunStatus.COMPLETED
    assert len(counter.performed) == 1
    assert said(world, run_id, "rejected") == []


def test_a_paused_run_takes_no_approval(world: World) -> None:
    spec, run_id, _ = begun(world)
    world.runtime.pause_run(run_id)
    with pytest.raises(RunPaused):
        world.resume(spec, run_id, YES, actor_id="ann")


def test_a_cancelled_run_is_not_approved(world: World) -> None:
    spec, run_id, counter = begun(world)
    world.runtime.cancel_run(run_id)
    with pytest.raises(NotWaiting):
        world.resume(spec, run_id, YES, actor_id="ann")
    assert world.tick(spec, run_id).status is RunStatus.CANCELLED
    assert counter.performed == []
