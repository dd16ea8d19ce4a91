"""The kernel's part of a stored run, and its compact JSON form."""

from dataclasses import replace
from typing import Any

import pytest

from abstractruntime.core.checkpoint import MAIN, Checkpoint, Driver, OpenStep, OpenWait
from abstractruntime.errors import InvalidTime
from tests.unit.machine.builder import BEGAN, DRIVER, LATER, NOW, OPEN_WAIT, STEP

STEP_DICT: dict[str, Any] = {
    "step_id": "step-1",
    "node_id": "a",
    "visit": 2,
    "effect": {"type": "call", "payload": {"n": 1}, "result_key": "out.value"},
    "key": "key-1",
    "started_at": BEGAN,
    "opened": 3,
    "next_node": "b",
    "salt": "5a17",
}
WAIT_DICT = {
    "wait_id": "wait-1",
    "step_id": "step-1",
    "node_id": "a",
    "visit": 2,
    "opened": 3,
    "key": "user:a",
}
DRIVER_DICT = {"host": "here/1", "boot": "boot-1", "pid": 42, "started": "100", "token": "flow-1"}
FULL = Checkpoint(
    revision=7,
    generation=2,
    visits={"a": 2},
    entered=True,
    open_steps={MAIN: STEP},
    waits={"left": OPEN_WAIT},
    driver=DRIVER,
    chain_head="c0ffee",
    recall=0,
    version="v2",
    reports_to="up",
    linked=1,
    evidence=3,
    digest="d",
    queued_at=LATER,
)
FULL_DICT: dict[str, Any] = {
    "revision": 7,
    "generation": 2,
    "visits": {"a": 2},
    "entered": True,
    "open_steps": {MAIN: STEP_DICT},
    "waits": {"left": WAIT_DICT},
    "driver": DRIVER_DICT,
    "chain_head": "c0ffee",
    "recall": 0,
    "version": "v2",
    "reports_to": "up",
    "digest": "d",
    "queued_at": LATER,
    "linked": 1,
}


def test_the_main_branch_has_the_empty_name() -> None:
    assert MAIN == ""


def test_a_driver_comes_back_from_its_json() -> None:
    assert DRIVER.to_dict() == DRIVER_DICT
    assert Driver.from_dict({**DRIVER_DICT, "later": 1}) == DRIVER


def test_an_open_step_leaves_out_what_stands_at_its_default() -> None:
    assert STEP.to_dict() == STEP_DICT
    bare = replace(STEP, next_node=None, salt=None)
    without = {n: v for n, v in STEP_DICT.items() if n not in ("next_node", "salt")}
    assert bare.to_dict() == without
    full = replace(STEP, attempt=2, wake_at=LATER, child="run-2")
    assert full.to_dict() == {**STEP_DICT, "attempt": 2, "wake_at": LATER, "child": "run-2"}


def test_an_open_step_can_stand_without_its_payload() -> None:
    effect = {"type": "call", "result_key": "out.value"}
    assert STEP.to_dict(payload=False) == {**STEP_DICT, "effect": effect}


def test_an_open_step_comes_back_from_its_json() -> None:
    for step in (
        STEP,
        replace(STEP, next_node=None, salt=None),
        replace(STEP, attempt=2, wake_at=LATER, child="run-2"),
    ):
        assert OpenStep.from_dict({**step.to_dict(), "later": 1}) == step


def test_an_open_wait_comes_back_from_its_json() -> None:
    assert OPEN_WAIT.to_dict() == WAIT_DICT
    bare = OpenWait("w", "s", "n", 0, 0)
    assert bare.to_dict() == {
        "wait_id": "w",
        "step_id": "s",
        "node_id": "n",
        "visit": 0,
        "opened": 0,
    }
    full = replace(OPEN_WAIT, child="run-2")
    assert full.to_dict() == {**WAIT_DICT, "child": "run-2"}
    for wait in (OPEN_WAIT, bare, full):
        assert OpenWait.from_dict({**wait.to_dict(), "later": 1}) == wait


