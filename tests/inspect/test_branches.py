"""Ledgers and graphs of runs with several effects at once read well."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import EffectOutcome, Retry, RunState, Runtime, open_store
from abstractruntime.authoring import Workflow, ask_user, call, complete, parallel, wait_event
from abstractruntime.errors import OutcomeUnknown, RetryableError
from abstractruntime.inspect.graph import graph_of_run, to_mermaid
from abstractruntime.inspect.timeline import Step, timeline

wf = Workflow("fan")
tries: list[int] = []


@wf.node
def first(run: RunState) -> Any:
    return parallel(
        [
            call(same, n=1),
            call(flaky, n=2).with_(retry=Retry(attempts=3, backoff_s=0)),
            call(broken, n=3),
            call(doubtful, n=4).with_(delivery="at_most_once"),
            ask_user("five?", key="q5"),
        ],
        into="all",
        failures=1,
        then=second,
    )


@wf.node
def second(run: RunState) -> Any:
    return parallel([call(same, n=1), wait_event("never")], join="any", then=last)


@wf.node
def last(run: RunState) -> Any:
    return complete({})


@wf.function
def same(n: int) -> int:
    return n


@wf.function
def flaky(n: int) -> int:
    tries.append(n)
    if len(tries) % 2:
        raise RetryableError("busy")
    return n


@wf.function
def broken(n: int) -> int:
    raise ValueError("no such thing")


@wf.function
def doubtful(n: int) -> int:
    raise OutcomeUnknown("the line went dead")


@pytest.fixture
def runtime() -> Runtime:
    return Runtime(store=open_store("memory://"))


@pytest.fixture
def run_id(runtime: Runtime) -> str:
    """A run of five branches, one tried again, one failed but borne, one in doubt, one asked."""
    run_id = runtime.start(workflow=wf)
    runtime.tick(workflow=wf, run_id=run_id)
    runtime.pause_run(run_id, reason="audit", actor_id="ann")
    runtime.unpause_run(run_id, actor_id="ann")
    return run_id


def finish(runtime: Runtime, run_id: str) -> None:
    said = EffectOutcome.completed(4)
    runtime.resolve(run_id, outcome=said, actor_id="ann", reason="the bank says so")
    runtime.resume(workflow=wf, run_id=run_id, wait_key="q5", payload="yes")


def lines(runtime: Runtime, run_id: str) -> dict[str, Step]:
    return {
        f"{step.node} {step.branch or '-'} {step.what}": step
        for step in timeline(runtime.get_ledger(run_id))
    }


def test_each_branch_has_a_line_and_the_moves_say_what_they_are_about(
    runtime: Runtime, run_id: str
) -> None:
    finish(runtime, run_id)
    found = lines(runtime, run_id)
    statuses = {name: step.status for name, step in found.items() if step.branch is not None}
    assert statuses == {
        "first 0 call": "completed",
        "first 1 call": "completed",
        "first 2 call": "failed",
        "first 3 call": "completed",
        "first 3 set_out": "completed",
        "first 3 resolved": "completed",
        "first 4 ask_user": "waiting",
        "first 4 resumed": "completed",
        "second 0 call": "completed",
        "second 1 wait_event": "cancelled",
    }
    assert found["first 1 call"].attempts == 2
    about = {name: step.about for name, step in found.items()}
    assert about["first - paused"] == "by ann: audit"
    assert about["first - unpaused"] == "by ann"
    assert about["first 3 set_out"] == "doubtful(n=4) begins"
    assert about["first 3 resolved"] == "as completed by ann: the bank says so"
    assert about["first - joined"] == "4 completed, 1 failed"
    assert about["second - joined"] == "1 completed, 1 cancelled"
    assert not any("branch_cancelled" in name for name in found)


def test_recoveries_heartbeats_and_late_runs_read_well() -> None:
    def note(**result: Any) -> dict[str, Any]:
        at = "2026-01-01T00:00:00.000000+00:00"
        return {
            "step_id": str(result), "node_id": "n", "status": "completed", "effect": None,
            "result": result, "started_at": at, "ended_at": at,
        }  # fmt: skip

    said = timeline(
        [
            note(kind="recovered", recovered_steps=["a", "b"], driver={"pid": 7}),
            note(kind="recovered", recovered_step="a", driver={"pid": 7}),
            note(kind="heartbeat", step="a", progress={"done": 3}),
            note(kind="branch_cancelled", branch="7", step_id="unseen"),
        ]
    )
    assert [(step.about, step.branch) for step in said] == [
        ("its driver, process 7, had died; 2 open steps", None),
        ("its driver, process 7, had died", None),
        ('{"done":3}', None),
        ("", "7"),
    ]


def test_the_graph_says_how_many_branches_are_open_and_how_it_went_on(
    runtime: Runtime, run_id: str
) -> None:
    def drawn() -> str:
        run = runtime.get_state(run_id)
        return to_mermaid(graph_of_run(run, runtime.get_ledger(run_id), wf.spec))

    assert "2 of 5 branches open" in drawn()
    runtime.pause_run(run_id)
    assert "is paused" in drawn()
    runtime.unpause_run(run_id)
    finish(runtime, run_id)
    assert drawn().count('-->|"parallel"|') == 2
