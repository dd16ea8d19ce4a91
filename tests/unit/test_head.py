"""The small, often changing part of a run, and what changed between two of them."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abstractruntime.core.checkpoint import MAIN, Checkpoint, Driver, OpenStep, OpenWait
from abstractruntime.core.head import FIXED, apply_changed, changed, head_of, run_from_head
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState, run_to_dict
from tests.unit.machine.builder import (
    BEGAN,
    DRIVER,
    OPEN_WAIT,
    STEP,
    WAIT,
    WAIT_DICT,
    checkpoint,
    run_of,
)

FULL = replace(
    run_of({"n": 1}, checkpoint(open_steps={MAIN: STEP}, waits={MAIN: OPEN_WAIT}, driver=DRIVER)),
    status=RunStatus.WAITING,
    waiting=WAIT,
    output={"o": 1},
    error="e",
    parent_run_id="run-0",
)


def fixed_of(run: RunState) -> dict[str, Any]:
    return {name: getattr(run, name) for name in FIXED}


# ---- heads


def test_a_head_is_all_of_a_run_but_its_vars_and_its_fixed_fields() -> None:
    assert head_of(FULL) == {
        "status": "waiting",
        "current_node": "a",
        "updated_at": BEGAN,
        "waiting": WAIT_DICT,
        "output": {"o": 1},
        "error": "e",
        "checkpoint": {
            "revision": 3,
            "visits": {"a": 2},
            "entered": True,
            "open_steps": {
                MAIN: {
                    "step_id": "step-1",
                    "node_id": "a",
                    "visit": 2,
                    "effect": {"type": "call", "result_key": "out.value"},
                    "key": "key-1",
                    "started_at": BEGAN,
                    "opened": 3,
                    "next_node": "b",
                    "salt": "5a17",
                }
            },
            "waits": {MAIN: OPEN_WAIT.to_dict()},
            "driver": DRIVER.to_dict(),
        },
    }
    assert head_of(run_of(None, checkpoint()))["waiting"] is None


def test_head_fixed_fields_and_vars_are_the_whole_run() -> None:
    names = {*head_of(FULL), *FIXED, "vars"}
    assert names == set(run_to_dict(FULL))


def test_a_run_without_a_checkpoint_has_no_head() -> None:
    with pytest.raises(AssertionError):
        head_of(run_of())


def test_a_run_comes_back_from_its_head_with_the_payloads_of_its_open_steps() -> None:
    vars = {"n": 1}
    found = run_from_head(fixed_of(FULL), head_of(FULL), vars, {MAIN: {"n": 1}})
    assert found == FULL
    assert found.vars is vars
    assert found.checkpoint is not None
    assert found.checkpoint.open_steps == {MAIN: STEP}


def test_every_branch_gets_its_own_payload() -> None:
    left = replace(STEP, effect={"type": "call", "payload": {"of": "left"}, "result_key": None})
    run = run_of(None, checkpoint(open_steps={"left": left, MAIN: STEP}))
    payloads = {MAIN: {"n": 1}, "left": {"of": "left"}}
    assert run_from_head(fixed_of(run), head_of(run), {"n": 1}, payloads) == run


def test_a_run_comes_back_without_payloads_where_nothing_is_open() -> None:
    run = run_of(None, checkpoint(), status=RunStatus.FAILED, error="e")
    for payloads in (None, {}):
        assert run_from_head(fixed_of(run), head_of(run), {"n": 1}, payloads) == run


def test_a_head_without_the_fields_that_may_be_empty_makes_a_run_without_them() -> None:
    bare = run_of(None, checkpoint(), actor_id=None, session_id=None)
    head = {n: v for n, v in head_of(bare).items() if n not in ("waiting", "output", "error")}
    fixed = {n: v for n, v in fixed_of(bare).items() if v is not None}
    assert run_from_head(fixed, head, {"n": 1}) == bare


# ---- what changed


def head(kernel: dict[str, Any], **public: Any) -> dict[str, Any]:
    return {"status": "running", "error": None, **public, "checkpoint": kernel}


CHANGES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (head({"revision": 1}), head({"revision": 1}), {}),
    (
        head({"revision": 1}),
        head({"revision": 2}, status="failed", error="x"),
        {"set": {"status": "failed", "error": "x"}, "checkpoint": {"revision": 2}},
    ),
    (head({"revision": 1}, error="x"), head({"revision": 1}), {"set": {"error": None}}),
    (
        head({"revision": 1, "entered": True, "recall": 3}),
        head({"revision": 1}),
        {"gone": ["entered", "recall"]},
    ),
    (
        head({"visits": {"a": 1, "b": 2}}),
        head({"visits": {"a": 1, "b": 3, "c": 1}}),
        {"visits": {"b": 3, "c": 1}},
    ),
    (head({}), head({"visits": {"a": 1}}), {"visits": {"a": 1}}),
    (
        head({"visits": {"a": 1, "b": 2}}),
        head({"visits": {"a": 0}}),
        {"checkpoint": {"visits": {"a": 0}}},
    ),
    (head({"visits": {"a": 1}}), head({}), {"gone": ["visits"]}),
]


@pytest.mark.parametrize(("before", "after", "expected"), CHANGES)
def test_what_changed_is_named_and_leads_from_one_head_to_the_other(
    before: dict[str, Any], after: dict[str, Any], expected: dict[str, Any]
) -> None:
    kept = deepcopy(before)
    change = changed(before, after)
    assert change == expected
    assert apply_changed(before, change) == after
    assert before == kept


def test_visits_that_are_the_same_object_are_not_looked_through() -> None:
    class Unseen(dict[str, int]):
        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

        __hash__ = None  # type: ignore[assignment]

    visits = Unseen(a=1)
    assert changed(head({"visits": visits}), head({"visits": visits})) == {}


def test_a_change_that_does_not_fit_takes_away_what_is_there() -> None:
    assert apply_changed(head({"a": 1}), {"gone": ["b", "a"]}) == head({})


texts = st.text(max_size=3)
small = st.integers(0, 3)
steps = st.builds(
    OpenStep,
    step_id=texts,
    node_id=texts,
    visit=small,
    effect=st.fixed_dictionaries({"type": texts, "payload": st.none(), "result_key": st.none()}),
    key=texts,
    started_at=texts,
    opened=small,
    next_node=st.none() | texts,
    attempt=small,
    wake_at=st.none() | texts,
    child=st.none() | texts,
    salt=st.none() | texts,
)
waits = st.builds(
    OpenWait, texts, texts, texts, small, small, key=st.none() | texts, child=st.none() | texts
)
branches = st.sampled_from(["", "left"])
checkpoints = st.builds(
    Checkpoint,
    revision=small,
    generation=small,
    visits=st.dictionaries(st.sampled_from("abc"), small),
    entered=st.booleans(),
    open_steps=st.dictionaries(branches, steps),
    waits=st.dictionaries(branches, waits),
    driver=st.none() | st.builds(Driver, texts, texts, small, texts, texts),
    chain_head=st.none() | texts,
    recall=st.none() | small,
    version=st.none() | texts,
    reports_to=st.none() | texts,
    linked=small,
    evidence=st.just(0),
    digest=st.none() | texts,
    queued_at=st.none() | texts,
)
runs = st.builds(
    RunState,
    run_id=st.just("run-1"),
    workflow_id=st.just("wf"),
    status=st.sampled_from(RunStatus),
    current_node=texts,
    vars=st.just({}),
    waiting=st.none()
    | st.builds(
        WaitState, st.sampled_from(WaitReason), st.none() | texts, details=st.none() | st.just({})
    ),
    output=st.none() | st.dictionaries(texts, small, max_size=2),
    error=st.none() | texts,
    created_at=st.just(BEGAN),
    updated_at=texts,
    checkpoint=checkpoints,
)
quick = settings(derandomize=True, deadline=None, max_examples=60)


@quick
@given(runs, runs)
def test_the_change_between_any_two_heads_leads_from_one_to_the_other(
    one: RunState, other: RunState
) -> None:
    before, after = head_of(one), head_of(other)
    kept = deepcopy(before)
    assert apply_changed(before, changed(before, after)) == after
    assert before == kept
    assert changed(after, after) == {}


@quick
@given(runs)
def test_any_run_comes_back_from_its_head(run: RunState) -> None:
    assert run.checkpoint is not None
    payloads = dict.fromkeys(run.checkpoint.open_steps)
    found = run_from_head(fixed_of(run), head_of(run), {}, payloads)
    assert found == run
    assert found.checkpoint is not None
    assert found.checkpoint.digest == run.checkpoint.digest


@quick
@given(checkpoints)
def test_any_checkpoint_comes_back_from_its_json(kernel: Checkpoint) -> None:
    data = kernel.to_dict()
    found = Checkpoint.from_dict(data)
    assert found == kernel
    assert found.digest == kernel.digest
    assert found.to_dict() == data


# ---- many branches


def steps_of(*branches: str, attempt: int = 1) -> dict[str, OpenStep]:
    return {each: replace(STEP, branch=each, attempt=attempt) for each in branches}


def head_with(**fields: Any) -> dict[str, Any]:
    return head_of(run_of({}, checkpoint(**fields)))


def test_of_many_branches_only_those_that_differ_are_in_a_change() -> None:
    before = head_with(open_steps=steps_of("0", "1", "2"))
    after = head_with(open_steps={**steps_of("1"), **steps_of("2", attempt=2)})
    change = changed(before, after)
    said = change["branches"]["open_steps"]
    assert (list(said["set"]), said["gone"]) == (["2"], ["0"])
    assert "open_steps" not in change.get("checkpoint", {})
    assert apply_changed(before, change) == after
    assert changed(after, after) == {}


@pytest.mark.parametrize("left", [(), ("0",), ("0", "1"), ("0", "1", "2")])
def test_waits_come_and_go_by_branch(left: tuple[str, ...]) -> None:
    before = head_with(waits=dict.fromkeys(("0", "1"), OPEN_WAIT))
    after = head_with(waits=dict.fromkeys(left, OPEN_WAIT))
    assert apply_changed(before, changed(before, after)) == after
    assert apply_changed(after, changed(after, before)) == before