def test_a_fresh_checkpoint_is_its_revision() -> None:
    assert Checkpoint().to_dict() == {"revision": 0}
    assert Checkpoint.from_dict({}) == Checkpoint() == Checkpoint.from_dict({"revision": 0})


def test_a_full_checkpoint_says_everything_but_the_evidence() -> None:
    assert FULL.to_dict() == FULL_DICT
    assert list(FULL.to_dict()) == list(FULL_DICT)


def test_payloads_of_open_steps_can_be_left_out() -> None:
    slim = {**STEP_DICT, "effect": {"type": "call", "result_key": "out.value"}}
    assert FULL.to_dict(payloads=False) == {**FULL_DICT, "open_steps": {MAIN: slim}}


def fields_of(kernel: Checkpoint) -> dict[str, Any]:
    return {name: getattr(kernel, name) for name in kernel.__slots__}


def test_a_checkpoint_comes_back_from_its_json() -> None:
    found = Checkpoint.from_dict({**FULL_DICT, "later": 1})
    assert fields_of(found) == fields_of(replace(FULL, evidence=0))
    told = Checkpoint.from_dict({**FULL_DICT, "evidence": 3})
    assert fields_of(told) == fields_of(FULL)


def test_a_store_may_hand_back_the_values_inside_as_they_are() -> None:
    parts = {
        **FULL_DICT,
        "open_steps": {MAIN: STEP},
        "waits": {"left": OPEN_WAIT},
        "driver": DRIVER,
        "evidence": 3,
    }
    assert fields_of(Checkpoint.from_dict(parts)) == fields_of(FULL)


def test_empty_maps_and_no_driver_come_back_empty() -> None:
    data = {"visits": None, "open_steps": None, "waits": None, "driver": None}
    assert fields_of(Checkpoint.from_dict(data)) == fields_of(Checkpoint())


def test_the_json_shares_no_counters_with_the_checkpoint() -> None:
    visits = {"a": 1}
    kernel = Checkpoint(visits=visits)
    kernel.to_dict()["visits"]["a"] = 9
    Checkpoint.from_dict({"visits": visits}).visits["a"] = 9  # type: ignore[index]
    assert visits == {"a": 1}


def test_coercion_takes_the_object_itself_or_its_json() -> None:
    assert Checkpoint.coerce(FULL) is FULL
    assert Checkpoint.coerce(FULL_DICT) == replace(FULL, evidence=0)


def test_the_digest_alone_makes_no_other_checkpoint() -> None:
    assert replace(FULL, digest="other") == FULL
    assert replace(FULL, linked=2) != FULL


# ---- when a clock moves the run


def test_a_run_without_times_is_never_due() -> None:
    assert Checkpoint(open_steps={MAIN: STEP}).wake_at(None) is None


def test_a_run_is_due_at_the_earliest_of_its_times() -> None:
    retry = replace(STEP, wake_at=NOW)
    assert Checkpoint(open_steps={MAIN: retry}).wake_at(None) == NOW
    assert Checkpoint(open_steps={MAIN: STEP, "left": retry}).wake_at(None) == NOW
    assert Checkpoint(open_steps={MAIN: retry}).wake_at(LATER) == NOW
    assert Checkpoint(open_steps={MAIN: retry}).wake_at(BEGAN) == BEGAN
    assert Checkpoint(queued_at=LATER).wake_at(None) == LATER
    assert Checkpoint(open_steps={MAIN: retry}, queued_at=LATER).wake_at(None) == NOW
    assert Checkpoint(open_steps={MAIN: retry}, queued_at=BEGAN).wake_at(LATER) == BEGAN


def test_the_time_of_a_wait_is_brought_to_normal_form_first() -> None:
    assert Checkpoint().wake_at("2026-01-03T01:00:00+01:00") == NOW
    assert Checkpoint(queued_at=BEGAN).wake_at("2026-01-01T23:59:59-01:00") == BEGAN


def test_a_wait_until_no_time_is_refused_by_name() -> None:
    with pytest.raises(InvalidTime) as caught:
        Checkpoint().wake_at("soon")
    assert caught.value.message == "waiting.until is not an ISO-8601 time: 'soon'"
