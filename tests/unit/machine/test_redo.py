"""What the ledger of a pair knows beyond its checkpoint."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from abstractruntime.core.canonical import MAX_BYTES
from abstractruntime.core.checkpoint import MAIN
from abstractruntime.core.machine import ends, step, wait
from abstractruntime.core.machine.assemble import assemble
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.redo import Changed, apply_changes, redo
from abstractruntime.core.machine.seal import NoSealer
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState, run_to_dict
from tests.unit.machine.builder import (
    BEGAN,
    DRIVER,
    LATER,
    NOW,
    STEP,
    WAIT,
    changes,
    draft_of,
    planned,
    record,
    step_record,
    stepping,
    waiting,
    whole,
)

TIMED = replace(WAIT, reason=WaitReason.UNTIL, until=NOW)


def failed_for_good(draft: Draft) -> None:
    step.fail_attempt(draft, STEP, "no luck", now=NOW, next_at=None)
    text = "Effect failed after 1 attempts: no luck"
    ends.fail(draft, text, now=NOW, line_id="line-1")


def completed_and_cancelled(draft: Draft) -> None:
    step.complete(draft, STEP, {"v": 1}, now=NOW)
    ends.cancel(draft, reason="enough", now=NOW, line_id="line-2")


REDONE: dict[str, tuple[Callable[[], Draft], Callable[[Draft], Any]]] = {
    "completed": (stepping, lambda d: step.complete(d, STEP, {"v": (1,)}, now=NOW)),
    "completed with nothing": (stepping, lambda d: step.complete(d, STEP, None, now=NOW)),
    "waiting": (stepping, lambda d: step.wait(d, STEP, WAIT, now=NOW)),
    "failed, again later": (
        stepping,
        lambda d: step.fail_attempt(d, STEP, "no luck", now=NOW, next_at=LATER),
    ),
    "failed for good": (stepping, failed_for_good),
    "answered": (
        waiting,
        lambda d: wait.answer(d, {"a": 1}, now=NOW, line_id="line-1", actor_id="bob"),
    ),
    "answered with nothing": (waiting, lambda d: wait.answer(d, None, now=NOW, line_id="line-1")),
    "fired": (lambda: waiting(TIMED), lambda d: wait.fire(d, now=NOW, line_id="line-1")),
    "cancelled": (
        lambda: waiting(driver=DRIVER),
        lambda d: ends.cancel(d, reason="enough", now=NOW, line_id="line-1"),
    ),
    "cancelled without a reason": (
        stepping,
        lambda d: ends.cancel(d, reason=None, now=NOW, line_id="line-1"),
    ),
    "two moves at once": (stepping, completed_and_cancelled),
}


def ledger_of(draft: Draft) -> tuple[list[dict[str, Any]], RunState]:
    """The records of the draft's commit, and the run after it."""
    commit = assemble(draft, NoSealer(), now=NOW)
    return [entry.record for entry in commit.records], commit.run


def public(run: RunState) -> dict[str, Any]:
    """A run without what `redo` leaves to the store: when it was written, by whom."""
    data = run_to_dict(run)
    del data["updated_at"]
    data["checkpoint"].pop("driver", None)
    return deepcopy(data)


@pytest.mark.parametrize("name", REDONE)
def test_a_complete_commit_is_redone_to_the_same_run(name: str) -> None:
    begin, move = REDONE[name]
    crashed, finished = begin(), begin()
    move(finished)
    records, expected = ledger_of(finished)
    before = public(crashed.run)
    found = redo(crashed.run, records)
    assert public(found) == public(expected)
    assert public(crashed.run) == before
    assert found.updated_at == BEGAN


def test_a_redone_run_has_no_driver() -> None:
    found = redo(stepping(driver=DRIVER).run, [])
    assert found.checkpoint is not None
    assert found.checkpoint.driver is None


def test_no_records_leave_the_run_as_it_was() -> None:
    draft = stepping()
    assert run_to_dict(redo(draft.run, [])) == run_to_dict(draft.run)


