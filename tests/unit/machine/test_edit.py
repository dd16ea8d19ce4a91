"""A host changes a run by hand: what becomes of its fields, its steps and its waits."""

from dataclasses import replace
from typing import Any

import pytest

from abstractruntime.core.checkpoint import MAIN, OpenWait
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.edit import (
    apply_edit,
    start_generation,
)
from abstractruntime.core.models import RunStatus, WaitReason, WaitState
from abstractruntime.errors import LimitExceeded, NotJson
from tests.unit.machine.builder import (
    DRIVER,
    LATER,
    NOW,
    OPEN_WAIT,
    OTHER_BRANCH,
    STEP,
    WAIT,
    WAIT_DICT,
    changes,
    checkpoint,
    draft_of,
    fresh_delta,
    line,
    record,
    run_of,
    stepping,
    waiting,
    whole,
)

EVENT = WaitState(WaitReason.EVENT, wait_key="go", choices=["yes"])
EVENT_DICT = {
    **WAIT_DICT,
    "reason": "event",
    "wait_key": "go",
    "choices": ["yes"],
    **dict.fromkeys(("resume_to_node", "result_key", "prompt")),
}
HOST_WAIT = OpenWait("line-1", "line-1", "a", 2, 4, "go")


def never() -> Any:
    raise AssertionError("the ledger was read for nothing")


def edit(draft: Draft, records: Any = never, **fields: Any) -> dict[str, Any] | None:
    """What an edit changed, as the host made it on a copy of the run; None: it was none."""
    before = whole(draft)
    vars = fields.pop("vars", dict(draft.run.vars))
    known = {"status": draft.run.status, "waiting": draft.run.waiting, "output": draft.run.output}
    edited = run_of(vars, None, **{**known, **fields})
    done = apply_edit(draft, edited, records=records, now=NOW, line_id="line-1")
    found = changes(before, draft)
    if not done:
        assert found == {}
        return None
    if found.get("delta"):
        assert fresh_delta(draft, before) == found.pop("encoding")
        del found["delta"]
    return found


def edited(*names: str, **fields: Any) -> dict[str, Any]:
    """The note of an edit, as it changes a draft."""
    note = record(result={"kind": "edited", "changed": list(names)}, **fields)
    return {"lines": [line(note)], "weight": 512}


# ---- edits of a stored run


def test_the_same_run_is_no_edit() -> None:
    for draft in (draft_of(), stepping(driver=DRIVER), waiting()):
        assert edit(draft, updated_at=LATER, created_at=LATER) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workflow_id", "wf-2"),
        ("output", {"pair": (1, 2)}),
        ("error", "by hand"),
        ("session_id", None),
        ("parent_run_id", "run-0"),
    ],
)
def test_a_changed_field_is_taken_and_named(name: str, value: Any) -> None:
    found = edit(stepping(driver=DRIVER), **{name: value})
    stored = {"pair": [1, 2]} if name == "output" else value
    at = {"session_id": None} if name == "session_id" else {}
    assert found == {name: stored, **edited(name, **at)}


def test_an_edit_speaks_for_the_new_actor() -> None:
    assert edit(draft_of(), actor_id="bob") == {
        "actor_id": "bob",
        **edited("actor_id", actor_id="bob"),
    }


@pytest.mark.parametrize("value", [1, 1.0, True, "1"])
def test_a_changed_type_in_the_output_is_an_edit(value: Any) -> None:
    draft = draft_of(output={"n": 2})
    assert edit(draft, output={"n": value}) is not None
    for other in (1, 1.0, True, "1"):
        same = type(other) is type(value)
        assert (edit(draft_of(output={"n": value}), output={"n": other}) is None) is same


def test_the_edited_output_shares_nothing_with_the_hosts() -> None:
    draft = draft_of()
    output: dict[str, Any] = {"list": [1]}
    edit(draft, output=output)
    output["list"].append(2)
    assert draft.run.output == {"list": [1]}


