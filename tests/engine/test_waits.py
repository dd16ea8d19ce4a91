"""Waiting runs: answers, keys, choices, timers; who may answer and what it stores."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import Effect, EffectType, RunStatus, StepPlan, WaitReason, WorkflowSpec
from abstractruntime.errors import (
    ChoiceRefused,
    NotWaiting,
    RuntimeFault,
    StaleAnswer,
    WaitKeyMismatch,
)
from tests.engine.conftest import World


def ask(**payload: Any) -> WorkflowSpec:
    def question(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("question", Effect(EffectType.ASK_USER, payload, "said"), "done")

    def done(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("done", complete_output={"said": run.vars.get("said")})

    return WorkflowSpec("ask", "question", {"question": question, "done": done})


def test_a_question_waits_with_its_default_key_and_an_answer_completes_the_run(
    world: World,
) -> None:
    work = ask(prompt="Well?")
    state = world.run(work)
    assert state.status is RunStatus.WAITING
    assert state.waiting is not None
    assert state.waiting.reason is WaitReason.USER
    assert state.waiting.wait_key == f"user:{state.run_id}:question"
    assert state.waiting.prompt == "Well?"
    assert world.statuses(state.run_id) == [("question", "started"), ("question", "waiting")]
    ended = world.resume(work, state.run_id, {"text": "yes"}, wait_key=state.waiting.wait_key)
    assert (ended.status, ended.output) == (RunStatus.COMPLETED, {"said": {"text": "yes"}})
    assert world.kinds(state.run_id) == ["resumed", "completed"]


def test_a_wait_costs_one_commit_and_no_intent(world: World) -> None:
    state = world.run(ask(prompt="Well?"))
    assert state.checkpoint is not None
    assert state.checkpoint.revision == 2


def test_the_waiting_record_holds_every_field_of_the_wait(world: World) -> None:
    state = world.run(ask(prompt="Well?", choices=["a", "b"], allow_free_text=False))
    record = world.runtime.get_ledger(state.run_id)[-1]
    assert record["status"] == "waiting"
    assert record["result"] == {
        "wait": {
            "reason": "user",
            "wait_key": f"user:{state.run_id}:question",
            "until": None,
            "resume_to_node": "done",
            "result_key": "said",
            "prompt": "Well?",
            "choices": ["a", "b"],
            "allow_free_text": False,
            "details": None,
        }
    }


def test_a_wrong_key_is_refused_with_the_apis_text_and_writes_nothing(world: World) -> None:
    work = ask(prompt="Well?", wait_key="k")
    state = world.run(work)
    with pytest.raises(WaitKeyMismatch, match="wait_key mismatch: expected 'k', got 'other'"):
        world.resume(work, state.run_id, {}, wait_key="other")
    assert world.runtime.get_state(state.run_id) == state


def test_a_run_that_does_not_wait_is_refused(world: World) -> None:
    work = ask(prompt="Well?")
    run_id = world.start(work)
    with pytest.raises(NotWaiting, match="Run is not waiting"):
        world.resume(work, run_id, {})


def test_a_stale_wait_id_is_refused(world: World) -> None:
    work = ask(prompt="Well?")
    state = world.run(work)
    assert state.checkpoint is not None
    (opened,) = state.checkpoint.waits.values()
    with pytest.raises(StaleAnswer):
        world.resume(work, state.run_id, {}, wait_id="old")
    assert world.resume(work, state.run_id, {}, wait_id=opened.wait_id).status == "completed"


@pytest.mark.parametrize(
    "said", ["a", {"choice": "a"}, {"response": "a"}, {"answer": "a"}, {"text": "a"}]
)
def test_an_answer_among_the_choices_is_taken_in_every_form(world: World, said: Any) -> None:
    work = ask(prompt="Well?", choices=["a", "b"], allow_free_text=False)
    assert world.resume(work, world.run(work).run_id, said).output == {"said": said}


@pytest.mark.parametrize("said", ["c", {"choice": "c"}, {}, {"other": "a"}, None, 3])
def test_an_answer_outside_the_choices_is_refused(world: World, said: Any) -> None:
    work = ask(prompt="Well?", choices=["a", "b"], allow_free_text=False)
    state = world.run(work)
    with pytest.raises(ChoiceRefused):
        world.resume(work, state.run_id, said)
    assert world.runtime.get_state(state.run_id).status is RunStatus.WAITING


def test_an_answer_that_is_no_json_is_refused_and_the_run_still_waits(world: World) -> None:
    work = ask(prompt="Well?")
    state = world.run(work)
    with pytest.raises(RuntimeFault, match="payload"):
        world.resume(work, state.run_id, {"x": {1}})
    assert world.runtime.get_state(state.run_id) == state


def until(when: str) -> WorkflowSpec:
    def sleep(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("sleep", Effect(EffectType.WAIT_UNTIL, {"until": when}, "woke"), "done")

    def done(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("done", complete_output={"woke": run.vars["woke"]})

    return WorkflowSpec("sleep", "sleep", {"sleep": sleep, "done": done})


def test_a_time_that_is_due_completes_at_once(world: World) -> None:
    when = "2025-12-31T23:00:00-01:00"
    assert world.run(until(when)).output == {"woke": {"until": when, "ready": True}}


def test_a_timer_fires_at_the_first_tick_after_its_time(world: World) -> None:
    when = "2026-01-01T00:01:00Z"
    work = until(when)
    state = world.run(work)
    assert state.waiting is not None
    assert (state.waiting.reason, state.waiting.until) == (WaitReason.UNTIL, when)
    world.clock.forward(59)
    assert world.tick(work, state.run_id) == state
    world.clock.forward(1)
    assert world.tick(work, state.run_id).output == {"woke": {"until": when, "ready": True}}


@pytest.mark.parametrize("when", ["2026-01-01T00:00:00", "soon", 5])
def test_a_time_without_offset_or_sense_is_refused(world: World, when: Any) -> None:
    state = world.run(until(when))
    assert state.status is RunStatus.FAILED


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("wait_event", "wait_event requires payload.wait_key"),
        ("wait_until", "wait_until requires payload.until (ISO timestamp)"),
        ("ask_user", "ask_user requires payload.prompt"),
        ("start_subworkflow", "start_subworkflow requires payload.workflow_id"),
    ],
)
def test_an_effect_without_its_payload_fails_by_name(world: World, kind: str, error: str) -> None:
    work = WorkflowSpec("w", "a", {"a": lambda run, ctx: StepPlan("a", Effect(kind), "a")})
    assert world.run(work).error == f"Effect failed after 1 attempts: {error}"


def test_a_wait_without_next_node_enters_its_node_again_as_a_new_visit(world: World) -> None:
    def again(run: Any, ctx: Any) -> StepPlan:
        heard = run.vars.setdefault("heard", [])
        if "last" in run.vars:
            heard.append(run.vars.pop("last"))
        if len(heard) == 2:
            return StepPlan("again", complete_output={"heard": heard})
        return StepPlan("again", Effect(EffectType.WAIT_EVENT, {"wait_key": "k"}, "last"))

    work = WorkflowSpec("w", "again", {"again": again})
    run_id = world.run(work).run_id
    world.resume(work, run_id, {"n": 1})
    assert world.resume(work, run_id, {"n": 2}).output == {"heard": [{"n": 1}, {"n": 2}]}
    visits = [r["visit"] for r in world.runtime.get_ledger(run_id) if r["status"] == "waiting"]
    assert visits == [1, 2]


def test_the_payloads_resume_node_wins_for_a_wait(world: World) -> None:
    def wait(run: Any, ctx: Any) -> StepPlan:
        effect = Effect(EffectType.WAIT_EVENT, {"wait_key": "k", "resume_to_node": "there"})
        return StepPlan("wait", effect, "here")

    def end(name: str) -> Any:
        return lambda run, ctx: StepPlan(name, complete_output={"at": name})

    work = WorkflowSpec("w", "wait", {"wait": wait, "here": end("here"), "there": end("there")})
    assert world.resume(work, world.run(work).run_id, {}).output == {"at": "there"}