def is_not_redone(draft: Draft, *records: dict[str, Any], revision: int = 4) -> None:
    """These records change nothing but the run's revision."""
    before = whole(draft)
    found = redo(draft.run, records)
    assert changes(before, draft) == {}
    expected = run_to_dict(draft.run)
    expected["checkpoint"]["revision"] = revision
    assert run_to_dict(found) == expected


def test_an_intent_was_never_performed_and_is_not_redone() -> None:
    draft = draft_of()
    intended = draft_of()
    step.intend(intended, planned(), step_id="step-1", key="key-1", now=NOW)
    is_not_redone(draft, *ledger_of(intended)[0])
    is_not_redone(stepping(), step_record("started", attempt=2, revision=4))


def test_an_outcome_of_another_step_is_not_redone() -> None:
    other = step_record("completed", step_id="step-0", result=1, revision=4)
    is_not_redone(stepping(), other)
    is_not_redone(draft_of(), step_record("completed", result=1, revision=4))


@pytest.mark.parametrize("kind", ["moved", "edited", "completed", "node_failed", "reopened"])
def test_what_follows_from_a_node_call_or_a_host_is_not_redone(kind: str) -> None:
    is_not_redone(stepping(), record(result={"kind": kind}, revision=4))


@pytest.mark.parametrize("result", [None, {}, {"completed": True}])
def test_a_note_of_no_kind_is_not_redone(result: Any) -> None:
    is_not_redone(stepping(), record(result=result, revision=4))


def test_redoing_stops_at_the_first_record_that_cannot_be_redone() -> None:
    draft = stepping()
    done = step_record("completed", result={"v": 1}, revision=4)
    moved = record(node_id="b", result={"kind": "moved", "to": "c"}, revision=4)
    cancelled = record(node_id="c", result={"kind": "cancelled"}, revision=4)
    found = redo(draft.run, [done, moved, cancelled])
    assert found.status is RunStatus.RUNNING
    assert found.current_node == "b"
    assert found.vars == {"n": 1, "out": {"value": {"v": 1}}}
    assert found.checkpoint is not None
    assert found.checkpoint.revision == 4


@pytest.mark.parametrize(
    "first",
    [
        step_record("started", revision=4),
        step_record("completed", step_id="step-0", revision=4),
        record(result={"kind": "moved"}, revision=4),
        record(result={"kind": "edited"}, revision=4),
        record(result={"kind": "edited", "noticed": True, "changed": ["status"]}, revision=4),
    ],
)
def test_nothing_behind_a_record_that_is_not_redone_is_redone(first: Any) -> None:
    is_not_redone(stepping(), first, record(result={"kind": "cancelled"}, revision=4))


def noticed(**more: Any) -> dict[str, Any]:
    draft = stepping()
    draft.note("edited", line_id="line-1", now=NOW, noticed=True, **more)
    return draft.lines[0].record


def test_an_outcome_behind_the_edit_of_vars_that_it_met_is_redone() -> None:
    draft = stepping()
    before = deepcopy(draft.run)
    step.complete(draft, STEP, {"v": 1}, now=NOW)
    redone = redo(before, [noticed(), draft.lines[0].record])
    assert redone.checkpoint is not None
    assert redone.checkpoint.open_steps == {}


@pytest.mark.parametrize("changed", [["current_node"], ["status"], ["vars"]])
def test_an_outcome_behind_an_edit_of_more_is_not_redone(changed: list[str]) -> None:
    draft = stepping()
    step.complete(draft, STEP, {"v": 1}, now=NOW)
    is_not_redone(stepping(), noticed(changed=changed), draft.lines[0].record)


