"""A waiting run moves on: an answer, a due timer, the end of a child."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from abstractruntime.core.checkpoint import MAIN, OpenWait
from abstractruntime.core.commit import Message
from abstractruntime.core.machine import wait
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.models import RunStatus, WaitReason, WaitState
from abstractruntime.errors import (
    ChoiceRefused,
    LimitExceeded,
    NotJson,
    NotWaiting,
    StaleAnswer,
    WaitKeyMismatch,
)
from tests.unit.machine.builder import (
    LATER,
    NOW,
    OPEN_WAIT,
    OTHER_BRANCH,
    WAIT,
    WAIT_DICT,
    changes,
    checkpoint,
    draft_of,
    line,
    record,
    waiting,
    whole,
)

OTHER_WAIT = OpenWait("wait-of-left", "step-of-left", "a", 2, 3)
WENT_ON: dict[str, Any] = {
    "status": "running",
    "waiting": None,
    "waits": {},
    "current_node": "b",
    "visits": {"a": 2, "b": 1},
    "absorbed": False,
}


def checks(draft: Draft, payload: Any = "yes", **given: Any) -> dict[str, Any]:
    """What checking an answer changed."""
    before = whole(draft)
    wait.check_answer(draft, payload=payload, **{"wait_key": None, "wait_id": None, **given})
    return changes(before, draft)


def refused(draft: Draft, fault: type[Exception], payload: Any = "yes", **given: Any) -> Any:
    """The refusal of an answer; the draft is as it was."""
    before = whole(draft)
    with pytest.raises(fault) as caught:
        wait.check_answer(draft, payload=payload, **{"wait_key": None, "wait_id": None, **given})
    assert type(caught.value) is fault
    assert changes(before, draft) == {}
    return caught.value


# ---- what may answer


def test_a_right_answer_passes_and_changes_nothing() -> None:
    assert checks(waiting()) == {}
    assert checks(waiting(), wait_key="user:a", wait_id="wait-1") == {}
    assert checks(waiting(opened=None), wait_key="user:a") == {}


@pytest.mark.parametrize("status", [each for each in RunStatus if each is not RunStatus.WAITING])
def test_only_a_waiting_run_takes_an_answer(status: RunStatus) -> None:
    said = refused(draft_of(status=status, waiting=deepcopy(WAIT)), NotWaiting)
    assert said.message == "Run is not waiting"
    assert said.where == {"run_id": "run-1", "status": status.value}


def test_a_waiting_run_without_a_wait_takes_no_answer() -> None:
    said = refused(draft_of(status=RunStatus.WAITING), NotWaiting)
    assert said.message == "Run is not waiting"
    assert said.where == {"run_id": "run-1", "status": "waiting"}


def test_another_wait_key_is_refused() -> None:
    said = refused(waiting(), WaitKeyMismatch, wait_key="user:b")
    assert said.message == "wait_key mismatch: expected 'user:a', got 'user:b'"
    assert said.where == {"run_id": "run-1"}
    unkeyed = refused(waiting(replace(WAIT, wait_key=None)), WaitKeyMismatch, wait_key="")
    assert unkeyed.message == "wait_key mismatch: expected 'None', got ''"


def test_an_answer_to_another_wait_is_stale() -> None:
    said = refused(waiting(), StaleAnswer, wait_key="user:a", wait_id="wait-0")
    assert said.message == "The answer is for wait 'wait-0', which is not open any more"
    assert said.where == {"run_id": "run-1", "expected": "wait-1"}


def test_an_answer_to_a_named_wait_is_stale_where_no_wait_has_a_name() -> None:
    said = refused(waiting(opened=None), StaleAnswer, wait_id="wait-0")
    assert said.where == {"run_id": "run-1"}
    elsewhere = draft_of(
        kernel=checkpoint(waits={OTHER_BRANCH: OPEN_WAIT}),
        status=RunStatus.WAITING,
        waiting=deepcopy(WAIT),
    )
    refused(elsewhere, StaleAnswer, wait_id="wait-1")


CHOICES = replace(WAIT, choices=["yes", "no"], allow_free_text=False)


@pytest.mark.parametrize(
    "payload",
    [
        "yes",
        {"choice": "no"},
        {"response": "no"},
        {"answer": "no"},
        {"text": "no"},
        {"choice": "maybe", "text": "yes"},
        {"choice": None, "answer": "yes", "more": 1},
    ],
)
def test_one_of_the_choices_is_an_answer(payload: Any) -> None:
    assert checks(waiting(CHOICES), payload) == {}


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        ("maybe", ["maybe"]),
        ("", [""]),
        (None, None),
        (["yes"], ["yes"]),
        (1, 1),
        ({}, {}),
        ({"other": "yes"}, {"other": "yes"}),
        ({"choice": "maybe", "text": "never"}, ["maybe", "never"]),
        ({"choice": ["yes"]}, [["yes"]]),
        ({"choice": None}, [None]),
    ],
)
def test_anything_else_is_refused_where_free_text_is_not_allowed(payload: Any, found: Any) -> None:
    said = refused(waiting(CHOICES), ChoiceRefused, payload)
    assert said.message == "The answer must be one of ['yes', 'no']"
    expected = {"run_id": "run-1", "found": found}
    assert said.where == {name: value for name, value in expected.items() if value is not None}


def test_free_text_is_taken_where_it_is_allowed_or_nothing_else_is_offered() -> None:
    assert checks(waiting(replace(CHOICES, allow_free_text=True)), "maybe") == {}
    assert checks(waiting(replace(CHOICES, choices=[])), "maybe") == {}
    assert checks(waiting(replace(CHOICES, choices=None)), "maybe") == {}


# ---- answers


def test_an_answer_is_recorded_stored_and_the_run_goes_on() -> None:
    draft = waiting()
    draft.waits = {OTHER_BRANCH: OTHER_WAIT, MAIN: OPEN_WAIT}
    before = whole(draft)
    payload = {"pair": (1, 2)}
    wait.answer(draft, payload, now=NOW, line_id="line-1", actor_id="bob")
    note = record(
        result={
            "kind": "resumed",
            "wait_key": "user:a",
            "wait_id": "wait-1",
            "cause": "answer",
            "payload": {"pair": [1, 2]},
        },
        actor_id="bob",
    )
    assert changes(before, draft) == {
        **WENT_ON,
        "waits": {OTHER_BRANCH: OTHER_WAIT},
        "lines": [line(note)],
        "vars": {"n": 1, "said": {"last": {"pair": [1, 2]}}},
        "_results": [("said.last", b'{"pair":[1,2]}')],
        "weight": 512 + 14,
    }


def test_an_answer_to_a_wait_without_key_id_place_or_next_node() -> None:
    bare = WaitState(WaitReason.EVENT)
    draft = waiting(bare, opened=None)
    before = whole(draft)
    wait.answer(draft, "hello", now=NOW, line_id="line-1", cause="message")
    note = record(result={"kind": "resumed", "cause": "message", "payload": "hello"})
    assert changes(before, draft) == {
        "lines": [line(note)],
        "status": "running",
        "waiting": None,
        "visits": {"a": 3},
        "weight": 512 + 7,
    }


@pytest.mark.parametrize("payload", [None, False, 0, "", {}])
def test_an_empty_answer_is_stored(payload: Any) -> None:
    draft = waiting(vars={"said": "something in the way"})
    wait.answer(draft, payload, now=NOW, line_id="line-1")
    assert draft.run.vars == {"said": {"last": payload}}
    assert draft.lines[0].record["result"].get("payload") == payload


def test_the_recorded_answer_and_the_stored_one_share_nothing() -> None:
    draft = waiting()
    payload: dict[str, Any] = {"list": [1]}
    wait.answer(draft, payload, now=NOW, line_id="line-1")
    payload["list"].append(2)
    draft.run.vars["said"]["last"]["list"].append(3)
    assert draft.lines[0].record["result"]["payload"] == {"list": [1]}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("payload", "fault"), [({"x": {1}}, NotJson), (nested(201), LimitExceeded)]
)
def test_an_answer_that_cannot_be_stored_is_refused_and_nothing_changes(
    payload: Any, fault: type[Exception]
) -> None:
    draft = waiting()
    before = whole(draft)
    with pytest.raises(fault) as caught:
        wait.answer(draft, payload, now=NOW, line_id="line-1")
    assert caught.value.where["path"].startswith("$.payload")  # type: ignore[attr-defined]
    assert changes(before, draft) == {}


def test_an_answer_too_deep_for_its_place_in_vars_is_refused_at_once() -> None:
    draft = waiting()
    before = whole(draft)
    with pytest.raises(LimitExceeded):
        wait.answer(draft, nested(200), now=NOW, line_id="line-1")
    assert changes(before, draft) == {"absorbed": False}  # it is looked at once more, no harm
    draft.absorb()
    assert changes(before, draft) == {}


MOVES: dict[str, Any] = {
    "answer": lambda draft: wait.answer(draft, 1, now=NOW, line_id="l"),
    "fire": lambda draft: wait.fire(draft, now=NOW, line_id="l"),
    "update_child": lambda draft: wait.update_child(draft, None, now=NOW, line_id="l"),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_run_without_a_wait_is_moved_on_by_nothing(move: str) -> None:
    draft = draft_of()
    before = whole(draft)
    with pytest.raises(NotWaiting) as caught:
        MOVES[move](draft)
    assert caught.value.message == "Run is not waiting"
    assert caught.value.where == {"run_id": "run-1"}
    assert changes(before, draft) == {}


# ---- timers


def test_a_due_wait_goes_on_with_its_time_as_result() -> None:
    timed = replace(WAIT, reason=WaitReason.UNTIL, wait_key=None, until=LATER)
    draft = waiting(timed)
    before = whole(draft)
    wait.fire(draft, now=LATER, line_id="line-1")
    result = {"until": LATER, "ready": True}
    note = record(
        result={"kind": "resumed", "wait_id": "wait-1", "cause": "timer", "payload": result},
        started_at=LATER,
        ended_at=LATER,
    )
    assert changes(before, draft) == {
        **WENT_ON,
        "lines": [line(note)],
        "vars": {"n": 1, "said": {"last": result}},
        "_results": [("said.last", f'{{"until":"{LATER}","ready":true}}'.encode())],
        "weight": 512,
    }


# ---- children

CHILD_WAIT = WaitState(
    WaitReason.SUBWORKFLOW,
    wait_key="subworkflow:run-2",
    resume_to_node="b",
    result_key="child",
    details={"sub_run_id": "run-2", "sub_waiting": {"reason": "event", "wait_key": "go"}},
)


def end_of_child(**payload: Any) -> Message:
    return Message("message-1", "run-1", "subworkflow:run-2", payload, NOW, sent_by="run-2")


def test_the_end_of_a_child_is_its_parents_answer_and_uses_the_message_up() -> None:
    draft = waiting(CHILD_WAIT)
    before = whole(draft)
    message = end_of_child(sub_run_id="run-2", output={"o": 1}, status="completed")
    wait.child_completed(draft, message, now=NOW, line_id="line-1")
    answer = {"sub_run_id": "run-2", "output": {"o": 1}}
    note = record(
        result={
            "kind": "resumed",
            "wait_key": "subworkflow:run-2",
            "wait_id": "wait-1",
            "cause": "child",
            "payload": answer,
        }
    )
    text = b'{"sub_run_id":"run-2","output":{"o":1}}'
    assert changes(before, draft) == {
        **WENT_ON,
        "lines": [line(note)],
        "consumed": ["message-1"],
        "vars": {"n": 1, "child": answer},
        "_results": [("child", text)],
        "weight": 512 + len(text),
    }


def test_a_child_that_says_no_output_has_none() -> None:
    draft = waiting(CHILD_WAIT)
    wait.child_completed(draft, end_of_child(sub_run_id="run-2"), now=NOW, line_id="line-1")
    assert draft.run.vars["child"] == {"sub_run_id": "run-2", "output": None}


def test_a_refused_child_answer_uses_up_no_message() -> None:
    draft = waiting(CHILD_WAIT)
    before = whole(draft)
    with pytest.raises(NotJson):
        wait.child_completed(
            draft, end_of_child(sub_run_id="run-2", output={1}), now=NOW, line_id="line-1"
        )
    assert changes(before, draft) == {}


def test_what_an_awaited_child_waits_for_is_kept_in_the_waits_details() -> None:
    draft = waiting(CHILD_WAIT)
    before = whole(draft)
    waits_for = {"reason": "user", "wait_key": "user:x"}
    assert wait.update_child(draft, waits_for, now=NOW, line_id="line-1") is True
    expected = {**WAIT_DICT, **_public(CHILD_WAIT)}
    expected["details"] = {"sub_run_id": "run-2", "sub_waiting": waits_for}
    note = record(result={"kind": "child_waits", "sub_waiting": waits_for})
    assert changes(before, draft) == {"waiting": expected, "lines": [line(note)], "weight": 512}
    assert before["waiting"]["details"]["sub_waiting"] == {"reason": "event", "wait_key": "go"}


def test_a_child_that_waits_as_before_is_no_news() -> None:
    draft = waiting(CHILD_WAIT)
    before = whole(draft)
    same = {"reason": "event", "wait_key": "go"}
    assert wait.update_child(draft, same, now=NOW, line_id="line-1") is False
    assert changes(before, draft) == {}


def test_a_wait_without_details_gets_them() -> None:
    draft = waiting(replace(CHILD_WAIT, details=None))
    assert wait.update_child(draft, {"reason": "event"}, now=NOW, line_id="line-1") is True
    assert draft.run.waiting is not None
    assert draft.run.waiting.details == {"sub_waiting": {"reason": "event"}}


def _public(state: WaitState) -> dict[str, Any]:
    return {
        "reason": state.reason.value,
        "wait_key": state.wait_key,
        "resume_to_node": state.resume_to_node,
        "result_key": state.result_key,
        "prompt": state.prompt,
    }
