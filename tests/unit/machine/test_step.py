"""One effect at one visit: its intent, its attempts and its outcome."""

from dataclasses import replace
from typing import Any

import pytest

from abstractruntime.core.checkpoint import MAIN, OpenStep, OpenWait
from abstractruntime.core.machine import step
from abstractruntime.core.models import RunStatus, WaitReason, WaitState
from abstractruntime.errors import LimitExceeded, NotJson, Refused
from tests.unit.machine.builder import (
    DRIVER,
    EFFECT,
    LATER,
    NOW,
    OTHER_BRANCH,
    STEP,
    WAIT,
    WAIT_DICT,
    changes,
    checkpoint,
    draft_of,
    ids,
    line,
    planned,
    record,
    step_record,
    stepping,
    whole,
)

LEFT = replace(STEP, step_id="step-of-left")
BOTH = {OTHER_BRANCH: LEFT, MAIN: STEP}


def two_branches() -> Any:
    return draft_of(kernel=checkpoint(open_steps=BOTH, driver=DRIVER))


# ---- intents


def test_an_intent_is_a_started_record_and_the_whole_plan_as_open_step() -> None:
    draft = draft_of(kernel=checkpoint(open_steps={OTHER_BRANCH: LEFT}, queued_at=LATER))
    before = whole(draft)
    made = step.intend(draft, planned(), step_id="step-1", key="key-1", now=NOW, salt="5a17")
    expected = OpenStep(
        step_id="step-1",
        node_id="a",
        visit=2,
        effect=EFFECT,
        key="key-1",
        started_at=NOW,
        opened=4,
        next_node="b",
        attempt=1,
        wake_at=None,
        child=None,
        salt="5a17",
    )
    assert made == expected
    assert changes(before, draft) == {
        "open_steps": {OTHER_BRANCH: LEFT, MAIN: expected},
        "queued_at": None,
        "lines": [
            line(
                step_record("started", started_at=NOW, next_node="b"),
                payload=b'{"n":1}',
                salt="5a17",
                form=b'{"n":1}',
            )
        ],
        "weight": 7,
    }


def test_an_intent_may_come_from_elsewhere_than_a_plain_first_attempt() -> None:
    draft = draft_of(kernel=checkpoint(generation=3))
    draft.weight = 100
    before = whole(draft)
    plan = planned({"b": 1, "a": 2}, next_node=None, result_key=None)
    made = step.intend(
        draft, plan, step_id="s", key="k", now=NOW, own_key=True, attempt=2, child="run-2"
    )
    effect = {"type": "call", "payload": {"b": 1, "a": 2}, "result_key": None}
    expected = OpenStep("s", "a", 2, effect, "k", NOW, 4, attempt=2, child="run-2")
    assert made == expected
    started = step_record(
        "started",
        step_id="s",
        effect=effect,
        started_at=NOW,
        attempt=2,
        idempotency_key="k",
        generation=3,
    )
    assert changes(before, draft) == {
        "open_steps": {MAIN: expected},
        "lines": [line(started, payload=b'{"b":1,"a":2}', own_key=True, form=b'{"a":2,"b":1}')],
        "weight": 100 + 13,
    }


def test_the_fields_of_a_steps_record_keep_the_apis_order() -> None:
    draft = draft_of()
    step.intend(draft, planned(), step_id="step-1", key="key-1", now=NOW)
    assert list(draft.lines[0].record) == [*record(), "visit", "next_node"]


def test_an_intent_at_a_node_the_host_jumped_to_counts_the_visit() -> None:
    draft = draft_of(kernel=checkpoint(entered=False))
    made = step.intend(draft, planned(), step_id="s", key="k", now=NOW)
    assert made.visit == 3
    assert draft.visits == {"a": 3}
    assert draft.entered


def test_a_due_attempt_is_another_started_record_of_the_same_step() -> None:
    due = replace(STEP, attempt=2, wake_at=LATER)
    draft = draft_of(kernel=checkpoint(open_steps={MAIN: due, OTHER_BRANCH: LEFT}))
    before = whole(draft)
    made = step.retry(draft, due, now=LATER)
    expected = replace(STEP, attempt=2, wake_at=None, started_at=LATER)
    assert made == expected
    assert changes(before, draft) == {
        "open_steps": {MAIN: expected, OTHER_BRANCH: LEFT},
        "lines": [line(step_record("started", started_at=LATER, attempt=2), opened=3, salt="5a17")],
        "weight": 512,
    }


# ---- outcomes