@pytest.mark.parametrize(
    ("digest", "moved"),
    [
        (None, False),
        ("running|{node}|abc", False),
        ("running|elsewhere|abc", True),
        ("waiting|{node}|abc", True),
    ],
)
def test_a_run_that_its_host_moved_stays_there_and_is_seen_to_have_moved_from_where_it_came_to(
    digest: str | None, moved: bool
) -> None:
    draft = stepping()
    before = deepcopy(draft.run)
    step.complete(draft, STEP, {"v": 1}, now=NOW)
    node, to = before.current_node, draft.run.current_node
    assert node != to
    assert before.checkpoint is not None
    digest = digest and digest.format(node=node)
    before.checkpoint = replace(before.checkpoint, digest=digest)
    redone = redo(before, [draft.lines[0].record])
    assert redone.checkpoint is not None
    assert redone.checkpoint.digest == (digest and f"running|{to}|redone")
    assert redone.current_node == (node if moved else to)


def test_an_answer_and_the_cancel_behind_it_are_both_redone() -> None:
    resumed = record(result={"kind": "resumed", "payload": 1}, revision=4)
    cancelled = record(result={"kind": "cancelled", "reason": "enough"}, revision=4)
    found = redo(waiting().run, [resumed, cancelled])
    assert (found.status, found.error) == (RunStatus.CANCELLED, "enough")
    assert found.vars == {"n": 1, "said": {"last": 1}}


def test_an_answer_to_a_run_that_does_not_wait_changes_nothing() -> None:
    resumed = record(result={"kind": "resumed", "payload": 1}, revision=4)
    is_not_redone(draft_of(), resumed)


def test_a_cancel_of_an_ended_run_changes_nothing() -> None:
    is_not_redone(
        draft_of(status=RunStatus.COMPLETED), record(result={"kind": "cancelled"}, revision=4)
    )


def test_records_without_a_revision_count_one_each() -> None:
    failed = {**step_record("failed", error="x", next_at=LATER)}
    done = step_record("completed", attempt=2, result=1)
    found = redo(stepping().run, [failed, done])
    assert found.checkpoint is not None
    assert found.checkpoint.revision == 5


def test_a_revision_never_goes_back() -> None:
    is_not_redone(stepping(), record(result={"kind": "moved"}, revision=2), revision=3)


def test_a_failure_that_says_nothing_is_an_unknown_error() -> None:
    found = redo(stepping().run, [step_record("failed", attempt=1, revision=4)])
    assert found.status is RunStatus.FAILED
    assert found.error == "Effect failed after 1 attempts: unknown error"
    again = redo(stepping().run, [step_record("failed", next_at=LATER, revision=4)])
    assert again.checkpoint is not None
    assert again.checkpoint.open_steps[MAIN] == replace(STEP, attempt=2, wake_at=LATER)


def test_the_attempts_of_a_failure_are_those_of_the_open_step() -> None:
    third = replace(STEP, attempt=3)
    found = redo(stepping(third).run, [step_record("failed", attempt=3, error="x", revision=4)])
    assert found.error == "Effect failed after 3 attempts: x"


def test_a_record_that_was_never_finished_is_dated_by_its_start() -> None:
    """Another implementation may leave `ended_at` out."""
    answered = record(result={"kind": "resumed", "payload": 1}, revision=4)
    del answered["ended_at"]
    assert redo(waiting().run, [answered]).vars == {"n": 1, "said": {"last": 1}}


def test_the_given_run_and_the_redone_one_share_no_vars() -> None:
    draft = draft_of({"list": [1]})
    found = redo(draft.run, [])
    found.vars["list"].append(2)
    assert draft.run.vars == {"list": [1]}


def test_the_end_of_a_redone_wait_clears_it_in_the_copy_only() -> None:
    draft = waiting(WaitState(WaitReason.EVENT))
    found = redo(draft.run, [record(result={"kind": "resumed"}, revision=4)])
    assert found.waiting is None
    assert draft.run.waiting == WaitState(WaitReason.EVENT)


# ---- what a handler did to vars


