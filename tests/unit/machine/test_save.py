"""What a host saves, as one commit: an edit of the stored run, or a run that was not there."""

from dataclasses import replace
from typing import Any

import pytest

from abstractruntime.core.checkpoint import MAIN, Checkpoint, OpenWait
from abstractruntime.core.machine.assemble import assemble
from abstractruntime.core.machine.edit import apply_edit, draft_of_new, edit_commit
from abstractruntime.core.machine.seal import NoSealer
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState
from abstractruntime.errors import NotJson
from tests.unit.machine.builder import (
    DRIVER,
    LATER,
    NOW,
    OPEN_WAIT,
    STEP,
    changes,
    checkpoint,
    commit_dict,
    draft_of,
    ids,
    loaded,
    record,
    run_of,
    slots_of,
    whole,
)

EVENT = WaitState(WaitReason.EVENT, wait_key="go", choices=["yes"])
LEDGER = [
    record(visit=1, revision=1),
    record(node_id="b", visit=1, revision=2),
    record(visit=2, revision=3),
]


def never() -> Any:
    raise AssertionError("it was asked for nothing")


# ---- edits

COMMON: dict[str, Any] = {"records": never, "now": NOW, "chain": None}


def commit_of(stored: Any, run: RunState, **others: Any) -> Any:
    given = {**COMMON, "new_id": ids(), "salt": lambda: b"\x01" * 16, **others}
    return edit_commit(stored, run, **given)


def test_an_edit_is_one_commit_on_the_stored_run() -> None:
    stored = loaded(kernel=checkpoint(driver=DRIVER))
    made = commit_of(stored, run_of({"n": 2}))
    twin = draft_of(kernel=checkpoint(driver=DRIVER))
    base = twin.encoding.text()
    apply_edit(twin, run_of({"n": 2}), records=never, now=NOW, line_id="line-1")
    expected = assemble(twin, NoSealer(), now=NOW)
    assert made is not None
    assert commit_dict(made, base) == commit_dict(expected, base)
    assert made.expected == 3
    assert made.encoding.text() == b'{"n":2}'


def test_a_save_of_what_is_stored_is_no_commit() -> None:
    assert commit_of(loaded(), run_of()) is None


def test_the_ledger_is_read_for_a_moved_node() -> None:
    asked: list[int] = []

    def records() -> list[dict[str, Any]]:
        asked.append(1)
        return LEDGER

    made = commit_of(loaded(), run_of(None, current_node="b"), records=records)
    assert made.checkpoint.visits == {"a": 1, "b": 0}
    assert asked == [1]


def test_an_edit_is_sealed_by_the_format_of_the_store() -> None:
    run = run_of(None, error="x")
    assert commit_of(loaded(), run).records[0].record["record_hash"] is None
    first = commit_of(loaded(), run, chain=1).records[0].record
    second = commit_of(loaded(), run, chain=2).records[0].record
    assert "chain" not in first
    assert second["chain"] == 2
    assert second["salts"] == {"result": "01" * 16}


# ---- created runs

FOREIGN = Checkpoint(
    revision=9,
    generation=2,
    visits={"a": 4},
    entered=True,
    open_steps={MAIN: STEP},
    waits={MAIN: OPEN_WAIT},
    driver=DRIVER,
    chain_head="c0ffee",
    recall=1,
    version="v2",
    reports_to="subworkflow:x",
    linked=1,
    evidence=2,
    digest="d",
    queued_at=LATER,
)
KEPT = Checkpoint(
    generation=2,
    visits={"a": 4},
    entered=True,
    driver=DRIVER,
    version="v2",
    reports_to="subworkflow:x",
    queued_at=LATER,
)


@pytest.mark.parametrize("as_dict", [False, True])
def test_a_saved_run_that_is_not_there_is_created_as_the_host_made_it(as_dict: bool) -> None:
    run = run_of({"pair": (1, 2)}, FOREIGN, output={"t": (1,)}, error="e", parent_run_id="run-0")
    if as_dict:
        run.checkpoint = FOREIGN.to_dict()  # type: ignore[assignment]
    draft = draft_of_new(run, now=NOW, line_id=never)
    assert slots_of(draft.checkpoint(0)) == slots_of(KEPT)
    expected = draft_of({"pair": [1, 2]}, KEPT, output={"t": [1]}, error="e", parent_run_id="run-0")
    assert changes(whole(expected), draft) == {}
    assert draft.run is not run
    assert run.vars == {"pair": (1, 2)}


def test_a_run_without_a_checkpoint_is_created_with_a_fresh_one() -> None:
    draft = draft_of_new(run_of(None), now=NOW, line_id=never)
    assert slots_of(draft.checkpoint(0)) == slots_of(Checkpoint())


def test_a_run_created_waiting_has_an_open_wait() -> None:
    run = run_of(None, status="waiting", waiting=EVENT)
    draft = draft_of_new(run, now=NOW, line_id=ids())
    assert draft.waits == {MAIN: OpenWait("line-1", "line-1", "a", 1, 1, "go")}
    assert draft.visits == {"a": 1}
    assert draft.run.waiting == EVENT
    assert draft.run.waiting is not EVENT
    assert draft.run.status is RunStatus.WAITING


def test_a_created_run_is_a_commit_on_revision_zero_without_records() -> None:
    made = commit_of(None, run_of({"n": 1}))
    assert made is not None
    assert (made.expected, made.previous, made.delta, made.records) == (0, None, None, ())
    assert made.run.updated_at == NOW
    assert slots_of(made.checkpoint) == slots_of(Checkpoint(revision=1))


def test_a_run_created_waiting_is_committed_with_its_wait() -> None:
    made = commit_of(None, run_of(None, status="waiting", waiting=EVENT))
    assert made.checkpoint.waits == {MAIN: OpenWait("line-1", "line-1", "a", 1, 1, "go")}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"vars": {"x": {1}}}, "$.vars.x"),
        ({"output": {"x": {1}}}, "$.output.x"),
        ({"waiting": replace(EVENT, details={"x": {1}})}, "$.waiting.details.x"),
    ],
)
def test_a_run_that_cannot_be_stored_is_not_created(fields: Any, path: str) -> None:
    run = run_of(None)
    for name, value in fields.items():
        setattr(run, name, value)
    with pytest.raises(NotJson) as caught:
        draft_of_new(run, now=NOW, line_id=never)
    assert caught.value.where["path"] == path