def test_a_result_is_recorded_stored_and_the_run_goes_on() -> None:
    draft = two_branches()
    draft.weight = 100
    before = whole(draft)
    step.complete(draft, STEP, {"pair": (1, 2)}, now=NOW)
    assert changes(before, draft) == {
        "lines": [
            line(
                step_record("completed", result={"pair": [1, 2]}),
                result=b'{"pair":[1,2]}',
                opened=3,
                salt="5a17",
            )
        ],
        "open_steps": {OTHER_BRANCH: LEFT},
        "vars": {"n": 1, "out": {"value": {"pair": [1, 2]}}},
        "_results": [("out.value", b'{"pair":[1,2]}')],
        "absorbed": False,
        "current_node": "b",
        "visits": {"a": 2, "b": 1},
        "weight": 100 + 512 + 14,
    }


def test_the_recorded_result_and_the_stored_one_share_nothing() -> None:
    draft = stepping()
    result: dict[str, Any] = {"list": [1]}
    step.complete(draft, STEP, result, now=NOW)
    result["list"].append(2)
    draft.run.vars["out"]["value"]["list"].append(3)
    assert draft.lines[0].record["result"] == {"list": [1]}


def test_a_result_of_none_is_recorded_and_not_stored() -> None:
    draft = stepping()
    before = whole(draft)
    step.complete(draft, STEP, None, now=NOW)
    assert changes(before, draft) == {
        "lines": [line(step_record("completed"), opened=3, salt="5a17")],
        "open_steps": {},
        "current_node": "b",
        "visits": {"a": 2, "b": 1},
        "weight": 512,
    }


@pytest.mark.parametrize("result", [False, 0, "", {}, []])
def test_an_empty_result_is_stored(result: Any) -> None:
    draft = stepping()
    step.complete(draft, STEP, result, now=NOW)
    assert draft.run.vars == {"n": 1, "out": {"value": result}}
    assert draft.lines[0].record["result"] == result


def test_a_result_without_a_key_is_recorded_only() -> None:
    plain = replace(STEP, effect={**EFFECT, "result_key": None})
    draft = stepping(plain)
    step.complete(draft, plain, 7, now=NOW)
    assert draft.run.vars == {"n": 1}
    assert draft.absorbed
    assert draft.lines[0].record["result"] == 7


def test_a_step_without_a_next_node_enters_its_own_node_again() -> None:
    stays = replace(STEP, next_node=None)
    draft = stepping(stays)
    step.complete(draft, stays, None, now=NOW)
    assert draft.run.current_node == "a"
    assert draft.visits == {"a": 3}


def test_records_of_a_later_generation_say_so() -> None:
    draft = stepping(generation=2)
    step.complete(draft, STEP, None, now=NOW)
    expected = step_record("completed", generation=2)
    assert whole(draft)["lines"] == [line(expected, opened=3, salt="5a17")]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(("result", "fault"), [({"x": {1}}, NotJson), (nested(201), LimitExceeded)])
def test_a_result_that_cannot_be_stored_is_refused_and_nothing_changes(
    result: Any, fault: type[Exception]
) -> None:
    draft = two_branches()
    before = whole(draft)
    with pytest.raises(fault) as caught:
        step.complete(draft, STEP, result, now=NOW)
    assert caught.value.where["path"].startswith("$.result")  # type: ignore[attr-defined]
    assert changes(before, draft) == {}


def test_a_result_too_deep_for_its_place_in_vars_is_refused_at_once() -> None:
    draft = stepping()
    before = whole(draft)
    with pytest.raises(LimitExceeded):
        step.complete(draft, STEP, nested(200), now=NOW)
    assert changes(before, draft) == {"absorbed": False}  # it is looked at once more, no harm
    draft.absorb()
    assert changes(before, draft) == {}


# ---- waits


def test_a_wait_is_recorded_and_opened_under_the_steps_id() -> None:
    draft = two_branches()
    before = whole(draft)
    step.wait(draft, STEP, WAIT, now=NOW)
    text = (
        b'{"wait":{"reason":"user","wait_key":"user:a","until":null,"resume_to_node":"b",'
        b'"result_key":"said.last","prompt":"Well?","choices":null,"allow_free_text":true,'
        b'"details":null}}'
    )
    assert changes(before, draft) == {
        "lines": [
            line(
                step_record("waiting", result={"wait": WAIT_DICT}),
                result=text,
                opened=3,
                salt="5a17",
            )
        ],
        "open_steps": {OTHER_BRANCH: LEFT},
        "waits": {
            MAIN: OpenWait(
                wait_id="step-1", step_id="step-1", node_id="a", visit=2, opened=4, key="user:a"
            )
        },
        "status": "waiting",
        "waiting": WAIT_DICT,
        "weight": 512 + len(text),
    }


def test_a_wait_for_a_child_names_it_and_leaves_other_branches_waiting() -> None:
    other = OpenWait("w", "s", "n", 1, 1)
    child = replace(STEP, child="run-2")
    draft = draft_of(kernel=checkpoint(open_steps={MAIN: child}, waits={OTHER_BRANCH: other}))
    step.wait(draft, child, WaitState(WaitReason.SUBWORKFLOW), now=NOW)
    assert draft.waits == {
        OTHER_BRANCH: other,
        MAIN: OpenWait("step-1", "step-1", "a", 2, 4, None, "run-2"),
    }
    assert draft.waits[MAIN].child == "run-2"


