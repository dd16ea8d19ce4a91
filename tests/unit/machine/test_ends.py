"""How a run ends, and how an ended one is opened again."""

from dataclasses import replace
from typing import Any

import pytest

from abstractruntime.core.checkpoint import MAIN
from abstractruntime.core.commit import Message
from abstractruntime.core.machine import ends
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.plan import Finish
from abstractruntime.core.models import RunStatus
from abstractruntime.errors import NotReopenable, Refused
from tests.unit.machine.builder import (
    DRIVER,
    LATER,
    NOW,
    OPEN_WAIT,
    OTHER_BRANCH,
    STEP,
    WAIT,
    changes,
    checkpoint,
    draft_of,
    line,
    record,
    stepping,
    waiting,
    whole,
)

FINISH = Finish({"done": [1]}, b'{"done":[1]}')
NOT_ENDED = [RunStatus.RUNNING, RunStatus.WAITING]
ENDED = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED]


def everything_open(**fields: Any) -> Draft:
    """A run with whatever an end has to close."""
    kernel = checkpoint(
        open_steps={MAIN: STEP, OTHER_BRANCH: replace(STEP, step_id="step-2")},
        waits={MAIN: OPEN_WAIT},
        driver=DRIVER,
        queued_at=LATER,
        recall=1,
    )
    return draft_of(kernel=kernel, **fields)


CLOSED: dict[str, Any] = {"open_steps": {}, "waits": {}, "queued_at": None}


# ---- completed


def test_a_completed_run_has_its_output_and_one_record_that_says_so() -> None:
    draft = everything_open()
    before = whole(draft)
    ends.complete(draft, FINISH, now=NOW, line_id="line-1")
    assert changes(before, draft) == {
        **CLOSED,
        "status": "completed",
        "output": {"done": [1]},
        "lines": [line(record(result={"completed": True}, visit=2))],
        "weight": 512,
    }
    assert draft.run.output is not FINISH.output


def test_completing_at_a_node_the_host_jumped_to_counts_its_visit() -> None:
    draft = draft_of(kernel=checkpoint(entered=False))
    ends.complete(draft, FINISH, now=NOW, line_id="line-1")
    assert draft.lines[0].record["visit"] == 3
    assert draft.visits == {"a": 3}


@pytest.mark.parametrize("status", [each for each in RunStatus if each is not RunStatus.RUNNING])
def test_only_a_running_run_completes(status: RunStatus) -> None:
    with pytest.raises(Refused):
        ends.complete(draft_of(status=status), FINISH, now=NOW, line_id="line-1")


# ---- failed


def test_a_failed_run_has_its_error_and_no_record_more() -> None:
    draft = everything_open(output={"kept": 1})
    before = whole(draft)
    ends.fail(draft, "no luck", now=NOW, line_id="line-1")
    assert changes(before, draft) == {**CLOSED, "status": "failed", "error": "no luck"}


def test_a_waiting_run_that_fails_waits_no_longer() -> None:
    draft = waiting()
    before = whole(draft)
    ends.fail(draft, "no luck", now=NOW, line_id="line-1")
    assert changes(before, draft) == {
        "status": "failed",
        "error": "no luck",
        "waits": {},
        "waiting": None,
    }


@pytest.mark.parametrize("status", ENDED)
def test_an_ended_run_does_not_fail(status: RunStatus) -> None:
    with pytest.raises(Refused):
        ends.fail(draft_of(status=status), "no luck", now=NOW, line_id="line-1")


def test_a_node_that_raises_fails_the_run_on_the_vars_before_it() -> None:
    draft = draft_of(kernel=checkpoint(entered=False))
    draft.set_result("kept", b"1")
    before = whole(draft)
    draft.run.vars["n"] = "scribbled"
    draft.run.vars["kept"] = "scribbled"
    ends.fail_node(
        draft,
        "Node 'a' raised ValueError: x",
        error_type="ValueError",
        trace=["f.py:1 a"],
        now=NOW,
        line_id="line-1",
    )
    note = record(
        status="failed",
        error="Node 'a' raised ValueError: x",
        result={"kind": "node_failed", "error_type": "ValueError", "traceback": ["f.py:1 a"]},
        visit=3,
    )
    assert changes(before, draft) == {
        "status": "failed",
        "error": "Node 'a' raised ValueError: x",
        "visits": {"a": 3},
        "entered": True,
        "lines": [line(note)],
        "weight": 512,
    }


def test_a_wait_that_can_only_fail_leaves_a_failed_record_of_its_step() -> None:
    opened = replace(OPEN_WAIT, step_id="step-9", node_id="z", visit=7)
    draft = waiting(opened=opened)
    before = whole(draft)
    ends.fail_wait(draft, "Subworkflow 'x' failed: y", now=NOW, line_id="line-1")
    note = record(
        step_id="step-9",
        node_id="z",
        status="failed",
        error="Subworkflow 'x' failed: y",
        result={"kind": "wait_failed"},
        visit=7,
    )
    assert changes(before, draft) == {
        "status": "failed",
        "error": "Subworkflow 'x' failed: y",
        "waiting": None,
        "waits": {},
        "lines": [line(note)],
        "weight": 512,
    }


# ---- cancelled


