"""ScheduledRuntime: run, answer and cancel by run id, with the scheduler behind."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from abstractruntime import (
    Effect,
    EffectType,
    InMemoryLedgerStore,
    InMemoryRunStore,
    RunStatus,
    StepPlan,
    WaitReason,
    WorkflowSpec,
    create_scheduled_runtime,
    open_store,
)
from abstractruntime.core.models import RunState
from tests.scheduler.conftest import PATIENCE_S, asker, parent


def test_quick_start_b_runs_asks_is_answered_and_stops() -> None:
    def ask(run: RunState, context: Any) -> StepPlan:
        effect = Effect(EffectType.ASK_USER, {"prompt": "Continue?"}, "user_answer")
        return StepPlan("ask", effect, "done")

    def done(run: RunState, context: Any) -> StepPlan:
        return StepPlan("done", complete_output={"answer": run.vars["user_answer"]})

    scheduled = create_scheduled_runtime()
    workflow = WorkflowSpec("quick", "ask", {"ask": ask, "done": done})
    run_id, state = scheduled.run(workflow)
    assert state.status is RunStatus.WAITING
    state = scheduled.respond(run_id, {"answer": "yes"})
    assert state.status is RunStatus.COMPLETED
    assert state.output == {"answer": {"answer": "yes"}}
    scheduled.stop()
    assert not scheduled.is_running


@pytest.mark.parametrize("kind", ["nothing", "pair", "store"])
def test_it_works_on_what_it_is_given_and_starts_by_itself(kind: str) -> None:
    given: dict[str, Any] = {
        "nothing": {},
        "pair": {"run_store": InMemoryRunStore(), "ledger_store": InMemoryLedgerStore()},
        "store": {"store": open_store("memory://")},
    }[kind]
    scheduled = create_scheduled_runtime(workflows=[asker()], **given)
    assert scheduled.is_running
    assert scheduled.registry.list_ids() == ["asker"]
    run_id, _ = scheduled.run(asker())
    assert scheduled.resume_event(run_id=run_id, wait_key="k", payload=1).output == {"said": 1}
    assert scheduled.get_state(run_id).status is RunStatus.COMPLETED
    assert scheduled.get_ledger(run_id)
    scheduled.stop()


def test_start_only_creates_and_tick_moves() -> None:
    scheduled = create_scheduled_runtime(auto_start=False)
    assert not scheduled.is_running
    run_id = scheduled.start(asker(), vars={"a": 1}, actor_id="me")
    state = scheduled.get_state(run_id)
    assert (state.status, state.vars["a"], state.actor_id) == (RunStatus.RUNNING, 1, "me")
    assert scheduled.tick(run_id).status is RunStatus.WAITING
    (found,) = scheduled.find_waiting_runs(wait_reason=WaitReason.USER, workflow_id="asker")
    assert found.run_id == run_id
    scheduled.start_scheduler()
    assert scheduled.is_running
    scheduled.stop()


def test_respond_to_a_run_that_does_not_wait_is_refused() -> None:
    scheduled = create_scheduled_runtime(auto_start=False)
    run_id = scheduled.start(asker())
    with pytest.raises(ValueError, match=rf"^Run '{run_id}' is not waiting \(status=running\)"):
        scheduled.respond(run_id, "x")


def test_runs_are_cancelled_alone_or_with_their_children() -> None:
    scheduled = create_scheduled_runtime(auto_start=False, workflows=[asker()])
    run_id, _ = scheduled.run(parent("asker"))
    cancelled = scheduled.cancel_with_children(run_id, reason="over")
    assert [run.workflow_id for run in cancelled] == ["parent", "asker"]
    alone, _ = scheduled.run(parent("asker"))
    assert scheduled.cancel_run(alone, reason="over").error == "over"
    assert [run.status for run in scheduled.find_waiting_runs()] == [RunStatus.WAITING]


def test_a_parent_is_moved_in_the_background_and_the_listener_hears_of_it() -> None:
    heard = threading.Event()
    states: list[RunState] = []

    def listen(state: RunState) -> None:
        states.append(state)
        heard.set()

    scheduled = create_scheduled_runtime(
        workflows=[asker()], on_run_resumed=listen, poll_interval_s=1000.0
    )
    run_id, state = scheduled.run(parent("asker"))
    assert state.waiting is not None
    assert state.waiting.details is not None
    scheduled.respond(state.waiting.details["sub_run_id"], "yes")
    assert heard.wait(PATIENCE_S)
    scheduled.stop()
    assert [each.run_id for each in states] == [run_id]
    assert scheduled.stats.runs_resumed == 1
    assert scheduled.get_state(run_id).status is RunStatus.COMPLETED


def test_handlers_functions_and_listeners_reach_the_runtime() -> None:
    spec = WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, context: StepPlan("a", Effect("probe", {}, "probed"), "b"),
            "b": lambda run, context: StepPlan(
                "b", Effect("call", {"function": "f"}, "called"), "c"
            ),
            "c": lambda run, context: StepPlan(
                "c", complete_output={name: run.vars[name] for name in ("probed", "called")}
            ),
        },
    )
    from abstractruntime import EffectOutcome

    scheduled = create_scheduled_runtime(
        auto_start=False,
        effect_handlers={"probe": lambda run, effect: EffectOutcome.completed("p")},
        functions={"f": lambda: "c"},
    )
    _, state = scheduled.run(spec)
    assert state.output == {"probed": "p", "called": "c"}