def test_the_wait_of_a_run_is_a_copy_of_what_the_handler_gave() -> None:
    draft = stepping()
    choices = ("yes", "no")
    details: dict[str, Any] = {"list": [1]}
    given = replace(WAIT, choices=choices, details=details)  # type: ignore[arg-type]
    step.wait(draft, STEP, given, now=NOW)
    details["list"].append(2)
    assert draft.run.waiting == replace(WAIT, choices=["yes", "no"], details={"list": [1]})


def test_a_wait_that_cannot_be_stored_is_refused_and_nothing_changes() -> None:
    draft = two_branches()
    before = whole(draft)
    with pytest.raises(NotJson) as caught:
        step.wait(draft, STEP, replace(WAIT, details={"x": {1}}), now=NOW)
    assert caught.value.where["path"] == "$.waiting.wait.details.x"
    assert changes(before, draft) == {}


def test_an_ended_run_does_not_wait() -> None:
    draft = draft_of(status=RunStatus.CANCELLED)
    with pytest.raises(Refused):
        step.wait(draft, STEP, WAIT, now=NOW)
    assert draft.run.status is RunStatus.CANCELLED


# ---- failed attempts


def test_a_failed_attempt_leaves_the_step_open_for_the_next_one() -> None:
    draft = two_branches()
    before = whole(draft)
    made = step.fail_attempt(draft, STEP, "no luck", now=NOW, next_at=LATER)
    expected = replace(STEP, attempt=2, wake_at=LATER)
    assert made == expected
    assert changes(before, draft) == {
        "lines": [
            line(step_record("failed", error="no luck", next_at=LATER), opened=3, salt="5a17")
        ],
        "open_steps": {OTHER_BRANCH: LEFT, MAIN: expected},
        "weight": 512,
    }


def test_the_last_failed_attempt_closes_the_step_and_leaves_the_run_to_others() -> None:
    draft = two_branches()
    before = whole(draft)
    last = replace(STEP, attempt=3)
    assert step.fail_attempt(draft, last, "no luck", now=NOW, next_at=None) is None
    assert changes(before, draft) == {
        "lines": [line(step_record("failed", error="no luck", attempt=3), opened=3, salt="5a17")],
        "open_steps": {OTHER_BRANCH: LEFT},
        "weight": 512,
    }


# ---- recalled outcomes


def test_a_recorded_outcome_is_taken_as_if_the_effect_had_been_performed() -> None:
    draft = draft_of(kernel=checkpoint(entered=False, recall=1))
    before = whole(draft)
    found = step_record("completed", step_id="step-0", result={"v": 1})
    step.recall(draft, planned(), found, now=NOW, ids=ids())
    note = record(result={"kind": "recalled", "step_id": "step-0"}, visit=3)
    assert changes(before, draft) == {
        "lines": [line(note)],
        "vars": {"n": 1, "out": {"value": {"v": 1}}},
        "_results": [("out.value", b'{"v":1}')],
        "absorbed": False,
        "current_node": "b",
        "visits": {"a": 3, "b": 1},
        "entered": True,
        "weight": 512,
    }


@pytest.mark.parametrize("result", [None, {"v": 1}])
def test_a_recorded_outcome_without_a_place_is_not_stored(result: Any) -> None:
    draft = draft_of()
    plan = planned(next_node=None, result_key=None if result else "out.value")
    step.recall(draft, plan, step_record("completed", result=result), now=NOW, ids=ids())
    assert draft.run.vars == {"n": 1}
    assert draft.absorbed
    assert draft.run.current_node == "a"
    assert draft.visits == {"a": 3}


def test_a_record_without_a_result_can_be_recalled() -> None:
    draft = draft_of()
    step.recall(draft, planned(), {"step_id": "step-0"}, now=NOW, ids=ids())
    assert draft.run.vars == {"n": 1}
    assert draft.run.current_node == "b"


@pytest.mark.parametrize("result", [False, 0, "", {}, []])
def test_an_empty_recorded_outcome_is_stored(result: Any) -> None:
    draft = draft_of()
    step.recall(draft, planned(), step_record("completed", result=result), now=NOW, ids=ids())
    assert draft.run.vars == {"n": 1, "out": {"value": result}}


def test_closing_takes_the_main_branchs_step_only() -> None:
    draft = two_branches()
    before = whole(draft)
    main = draft.open_steps[MAIN]
    step.close(draft, main)
    assert changes(before, draft) == {"open_steps": {OTHER_BRANCH: LEFT}}
    step.close(draft, main)
    assert draft.open_steps == {OTHER_BRANCH: LEFT}
