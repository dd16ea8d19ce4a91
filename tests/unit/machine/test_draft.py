"""The working copy of a run between two commits."""

from dataclasses import fields, replace
from typing import Any

import pytest

from abstractruntime.core.canonical import decode
from abstractruntime.core.checkpoint import MAIN, Checkpoint, Join, Terms
from abstractruntime.core.commit import Commit, Entry, Evidence, Message
from abstractruntime.core.head import head_of
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.models import RunStatus
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
    ids,
    line,
    loaded,
    record,
    run_of,
    slots_of,
    waiting,
    whole,
)

FULL = Checkpoint(
    revision=7,
    generation=2,
    visits={"a": 2, "b": 1},
    entered=True,
    open_steps={MAIN: STEP, OTHER_BRANCH: STEP},
    waits={MAIN: OPEN_WAIT},
    driver=DRIVER,
    chain_head="c0ffee",
    recall=4,
    version="v2",
    reports_to="subworkflow:run-1",
    linked=1,
    evidence=3,
    digest="running|a|00",
    queued_at=LATER,
    join=Join("a", 2, "b", total=3, need=1),
    terms=Terms(
        paused={"at": LATER, "cause": "asked"},
        deadline=LATER,
        undos=[{"n": 1, "step": "s", "at": 3}],
        ending={"as": "cancelled", "at": LATER},
        closes=True,
        closing="cancel",
        losing=["child"],
        account={"spent": {"tokens": 2}},
    ),
)


# ---- where it comes from and what it becomes


def test_the_full_checkpoint_of_these_tests_leaves_no_field_at_its_default() -> None:
    plain = Checkpoint()
    same = [f.name for f in fields(Checkpoint) if getattr(FULL, f.name) == getattr(plain, f.name)]
    assert same == ["committed"]  # which a commit drops


def test_a_draft_holds_every_kernel_field_and_gives_it_back() -> None:
    draft = draft_of(kernel=FULL)
    assert slots_of(draft.checkpoint(8)) == slots_of(replace(FULL, revision=8))
    assert draft.revision == 7


def test_a_fresh_draft_carries_nothing_to_commit() -> None:
    draft = draft_of(kernel=FULL)
    parts = whole(draft)
    gathered = {name: parts[name] for name in parts if name not in slots_of(FULL)}
    assert {name: gathered[name] for name in gathered if not isinstance(gathered[name], str)} == {
        "absorbed": True,
        "consumed": [],
        "counters": {},
        "creates": [],
        "delta": None,
        "encoding": b'{"n":1}',
        "error": None,
        "head": head_of(draft.run),
        "lines": [],
        "moves": 0,
        "output": None,
        "parent_run_id": None,
        "sent": [],
        "urgent": False,
        "vars": {"n": 1},
        "waiting": None,
        "weight": 0,
        "_results": [],
    }
    assert not draft.dirty


def test_the_head_of_a_draft_is_the_one_last_committed() -> None:
    given = loaded(kernel=FULL, error="before")
    expected = head_of(given.run)
    assert Draft(given).head == expected


def test_a_run_that_was_never_committed_has_no_head_and_default_kernel_fields() -> None:
    given = loaded()
    given.run.checkpoint = None
    for draft in (Draft(given), draft_of(kernel=Checkpoint(visits={"a": 1}))):
        assert draft.head is None
        assert draft.revision == 0
    assert slots_of(Draft(given).checkpoint(0)) == slots_of(Checkpoint())


def test_a_line_is_a_record_and_what_was_made_of_it() -> None:
    assert slots_of(Entry({"a": 1})) == {
        "record": {"a": 1},
        "payload": None,
        "result": None,
        "opened": None,
        "own_key": False,
        "salt": None,
        "form": None,
    }
    full = {
        "record": {"a": 1},
        "payload": b"1",
        "result": b"2",
        "opened": 3,
        "own_key": True,
        "salt": "4",
        "form": b"5",
    }
    assert slots_of(Entry(**full)) == full


def commit_of_a_child() -> Commit:
    child = loaded()
    return Commit("run-2", 0, child.run, child.encoding, {})


GATHERED: dict[str, Any] = {
    "lines": [Entry({})],
    "delta": [[[], "=", "{}"]],
    "creates": [commit_of_a_child()],
    "consumed": ["message-1"],
    "_results": [("a", b"1")],
}


@pytest.mark.parametrize("name", GATHERED)
def test_a_draft_is_dirty_when_it_gathered(name: str) -> None:
    draft = draft_of()
    setattr(draft, name, GATHERED[name])
    assert draft.dirty
    draft.clear()
    assert not draft.dirty


def test_to_clear_a_draft_forgets_what_is_committed_and_nothing_else() -> None:
    draft = draft_of(kernel=FULL)
    fresh = whole(draft)
    for name, value in GATHERED.items():
        setattr(draft, name, value)
    draft.sent = [Message("m", "r", "n", None, NOW)]
    draft.urgent, draft.moves, draft.weight = True, 5, 6
    draft.clear()
    assert changes(fresh, draft) == {}


