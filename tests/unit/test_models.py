"""What people build workflows from: shapes, defaults and JSON forms that programs rely on."""

import inspect
import json
import re
import uuid
from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from abstractruntime.core.models import (
    Effect,
    EffectType,
    LimitWarning,
    RunState,
    RunStatus,
    StepPlan,
    StepRecord,
    StepStatus,
    WaitReason,
    WaitState,
    record_from_dict,
    record_to_dict,
    type_name,
    utc_now,
)
from tests.unit.machine.builder import (
    BEGAN,
    NOW,
    WAIT,
    WAIT_DICT,
    run_of,
)

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
REQUIRED = inspect.Parameter.empty


def signature(function: Any) -> dict[str, Any]:
    """Parameters and their defaults; those made anew each time stand as "made"."""
    return {
        name: "made" if repr(parameter.default) == "<factory>" else parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
    }


# ---- the closed sets


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (RunStatus, "running waiting completed failed cancelled"),
        (WaitReason, "event until user job subworkflow"),
        (StepStatus, "started completed waiting failed"),
        (
            EffectType,
            "wait_event wait_until ask_user llm_call tool_calls start_subworkflow call",
        ),
    ],
)
def test_members_are_their_values_in_upper_case_and_texts_themselves(
    kind: Any, values: str
) -> None:
    words = values.split()
    assert [member.value for member in kind] == words
    assert [member.name for member in kind] == [word.upper() for word in words]
    assert all(member == member.value and isinstance(member, str) for member in kind)
    assert str(kind(words[0])) == f"{kind.__name__}.{words[0].upper()}"


def test_an_effect_types_name_is_plain_text() -> None:
    assert type_name(EffectType.LLM_CALL) == "llm_call"
    assert type_name("send_mail") == "send_mail"
    assert type(type_name(EffectType.CALL)) is str


# ---- constructors


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            Effect,
            {
                "type": REQUIRED,
                "payload": "made",
                "result_key": None,
                "delivery": None,
                "retry": None,
                "timeout_s": None,
                "total_timeout_s": None,
                "heartbeat_s": None,
                "undo": None,
                "approval": None,
                "costs": None,
            },
        ),
        (
            StepPlan,
            {
                "node_id": REQUIRED,
                "effect": None,
                "next_node": None,
                "complete_output": None,
                "effects": None,
                "join": "all",
                "limit": None,
                "failures": 0,
                "into": None,
            },
        ),
        (
            WaitState,
            {
                "reason": REQUIRED,
                "wait_key": None,
                "until": None,
                "resume_to_node": None,
                "result_key": None,
                "prompt": None,
                "choices": None,
                "allow_free_text": True,
                "details": None,
            },
        ),
        (
            RunState,
            {
                "run_id": REQUIRED,
                "workflow_id": REQUIRED,
                "status": REQUIRED,
                "current_node": REQUIRED,
                "vars": "made",
                "waiting": None,
                "output": None,
                "error": None,
                "created_at": "made",
                "updated_at": "made",
                "actor_id": None,
                "session_id": None,
                "parent_run_id": None,
                "checkpoint": None,
            },
        ),
        (
            LimitWarning,
            {
                "limit_type": REQUIRED,
                "status": REQUIRED,
                "current": REQUIRED,
                "maximum": REQUIRED,
                "pct": 0.0,
            },
        ),
    ],
)
def test_a_models_fields_keep_their_order_and_defaults(kind: Any, expected: Any) -> None:
    found = signature(kind)
    assert found == expected
    assert list(found) == list(expected)


API_RECORD: dict[str, Any] = {
    "run_id": REQUIRED,
    "step_id": REQUIRED,
    "node_id": REQUIRED,
    "status": REQUIRED,
    "effect": None,
    "result": None,
    "error": None,
    "started_at": "made",
    "ended_at": None,
    "actor_id": None,
    "session_id": None,
    "attempt": 1,
    "idempotency_key": None,
    "prev_hash": None,
    "record_hash": None,
    "signature": None,
}
LATER_FIELDS = [field.name for field in fields(StepRecord)][len(API_RECORD) :]


def test_a_records_fields_are_the_apis_and_then_later_ones_that_may_be_missing() -> None:
    found = signature(StepRecord)
    assert list(found)[: len(API_RECORD)] == list(API_RECORD)
    assert found == {**API_RECORD, **dict.fromkeys(LATER_FIELDS)}
    assert {"visit", "branch", "generation", "revision", "chain", "salts"} <= set(LATER_FIELDS)