def handled(draft: Draft, **vars: Any) -> dict[str, Any]:
    """What a handler changed in the draft's vars, as its record says."""
    before = draft.encoding
    draft.run.vars.update(vars)
    draft.run.vars.pop("gone", None)
    draft.absorb()
    return Changed(before, draft.encoding).to_dict()


def test_what_a_handler_changed_is_told_by_whole_variables() -> None:
    draft = draft_of({"same": {"x": [1]}, "type": 1, "deep": {"x": [1], "y": 1}, "gone": 1})
    assert handled(draft, type=True, deep={"x": [2], "y": 1}, new=None) == {
        "set": {"type": True, "deep": {"x": [2], "y": 1}, "new": None},
        "gone": ["gone"],
    }


@pytest.mark.parametrize(
    ("vars", "changed", "expected"),
    [
        ({"n": 1}, {}, {"set": {}, "gone": []}),
        ({"n": 1, "gone": 1}, {}, {"set": {}, "gone": ["gone"]}),
        ({"n": 1}, {"n": 1.0}, {"set": {"n": 1.0}, "gone": []}),
    ],
)
def test_only_what_changed_is_told(vars: Any, changed: Any, expected: Any) -> None:
    assert repr(handled(draft_of(vars), **changed)) == repr(expected)


def test_the_result_of_the_effect_is_no_change_of_the_handlers() -> None:
    draft = stepping()
    before = draft.encoding
    draft.run.vars["n"] = 2
    draft.absorb()
    changed = Changed(before, draft.encoding)
    step.complete(draft, STEP, "a secret", now=NOW)
    assert changed.to_dict() == {"set": {"n": 2}, "gone": []}


def test_a_change_can_be_made_to_other_vars() -> None:
    draft = draft_of({"n": 1, "gone": 1})
    before = draft.encoding
    draft.run.vars = {"n": 2, "new": {"x": [1]}}
    draft.absorb()
    changed = Changed(before, draft.encoding)
    others: dict[str, Any] = {"n": 9, "gone": 9, "kept": 9}
    changed.apply_to(others)
    assert others == {"n": 2, "kept": 9, "new": {"x": [1]}}
    changed.apply_to({})


def test_changes_that_say_nothing_change_nothing() -> None:
    for changed in ({}, {"set": None, "gone": None}, {"gone": ["never there"]}):
        vars = {"n": 1}
        apply_changes(vars, changed)
        assert vars == {"n": 1}


def with_vars() -> Draft:
    return draft_of({"n": 1, "gone": 1, "list": [1]}, stepping(driver=DRIVER).checkpoint(3))


def test_what_a_handler_changed_is_redone_with_its_outcome() -> None:
    crashed, finished = with_vars(), with_vars()
    changed = handled(finished, n=2, new={"x": [1]})
    step.complete(finished, STEP, {"v": 1}, now=NOW)
    finished.lines[-1].record["vars"] = changed
    records, expected = ledger_of(finished)
    found = redo(crashed.run, records)
    assert public(found) == public(expected)
    assert found.vars == {"n": 2, "list": [1], "new": {"x": [1]}, "out": {"value": {"v": 1}}}
    found.vars["new"]["x"].append(2)
    assert records[0]["vars"]["set"]["new"] == {"x": [1]}


@pytest.mark.parametrize("depth", [199, 200])
def test_variables_up_to_their_limit_are_redone(depth: int) -> None:
    deep: Any = 1
    for _ in range(depth):
        deep = [deep]
    changed = handled(stepping(), deep=deep)
    assert changed == {"set": {"deep": deep}, "gone": []}
    done = step_record("completed", revision=4, vars=changed)
    assert redo(stepping().run, [done]).vars == {"n": 1, "deep": deep}


def test_variables_that_are_larger_together_than_one_may_be_are_redone() -> None:
    half = "x" * (MAX_BYTES // 2)
    changed = {"set": {"a": half, "b": half}}
    done = step_record("completed", revision=4, vars=changed)
    assert redo(stepping().run, [done]).vars == {"n": 1, **changed["set"]}