@pytest.mark.parametrize("status", NOT_ENDED)
def test_a_live_run_is_cancelled_with_everything_open(status: RunStatus) -> None:
    draft = everything_open(status=status, waiting=WAIT)
    before = whole(draft)
    done = ends.cancel(draft, reason="too dear", now=NOW, line_id="line-1", actor_id="bob")
    assert done is True
    note = record(
        result={"kind": "cancelled", "reason": "too dear", "open_steps": ["step-1", "step-2"]},
        actor_id="bob",
    )
    assert changes(before, draft) == {
        **CLOSED,
        "status": "cancelled",
        "error": "too dear",
        "waiting": None,
        "driver": None,
        "lines": [line(note)],
        "weight": 512,
    }


@pytest.mark.parametrize(("reason", "told"), [(None, {}), ("", {"reason": ""})])
def test_a_cancel_without_a_reason_says_cancelled(reason: str | None, told: Any) -> None:
    draft = draft_of()
    before = whole(draft)
    assert ends.cancel(draft, reason=reason, now=NOW, line_id="line-1") is True
    assert changes(before, draft) == {
        "status": "cancelled",
        "error": "Cancelled",
        "lines": [line(record(result={"kind": "cancelled", **told}))],
        "weight": 512,
    }


@pytest.mark.parametrize("status", ENDED)
def test_an_ended_run_is_not_cancelled_and_nothing_changes(status: RunStatus) -> None:
    draft = draft_of(status=status, error="as it was", kernel=checkpoint(driver=DRIVER))
    before = whole(draft)
    assert ends.cancel(draft, reason="x", now=NOW, line_id="line-1") is False
    assert changes(before, draft) == {}


# ---- reopened


def test_a_failed_run_is_reopened_where_it_failed_and_its_error_is_journaled() -> None:
    draft = draft_of(status=RunStatus.FAILED, error="no luck", current_node="b")
    before = whole(draft)
    ends.reopen(draft, actor_id="bob", reason="mended", now=NOW, line_id="line-1")
    note = record(
        node_id="b",
        actor_id="bob",
        result={"kind": "reopened", "reason": "mended", "error": "no luck"},
    )
    assert changes(before, draft) == {
        "status": "running",
        "error": None,
        "lines": [line(note)],
        "weight": 512,
    }


def test_a_reopening_needs_neither_actor_nor_reason() -> None:
    draft = draft_of(status=RunStatus.FAILED)
    ends.reopen(draft, actor_id=None, reason=None, now=NOW, line_id="line-1")
    assert whole(draft)["lines"] == [line(record(result={"kind": "reopened"}))]


@pytest.mark.parametrize("status", [each for each in RunStatus if each is not RunStatus.FAILED])
def test_no_other_run_is_reopened_and_nothing_changes(status: RunStatus) -> None:
    draft = draft_of(status=status)
    before = whole(draft)
    with pytest.raises(NotReopenable) as caught:
        ends.reopen(draft, actor_id="bob", reason="x", now=NOW, line_id="line-1")
    assert caught.value.message == f"Run 'run-1' is {status.value}, not failed"
    assert caught.value.where == {"run_id": "run-1"}
    assert changes(before, draft) == {}


# ---- what a parent hears


def end_by(draft: Draft, how: str) -> None:
    if how == "completed":
        ends.complete(draft, FINISH, now=NOW, line_id="line-1")
    elif how == "failed":
        ends.fail(draft, "no luck", now=NOW, line_id="line-1")
    else:
        ends.cancel(draft, reason=None, now=NOW, line_id="line-1")


@pytest.mark.parametrize(
    ("how", "output", "error"),
    [
        ("completed", {"done": [1]}, None),
        ("failed", None, "no luck"),
        ("cancelled", None, "Cancelled"),
    ],
)
def test_the_end_of_a_child_is_a_message_to_its_parents_wait(
    how: str, output: Any, error: str | None
) -> None:
    kernel = checkpoint(reports_to="subworkflow:run-1", generation=2)
    draft = draft_of(kernel=kernel, parent_run_id="run-0")
    end_by(draft, how)
    assert draft.sent == [
        Message(
            message_id="line-1",
            run_id="run-0",
            name="subworkflow:run-1",
            payload={
                "sub_run_id": "run-1",
                "workflow_id": "wf",
                "status": how,
                "output": output,
                "error": error,
            },
            sent_at=NOW,
            sent_by="run-1",
            dedupe_key="run-1:2:4",
        )
    ]


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled"])
@pytest.mark.parametrize(
    ("reports_to", "parent"), [(None, "run-0"), ("subworkflow:run-1", None), (None, None)]
)
def test_nobody_hears_of_a_run_that_nobody_waits_for(
    how: str, reports_to: str | None, parent: str | None
) -> None:
    draft = draft_of(kernel=checkpoint(reports_to=reports_to), parent_run_id=parent)
    end_by(draft, how)
    assert draft.sent == []


def test_a_node_failure_and_a_failed_wait_reach_the_parent_too() -> None:
    kernel = {"reports_to": "subworkflow:run-1"}
    first, second = stepping(**kernel), waiting(**kernel)
    for draft in (first, second):
        draft.run.parent_run_id = "run-0"
    ends.fail_node(first, "x", error_type="E", trace=[], now=NOW, line_id="line-1")
    ends.fail_wait(second, "x", now=NOW, line_id="line-1")
    for draft in (first, second):
        (message,) = draft.sent
        assert message.message_id == "line-1"
        assert message.sent_at == NOW
        assert message.payload["error"] == "x"