def test_changed_vars_are_named_one_by_one() -> None:
    draft = draft_of({"kept": {"x": 1}, "gone": 1, "type": 1, "deep": {"x": [1]}})
    vars = {"kept": {"x": 1}, "type": True, "deep": {"x": [2]}, "new": None}
    assert edit(draft, vars=vars) == {
        "vars": vars,
        **edited("vars.deep", "vars.gone", "vars.new", "vars.type"),
    }
    assert draft.run.vars is not vars
    vars["deep"]["x"].append(3)  # type: ignore[index]
    assert draft.run.vars["deep"] == {"x": [2]}


def test_an_other_order_of_vars_is_an_edit_too() -> None:
    draft = draft_of({"a": 1, "b": 2})
    assert edit(draft, vars={"b": 2, "a": 1}) == edited("vars")
    assert draft.encoding.text() == b'{"b":2,"a":1}'


def test_everything_changed_is_named_in_order() -> None:
    draft = waiting()
    found = edit(
        draft,
        list,
        vars={"z": 1},
        status=RunStatus.FAILED,
        waiting=None,
        error="x",
        current_node="b",
    )
    assert found is not None
    names = ["current_node", "error", "status", "vars.n", "vars.z", "waiting"]
    assert found["lines"] == [
        line(record(node_id="b", result={"kind": "edited", "changed": names}))
    ]


@pytest.mark.parametrize(
    ("fields", "fault", "path"),
    [
        ({"vars": {"x": {1}}}, NotJson, "$.vars.x"),
        ({"output": {"x": {1}}}, NotJson, "$.output.x"),
        ({"error": {1}}, NotJson, "$.error"),
        (
            {"status": RunStatus.WAITING, "waiting": replace(EVENT, details={"x": {1}})},
            NotJson,
            "$.waiting.details.x",
        ),
    ],
)
def test_an_edit_that_cannot_be_stored_is_refused_with_its_path(
    fields: Any, fault: type[Exception], path: str
) -> None:
    with pytest.raises(fault) as caught:
        edit(draft_of(), **fields)
    assert caught.value.where["path"] == path  # type: ignore[attr-defined]


def test_vars_too_deep_are_refused() -> None:
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(LimitExceeded):
        edit(draft_of(), vars={"x": deep})


def test_an_edit_may_be_journaled_under_another_kind() -> None:
    draft = draft_of()
    apply_edit(
        draft, run_of(None, error="x"), records=never, now=NOW, line_id="line-1", kind="moved_by"
    )
    assert draft.lines[0].record["result"] == {"kind": "moved_by", "changed": ["error"]}


# ---- edited status


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED])
def test_a_run_ended_by_hand_has_nothing_open_and_no_driver(status: RunStatus) -> None:
    assert edit(stepping(driver=DRIVER), status=status) == {
        "status": status.value,
        "open_steps": {},
        "driver": None,
        **edited("status"),
    }
    assert edit(waiting(), status=status, waiting=None) == {
        "status": status.value,
        "waiting": None,
        "waits": {},
        **edited("status", "waiting"),
    }


@pytest.mark.parametrize("status", [each for each in RunStatus if each is not RunStatus.RUNNING])
def test_a_queued_run_set_to_wait_or_ended_by_hand_is_queued_no_longer(status: RunStatus) -> None:
    draft = draft_of(kernel=checkpoint(queued_at=LATER))
    edit(draft, status=status)
    assert draft.queued_at is None


def test_a_status_given_as_text_is_taken_as_the_status_it_names() -> None:
    draft = draft_of()
    found = edit(draft, status="failed")
    assert found == {"status": "failed", **edited("status")}
    assert draft.run.status is RunStatus.FAILED


def test_an_ended_run_is_running_again_when_the_host_says_so() -> None:
    draft = draft_of(status=RunStatus.COMPLETED)
    assert edit(draft, status=RunStatus.RUNNING) == {"status": "running", **edited("status")}


def test_a_waiting_run_set_running_waits_no_longer_whatever_its_wait_says() -> None:
    assert edit(waiting(), status=RunStatus.RUNNING) == {
        "status": "running",
        "waiting": None,
        "waits": {},
        **edited("status"),
    }