@pytest.mark.parametrize("value", [Effect("x"), StepPlan("a")])
def test_effects_and_plans_are_frozen(value: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        value.payload = 1


def test_no_two_values_share_a_default() -> None:
    assert Effect("x").payload is not Effect("x").payload
    assert run_of({}).vars is not run_of({}).vars
    assert RunState("r", "w", RunStatus.RUNNING, "a").vars == {}


def test_a_new_run_is_running_at_its_entry_under_a_fresh_uuid() -> None:
    found = RunState.new(workflow_id="wf", entry_node="a")
    assert uuid.UUID(found.run_id).version == 4
    assert RunState.new(workflow_id="wf", entry_node="a").run_id != found.run_id
    times = {"created_at": found.created_at, "updated_at": found.updated_at}
    assert found == RunState(found.run_id, "wf", RunStatus.RUNNING, "a", {}, **times)
    assert TIME.fullmatch(found.created_at)
    assert TIME.fullmatch(found.updated_at)


def test_a_new_run_takes_what_it_is_given() -> None:
    found = RunState.new(
        workflow_id="wf",
        entry_node="a",
        actor_id="ada",
        session_id="s-1",
        vars={"n": 1},
        parent_run_id="run-0",
    )
    assert (found.actor_id, found.session_id, found.parent_run_id) == ("ada", "s-1", "run-0")
    assert found.vars == {"n": 1}
    assert found.checkpoint is None


def test_now_is_utc_with_microseconds_and_offset() -> None:
    before = datetime.now(UTC)
    text = utc_now()
    after = datetime.now(UTC)
    assert TIME.fullmatch(text)
    assert before <= datetime.fromisoformat(text) <= after


@pytest.mark.parametrize(
    ("current", "maximum", "pct"),
    [(1, 3, 33.3), (2, 3, 66.7), (25, 25, 100.0), (30, 25, 120.0), (0, 25, 0.0), (1, 1, 100.0)],
)
def test_a_warning_says_how_much_is_used_up(current: int, maximum: int, pct: float) -> None:
    found = LimitWarning("iterations", "warning", current, maximum)
    assert found == LimitWarning("iterations", "warning", current, maximum, pct)
    assert found.pct == pct


def test_a_limit_of_nothing_keeps_the_share_it_was_given() -> None:
    assert LimitWarning("tokens", "warning", 1, 0).pct == 0.0
    assert LimitWarning("tokens", "warning", 1, -1, 5.0).pct == 5.0


# ---- records


def test_a_record_starts_with_the_effect_as_data() -> None:
    effect = Effect(EffectType.LLM_CALL, {"prompt": "é"}, "x")
    run = run_of()
    found = StepRecord.start(run=run, node_id="b", effect=effect)
    assert uuid.UUID(found.step_id).version == 4
    assert TIME.fullmatch(found.started_at)
    assert record_to_dict(found) == {
        "run_id": "run-1",
        "step_id": found.step_id,
        "node_id": "b",
        "status": "started",
        "effect": {"type": "llm_call", "payload": {"prompt": "é"}, "result_key": "x"},
        "result": None,
        "error": None,
        "started_at": found.started_at,
        "ended_at": None,
        "actor_id": "ada",
        "session_id": "s-1",
        "attempt": 1,
        "idempotency_key": None,
        "prev_hash": None,
        "record_hash": None,
        "signature": None,
    }
    assert list(record_to_dict(found)) == list(API_RECORD)


def test_a_record_may_start_without_an_effect_or_at_a_later_attempt() -> None:
    found = StepRecord.start(
        run=run_of(), node_id="b", effect=None, attempt=3, idempotency_key="key-1"
    )
    assert (found.effect, found.attempt, found.idempotency_key) == (None, 3, "key-1")
    assert StepRecord.start(run=run_of(), node_id="b", effect=None).step_id != found.step_id


def started() -> StepRecord:
    return StepRecord("run-1", "step-1", "a", StepStatus.STARTED, started_at=BEGAN)


def ended(record: StepRecord) -> dict[str, Any]:
    """What ending a record changed; its time of end is right."""
    assert record.ended_at is not None
    assert TIME.fullmatch(record.ended_at)
    before, after = record_to_dict(started()), record_to_dict(record)
    return {n: v for n, v in after.items() if v != before[n] and n != "ended_at"}


def test_a_record_ends_in_one_of_three_ways_and_returns_itself() -> None:
    record = started()
    assert record.finish_success({"v": 1}) is record
    assert ended(record) == {"status": "completed", "result": {"v": 1}}
    assert ended(started().finish_success()) == {"status": "completed"}
    record = started()
    assert record.finish_waiting(WAIT) is record
    assert ended(record) == {"status": "waiting", "result": {"wait": WAIT_DICT}}
    record = started()
    assert record.finish_failure("no luck") is record
    assert ended(record) == {"status": "failed", "error": "no luck"}


def test_a_failure_keeps_the_result_there_was() -> None:
    record = started()
    record.result = {"partly": 1}
    assert ended(record.finish_failure("x")) == {
        "status": "failed",
        "error": "x",
        "result": {"partly": 1},
    }


def test_later_fields_are_written_when_they_are_set() -> None:
    values: dict[str, Any] = {name: f"value of {name}" for name in LATER_FIELDS}
    record = replace(started(), **values)
    data = record_to_dict(record)
    assert data == {**record_to_dict(started()), **values}
    assert list(data) == [*API_RECORD, *LATER_FIELDS]
    assert record_to_dict(replace(started(), visit=0))["visit"] == 0


def test_a_record_comes_back_from_its_json() -> None:
    record = replace(started(), visit=2, effect={"type": "x"}, ended_at=NOW)
    data = json.loads(json.dumps(record_to_dict(record)))
    found = record_from_dict({**data, "of a later version": 1})
    assert found == record
    assert found.status is StepStatus.STARTED
    assert data["status"] == "started"
