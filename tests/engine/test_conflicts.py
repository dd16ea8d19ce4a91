"""Others move a run while its effect is under way: nothing is done twice, nothing is dropped."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import Effect, EffectOutcome, RunStatus, StepPlan, WorkflowSpec
from abstractruntime.core.checkpoint import Driver
from abstractruntime.engine.liveness import begin, end
from abstractruntime.errors import NotReopenable, RevisionConflict, RunBusy, UnknownRun
from tests.engine.conftest import Counter, World


def work() -> WorkflowSpec:
    return WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", Effect("probe", {"q": 1}, "got"), "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output=dict(run.vars)),
        },
    )


def meanwhile(world: World, act: Any) -> Counter:
    """A handler during which `act(run_id)` happens from outside."""

    def answer(n: int) -> EffectOutcome:
        act(run_ids[0])
        return EffectOutcome.completed({"n": n})

    run_ids: list[str] = []
    counter = Counter(answer)

    def probe(run: Any, effect: Any) -> EffectOutcome:
        run_ids.append(run.run_id)
        outcome: EffectOutcome = counter(run, effect)
        return outcome

    world.make(effect_handlers={"probe": probe})
    return counter


def test_a_cancel_during_an_effect_ends_the_run_and_keeps_the_outcome_as_evidence(
    world: World,
) -> None:
    meanwhile(world, lambda run_id: world.runtime.cancel_run(run_id, reason="enough"))
    state = world.run(work())
    assert (state.status, state.error) == (RunStatus.CANCELLED, "enough")
    (kept,) = world.store.list_evidence(state.run_id)
    assert kept.outcome["result"] == {"n": 1}
    assert world.tick(work(), state.run_id).status is RunStatus.CANCELLED


def test_an_edit_of_vars_during_an_effect_keeps_both(world: World) -> None:
    def edit(run_id: str) -> None:
        run = world.runtime.get_state(run_id)
        run.vars["note"] = "by hand"
        world.runtime.run_store.save(run)

    counter = meanwhile(world, edit)
    state = world.run(work())
    assert state.status is RunStatus.COMPLETED
    assert state.output is not None
    assert (state.output["note"], state.output["got"]) == ("by hand", {"n": 1})
    assert len(counter.performed) == 1


def test_a_host_that_moves_the_run_during_an_effect_makes_its_outcome_evidence(
    world: World,
) -> None:
    def move(run_id: str) -> None:
        run = world.runtime.get_state(run_id)
        run.current_node = "b"
        world.runtime.run_store.save(run)

    meanwhile(world, move)
    state = world.run(work())
    assert state.status is RunStatus.COMPLETED
    assert state.output is not None
    assert "got" not in state.output
    (kept,) = world.store.list_evidence(state.run_id)
    assert kept.outcome["result"] == {"n": 1}
    links = [
        r["result"]
        for r in world.runtime.get_ledger(state.run_id)
        if (r["result"] or {}).get("kind") == "evidence"
    ]
    assert [link["digest"] for link in links] == [kept.digest]


def test_a_run_with_a_live_driver_is_not_touched(world: World) -> None:
    refused: list[Exception] = []

    def tick_again(run_id: str) -> None:
        before = world.runtime.get_state(run_id)
        with pytest.raises(RunBusy) as caught:
            world.runtime.tick(workflow=work(), run_id=run_id)
        refused.append(caught.value)
        assert world.runtime.get_state(run_id) == before

    counter = meanwhile(world, tick_again)
    assert world.run(work()).status is RunStatus.COMPLETED
    assert len(refused) == 1
    assert len(counter.performed) == 1


def abandoned(world: World, driver: Driver) -> str:
    """A run whose intent is committed by a driver that never came back."""

    class Gone(BaseException):
        pass

    def vanish(run: Any, effect: Any) -> EffectOutcome:
        raise Gone

    world.make(effect_handlers={"probe": vanish})
    run_id = world.start(work())
    with pytest.raises(Gone):
        world.runtime.tick(workflow=work(), run_id=run_id)
    state = world.runtime.get_state(run_id)
    assert state.checkpoint is not None
    assert state.checkpoint.open_steps
    return run_id


def test_a_step_whose_flow_ended_without_outcome_is_performed_again_with_the_same_key(
    world: World,
) -> None:
    token = begin("other")
    end("other")
    run_id = abandoned(world, token)
    counter = Counter()
    world.make(effect_handlers={"probe": counter})
    state = world.tick(work(), run_id)
    assert state.status is RunStatus.COMPLETED
    assert len(counter.performed) == 1
    assert "recovered" in world.kinds(run_id)
    steps = [r for r in world.runtime.get_ledger(run_id) if r["effect"]]
    assert [r["status"] for r in steps] == ["started", "completed"]
    assert len({r["idempotency_key"] for r in steps}) == 1


def test_recovery_never_calls_the_node_again(world: World) -> None:
    calls: list[int] = []

    def a(run: Any, ctx: Any) -> StepPlan:
        calls.append(1)
        run.vars["counter"] = run.vars.get("counter", 0) + 1
        return StepPlan("a", Effect("probe"), "b")

    counting = WorkflowSpec(
        "w", "a", {"a": a, "b": lambda run, ctx: StepPlan("b", complete_output=dict(run.vars))}
    )

    class Gone(BaseException):
        pass

    def vanish(run: Any, effect: Any) -> EffectOutcome:
        raise Gone

    world.make(effect_handlers={"probe": vanish})
    run_id = world.start(counting)
    with pytest.raises(Gone):
        world.runtime.tick(workflow=counting, run_id=run_id)
    world.make(effect_handlers={"probe": Counter()})
    state = world.tick(counting, run_id)
    assert state.output is not None
    assert state.output["counter"] == 1
    assert len(calls) == 1


def test_an_outcome_is_committed_before_an_interrupt_unwinds(world: World) -> None:
    def b(run: Any, ctx: Any) -> StepPlan:
        run.vars["half"] = True
        raise KeyboardInterrupt

    interrupted = WorkflowSpec(
        "w", "a", {"a": lambda run, ctx: StepPlan("a", Effect("probe", {}, "got"), "b"), "b": b}
    )
    counter = Counter()
    world.make(effect_handlers={"probe": counter})
    run_id = world.start(interrupted)
    with pytest.raises(KeyboardInterrupt):
        world.runtime.tick(workflow=interrupted, run_id=run_id)
    state = world.runtime.get_state(run_id)
    assert (state.status, state.current_node) == (RunStatus.RUNNING, "b")
    assert state.vars["got"] == {"n": 1}
    assert "half" not in state.vars
    assert world.tick(work(), run_id).status is RunStatus.COMPLETED
    assert len(counter.performed) == 1


def test_of_two_answers_the_second_gets_a_typed_error(world: World) -> None:
    ask = WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", Effect("ask_user", {"prompt": "?"}, "said"), "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output=dict(run.vars)),
        },
    )
    run_id = world.run(ask).run_id
    world.resume(ask, run_id, "first")
    with pytest.raises(ValueError, match="Run is not waiting"):
        world.resume(ask, run_id, "second")
    output = world.runtime.get_state(run_id).output
    assert output is not None
    assert output["said"] == "first"


def test_a_stale_object_is_refused_by_save(world: World) -> None:
    world.make(effect_handlers={"probe": Counter()})
    run_id = world.start(work())
    stale = world.runtime.get_state(run_id)
    world.tick(work(), run_id, max_steps=1)
    stale.vars["x"] = 1
    with pytest.raises(RevisionConflict):
        world.runtime.run_store.save(stale)
    assert "x" not in world.runtime.get_state(run_id).vars


def test_cancel_of_an_ended_run_changes_nothing(world: World) -> None:
    world.make(effect_handlers={"probe": Counter()})
    state = world.run(work())
    assert world.runtime.cancel_run(state.run_id) == state


def test_cancel_of_a_waiting_run_closes_its_wait(world: World) -> None:
    ask = WorkflowSpec(
        "w", "a", {"a": lambda run, ctx: StepPlan("a", Effect("ask_user", {"prompt": "?"}))}
    )
    run_id = world.run(ask).run_id
    state = world.runtime.cancel_run(run_id)
    assert (state.status, state.error, state.waiting) == (RunStatus.CANCELLED, "Cancelled", None)
    with pytest.raises(ValueError, match="Run is not waiting"):
        world.resume(ask, run_id, "late")


def test_a_failed_run_can_be_reopened_where_it_failed(world: World) -> None:
    counter = Counter(
        lambda n: EffectOutcome.failed("no") if n == 1 else EffectOutcome.completed({"n": n})
    )
    world.make(effect_handlers={"probe": counter})
    state = world.run(work())
    assert state.status is RunStatus.FAILED
    reopened = world.runtime.reopen(state.run_id, actor_id="me", reason="plugged in")
    assert (reopened.status, reopened.error) == (RunStatus.RUNNING, None)
    assert world.tick(work(), state.run_id).status is RunStatus.COMPLETED
    with pytest.raises(NotReopenable):
        world.runtime.reopen(state.run_id)


@pytest.mark.parametrize("verb", ["tick", "resume", "cancel", "state"])
def test_an_unknown_run_is_named(world: World, verb: str) -> None:
    verbs = {
        "tick": lambda: world.tick(work(), "nobody"),
        "resume": lambda: world.resume(work(), "nobody", {}),
        "cancel": lambda: world.runtime.cancel_run("nobody"),
        "state": lambda: world.runtime.get_state("nobody"),
    }
    with pytest.raises(UnknownRun, match="Unknown run_id: nobody"):
        verbs[verb]()
    assert world.runtime.get_ledger("nobody") == []