def test_a_run_made_to_wait_by_hand_gets_a_wait_of_its_own() -> None:
    draft = stepping(driver=DRIVER)
    found = edit(draft, status=RunStatus.WAITING, waiting=EVENT)
    assert found == {
        "status": "waiting",
        "waiting": EVENT_DICT,
        "waits": {MAIN: HOST_WAIT},
        "open_steps": {},
        "driver": None,
        **edited("status", "waiting"),
    }
    assert draft.run.waiting == EVENT
    assert draft.run.waiting is not EVENT


def test_a_wait_made_by_hand_may_have_no_wait_state() -> None:
    assert edit(draft_of(), status=RunStatus.WAITING) == {
        "status": "waiting",
        "waits": {MAIN: replace(HOST_WAIT, key=None)},
        **edited("status"),
    }


def test_another_wait_key_is_another_wait() -> None:
    draft = waiting()
    assert edit(draft, waiting=EVENT) == {
        "waiting": EVENT_DICT,
        "waits": {MAIN: HOST_WAIT},
        **edited("waiting"),
    }


def test_a_reworded_wait_is_still_the_same_wait() -> None:
    draft = waiting()
    assert edit(draft, waiting=replace(WAIT, prompt="Really?")) == {
        "waiting": {**WAIT_DICT, "prompt": "Really?"},
        **edited("waiting"),
    }
    assert draft.waits == {MAIN: OPEN_WAIT}


def test_a_wait_of_which_the_kernel_knows_nothing_is_opened_by_an_edit() -> None:
    draft = waiting(opened=None)
    found = edit(draft, waiting=replace(WAIT, prompt="Really?"))
    assert found is not None
    assert found["waits"] == {MAIN: replace(HOST_WAIT, key="user:a")}


def test_a_wait_that_loses_its_state_is_opened_anew() -> None:
    found = edit(waiting(), waiting=None)
    assert found == {
        "waiting": None,
        "waits": {MAIN: replace(HOST_WAIT, key=None)},
        **edited("waiting"),
    }


# ---- a moved node

LEDGER = [
    record(visit=1, revision=1),
    record(node_id="b", visit=1, revision=2),
    record(visit=2, revision=3),
]


def test_a_moved_run_has_nothing_open_and_its_visits_of_then() -> None:
    draft = draft_of(
        kernel=checkpoint(
            open_steps={MAIN: STEP, OTHER_BRANCH: STEP},
            driver=DRIVER,
            queued_at=LATER,
            visits={"a": 2, "b": 1},
        )
    )
    assert edit(draft, lambda: LEDGER, current_node="b") == {
        "current_node": "b",
        "entered": False,
        "visits": {"a": 1, "b": 0},
        "recall": 1,
        "open_steps": {},
        "driver": None,
        "queued_at": None,
        **edited("current_node", node_id="b"),
    }


def test_a_run_moved_to_a_node_it_never_saw_keeps_its_counters() -> None:
    draft = draft_of(kernel=checkpoint(recall=1))
    assert edit(draft, lambda: LEDGER, current_node="c") == {
        "current_node": "c",
        "entered": False,
        **edited("current_node", node_id="c"),
    }


def test_a_move_looks_only_at_records_of_its_own_generation() -> None:
    draft = draft_of(kernel=checkpoint(generation=2))
    found = edit(draft, lambda: LEDGER, current_node="b")
    assert found is not None
    assert "visits" not in found


def test_a_waiting_run_that_is_moved_waits_at_the_new_node() -> None:
    draft = waiting()
    assert edit(draft, lambda: LEDGER, current_node="b") == {
        "current_node": "b",
        "visits": {"a": 1, "b": 1},
        "recall": 1,
        "waits": {MAIN: OpenWait("line-1", "line-1", "b", 1, 4, "user:a")},
        **edited("current_node", node_id="b"),
    }


# ---- generations


def test_a_new_generation_starts_its_visits_anew() -> None:
    draft = draft_of(kernel=checkpoint(recall=1, generation=4))
    before = whole(draft)
    start_generation(draft)
    assert changes(before, draft) == {
        "generation": 5,
        "visits": {},
        "entered": False,
        "recall": None,
    }
    assert draft.visit() == 1