# ---- visits


def test_entering_a_node_counts_its_visit_and_leaves_the_checkpoint_alone() -> None:
    kernel = checkpoint(visits={"a": 2}, entered=False)
    draft = draft_of(kernel=kernel)
    before = whole(draft)
    draft.enter("b")
    assert changes(before, draft) == {
        "current_node": "b",
        "visits": {"a": 2, "b": 1},
        "entered": True,
    }
    draft.enter("a")
    assert draft.visits == {"a": 3, "b": 1}
    assert kernel.visits == {"a": 2}


def test_the_visit_of_an_entered_node_is_its_count() -> None:
    draft = draft_of(kernel=checkpoint(visits={"a": 5, "b": 9}))
    before = whole(draft)
    assert draft.visit() == 5
    assert changes(before, draft) == {}


def test_a_node_the_host_jumped_to_is_counted_when_asked_for_and_only_once() -> None:
    draft = draft_of(kernel=checkpoint(visits={"a": 5}, entered=False))
    before = whole(draft)
    assert draft.visit() == draft.visit() == 6
    assert changes(before, draft) == {"visits": {"a": 6}, "entered": True}


# ---- notes


def test_a_note_is_a_completed_record_without_an_effect() -> None:
    draft = draft_of()
    before = whole(draft)
    draft.note("moved", line_id="line-1", now=NOW, to="b", nothing=None, zero=0, no=False, e="")
    body = {"kind": "moved", "to": "b", "zero": 0, "no": False, "e": ""}
    assert changes(before, draft) == {"lines": [line(record(result=body))], "weight": 512}
    assert list(draft.lines[0].record) == list(record())


def test_a_note_may_name_its_actor_and_its_visit() -> None:
    draft = draft_of(current_node="b", session_id=None, actor_id=None)
    draft.note("x", line_id="l", now=NOW, actor_id="bob", visit=3)
    draft.note("y", line_id="m", now=NOW)
    expected = {"node_id": "b", "session_id": None}
    assert whole(draft)["lines"] == [
        line(record(step_id="l", result={"kind": "x"}, visit=3, **{**expected, "actor_id": "bob"})),
        line(record(step_id="m", result={"kind": "y"}, **{**expected, "actor_id": None})),
    ]
    assert draft.weight == 1024


def test_a_note_of_a_later_generation_says_so() -> None:
    draft = draft_of(kernel=checkpoint(generation=2))
    draft.note("moved", line_id="line-1", now=NOW, visit=1)
    expected = record(result={"kind": "moved"}, visit=1, generation=2)
    assert whole(draft)["lines"] == [line(expected)]


@pytest.mark.parametrize(
    ("status", "kernel", "parked"),
    [
        (RunStatus.RUNNING, {}, True),
        (RunStatus.RUNNING, {"driver": DRIVER}, False),
        (RunStatus.RUNNING, {"open_steps": {MAIN: STEP}}, False),
        (RunStatus.RUNNING, {"queued_at": LATER}, False),
        *((status, {}, False) for status in RunStatus if status is not RunStatus.RUNNING),
    ],
)
def test_a_running_run_that_nothing_moves_but_its_host_is_parked(
    status: RunStatus, kernel: Any, parked: bool
) -> None:
    assert draft_of(kernel=checkpoint(**kernel), status=status).parked is parked


def evidence(number: int) -> Evidence:
    return Evidence(f"e-{number}", "run-1", f"step-{number}", f"digest-{number}", {}, NOW)


def test_only_evidence_that_no_commit_linked_yet_is_linked() -> None:
    draft = draft_of(kernel=checkpoint(linked=1, evidence=3))
    before = whole(draft)
    draft.link_evidence([evidence(1), evidence(2), evidence(3)], ids=ids(), now=LATER)
    at = {"started_at": LATER, "ended_at": LATER}
    assert changes(before, draft) == {
        "lines": [
            line(
                record(
                    step_id=f"line-{number - 1}",
                    result={
                        "kind": "evidence",
                        "evidence": f"e-{number}",
                        "digest": f"digest-{number}",
                        "step_id": f"step-{number}",
                    },
                    **at,
                )
            )
            for number in (2, 3)
        ],
        "linked": 3,
        "weight": 1024,
    }


def test_to_close_all_leaves_no_step_no_wait_and_no_place_in_a_queue() -> None:
    draft = waiting(WAIT, open_steps={MAIN: STEP, OTHER_BRANCH: STEP}, queued_at=LATER)
    before = whole(draft)
    draft.close_all()
    assert changes(before, draft) == {
        "open_steps": {},
        "waits": {},
        "queued_at": None,
        "waiting": None,
    }


def test_a_draft_works_on_the_run_it_was_given() -> None:
    given = loaded()
    draft = Draft(given)
    assert draft.run is given.run
    assert draft.encoding is given.encoding
    assert decode(draft.encoding.text()) == run_of().vars
