"""Waits and runs as the JSON objects that ledgers and stores hold."""

from typing import Any

import pytest

from abstractruntime.core import models
from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.models import (
    RunState,
    RunStatus,
    WaitReason,
    WaitState,
    run_from_dict,
    run_to_dict,
    wait_from_dict,
    wait_to_dict,
)
from tests.unit.machine.builder import (
    BEGAN,
    CREATED,
    LATER,
    NOW,
    WAIT,
    WAIT_DICT,
    checkpoint,
    run_of,
)

# ---- waits


def test_a_wait_comes_back_from_its_json() -> None:
    full = WaitState(WaitReason.JOB, "k", LATER, "b", "r", "p", ["c"], False, {"d": 1})
    data = {
        "reason": "job",
        "wait_key": "k",
        "until": LATER,
        "resume_to_node": "b",
        "result_key": "r",
        "prompt": "p",
        "choices": ["c"],
        "allow_free_text": False,
        "details": {"d": 1},
    }
    assert wait_to_dict(full) == data
    assert list(wait_to_dict(full)) == list(data)
    assert wait_to_dict(WAIT) == WAIT_DICT
    for wait in (full, WAIT):
        assert wait_from_dict(wait_to_dict(wait)) == wait
    assert wait_from_dict({"reason": "job"}) == WaitState(WaitReason.JOB)
    assert wait_from_dict({"reason": "job"}).reason is WaitReason.JOB


@pytest.mark.parametrize("data", [{}, {"reason": None}, {"reason": ""}])
def test_a_wait_without_a_reason_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match=r"^Persisted waiting state missing 'reason'$"):
        wait_from_dict(data)


# ---- runs

RUN_DICT: dict[str, Any] = {
    "run_id": "run-1",
    "workflow_id": "wf",
    "status": "waiting",
    "current_node": "a",
    "vars": {"n": 1},
    "waiting": WAIT_DICT,
    "output": {"o": 1},
    "error": "e",
    "created_at": CREATED,
    "updated_at": BEGAN,
    "actor_id": "ada",
    "session_id": "s-1",
    "parent_run_id": "run-0",
}


def full_run(kernel: Any = None) -> RunState:
    return run_of(
        {"n": 1},
        kernel,
        status=RunStatus.WAITING,
        waiting=WAIT,
        output={"o": 1},
        error="e",
        parent_run_id="run-0",
    )


def test_a_runs_json_has_its_fields_in_order() -> None:
    assert run_to_dict(full_run()) == RUN_DICT
    assert list(run_to_dict(full_run())) == list(RUN_DICT)
    kernel = checkpoint()
    expected = {**RUN_DICT, "checkpoint": {"revision": 3, "visits": {"a": 2}, "entered": True}}
    assert run_to_dict(full_run(kernel)) == expected
    assert list(run_to_dict(full_run(kernel)))[-1] == "checkpoint"
    assert run_to_dict(full_run(kernel.to_dict())) == expected


def test_a_run_comes_back_from_its_json() -> None:
    for run in (full_run(), full_run(checkpoint()), run_of()):
        found = run_from_dict({**run_to_dict(run), "of a later version": 1})
        assert found == run
        assert found.status is run.status
    kernel = checkpoint()
    assert run_from_dict({**RUN_DICT, "checkpoint": kernel}).checkpoint is kernel
    assert type(run_from_dict(run_to_dict(full_run(kernel))).checkpoint) is Checkpoint


def test_a_runs_json_may_leave_out_what_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "utc_now", lambda: NOW)
    least = {"run_id": "r", "workflow_id": "w", "status": "running", "current_node": "a"}
    expected = RunState("r", "w", RunStatus.RUNNING, "a", {}, created_at=NOW, updated_at=NOW)
    assert run_from_dict(least) == expected
    empty = {**dict.fromkeys(RUN_DICT), **least, "checkpoint": None}
    assert run_from_dict(empty) == expected
