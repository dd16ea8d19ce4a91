"""What a moved node means for visits, and edits that a host made in its own store."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from abstractruntime.core.checkpoint import MAIN, OpenWait
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.edit import public_digest, rewound, take_host_edit
from abstractruntime.core.models import RunState, RunStatus, run_to_dict
from tests.unit.machine.builder import (
    DRIVER,
    LATER,
    NOW,
    OPEN_WAIT,
    STEP,
    WAIT,
    changes,
    checkpoint,
    draft_of,
    line,
    record,
    run_of,
    stepping,
    waiting,
    whole,
)


def seen(node: str, visit: int, revision: int | None = None, **fields: Any) -> dict[str, Any]:
    at = {} if revision is None else {"revision": revision}
    return record(node_id=node, visit=visit, **at, **fields)


# a1 b1 a2 b2 a3, with an edit in between that has no visit
TWICE = [
    seen("a", 1, 1),
    seen("a", 1, 2),
    seen("b", 1, 2),
    record(node_id="c", revision=3),
    seen("a", 2, 4),
    seen("b", 2, 5),
    seen("b", 2, 6),
    seen("a", 3, 7),
]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("a", ({"a": 2, "b": 2}, 6)),
        ("b", ({"a": 2, "b": 1}, 4)),
        ("c", None),
        ("d", None),
    ],
)
def test_counters_go_back_to_where_the_node_was_last_entered(node: str, expected: Any) -> None:
    assert rewound(TWICE, node, 1) == expected
    assert rewound(iter(TWICE), node, 1) == expected


def test_the_first_visit_of_all_leaves_nothing_counted_before_it() -> None:
    assert rewound(TWICE[:2], "a", 1) == ({"a": 0}, 0)


def test_the_last_record_of_the_node_says_which_visit_was_the_last() -> None:
    after_a_rewind = [*TWICE, seen("a", 2, 8)]
    assert rewound(after_a_rewind, "a", 1) == ({"a": 1, "b": 1}, 3)


def test_records_that_may_answer_stand_above_the_revision_though_they_are_older() -> None:
    # b2 is of a way that a rewind left; the run came from a1 to b1 again, and then to c1
    records = [*TWICE[:3], seen("b", 2, 3), seen("a", 1, 4), seen("b", 1, 4), seen("c", 1, 5)]
    assert rewound(records, "c", 1) == ({"a": 1, "b": 1, "c": 0}, 2)


def test_a_record_without_a_revision_counts_from_the_first() -> None:
    assert rewound([seen("a", 1)], "a", 1) == ({"a": 0}, 0)


def test_only_records_of_the_generation_count() -> None:
    records = [seen("a", 5, 1), seen("b", 1, 2, generation=2), seen("a", 1, 3, generation=2)]
    assert rewound(records, "a", 2) == ({"b": 1, "a": 0}, 2)
    assert rewound(records, "a", 1) == ({"a": 4}, 0)
    assert rewound(records, "b", 1) is None


# ---- digests


def test_the_digest_of_a_run_is_its_status_its_node_and_a_hash_of_what_a_host_may_change() -> None:
    run = run_of({"é": 1}, checkpoint())
    body = run_to_dict(run)
    del body["updated_at"], body["checkpoint"]
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert public_digest(run) == f"running|a|{digest}"
    bare = replace(run, updated_at=LATER, checkpoint=None)
    assert public_digest(bare) == public_digest(run)


CHANGED: list[dict[str, Any]] = [
    {"status": RunStatus.FAILED},
    {"current_node": "b"},
    {"vars": {"n": 2}},
    {"vars": {"n": True}},
    {"waiting": WAIT},
    {"output": {}},
    {"error": ""},
    {"actor_id": "bob"},
    {"session_id": None},
    {"parent_run_id": "x"},
    {"workflow_id": "x"},
]


@pytest.mark.parametrize("change", CHANGED, ids=lambda each: next(iter(each)))
def test_any_other_public_field_makes_another_digest(change: Any) -> None:
    run = run_of()
    assert public_digest(replace(run, **change)) != public_digest(run)


# ---- edits noticed at a load


def noticed(draft: Draft, records: Any = (), **edit: Any) -> dict[str, Any]:
    """What the machine makes of fields the host changed since the digest was taken."""
    draft.digest = public_digest(draft.run)
    for name, value in edit.items():
        setattr(draft.run, name, value)
    before = whole(draft)
    take_host_edit(draft, records, now=NOW, line_id="line-1")
    found = changes(before, draft)
    assert draft.digest == public_digest(draft.run)
    assert found.pop("digest", draft.digest) == draft.digest
    return found


def note(*changed: str, **fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"kind": "edited", "noticed": True}
    if changed:
        body["changed"] = list(changed)
    return {"lines": [line(record(result=body, **fields))], "weight": 512}


def test_a_noticed_edit_of_vars_leaves_the_open_step_alone() -> None:
    assert noticed(stepping(driver=DRIVER), vars={"n": 2}) == note()


def test_a_noticed_edit_of_a_waiting_runs_vars_leaves_its_wait_alone() -> None:
    assert noticed(waiting(), vars={"n": 2}) == note()


def test_a_noticed_move_rewinds() -> None:
    draft = draft_of(kernel=checkpoint(open_steps={MAIN: STEP}, driver=DRIVER, queued_at=LATER))
    assert noticed(draft, TWICE, current_node="b") == {
        "entered": False,
        "visits": {"a": 2, "b": 1},
        "recall": 4,
        "open_steps": {},
        "driver": None,
        "queued_at": None,
        **note("current_node", node_id="b"),
    }


def test_a_node_with_a_bar_in_its_name_is_no_move() -> None:
    draft = draft_of(kernel=checkpoint(visits={"a|b|c": 1}), current_node="a|b|c")
    assert noticed(draft, error="x") == note(node_id="a|b|c")


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED])
def test_a_run_noticed_ended_has_nothing_open(status: RunStatus) -> None:
    assert noticed(stepping(driver=DRIVER), status=status) == {
        "open_steps": {},
        "driver": None,
        **note("status"),
    }
    assert noticed(waiting(), status=status) == {
        "waiting": None,
        "waits": {},
        **note("status"),
    }


def test_a_run_noticed_waiting_has_an_open_wait() -> None:
    draft = stepping(driver=DRIVER)
    found = noticed(draft, status=RunStatus.WAITING, waiting=replace(WAIT, wait_key="go"))
    assert found == {
        "open_steps": {},
        "driver": None,
        "waits": {MAIN: OpenWait("line-1", "line-1", "a", 2, 4, "go")},
        **note("status"),
    }
    assert draft.run.waiting == replace(WAIT, wait_key="go")


def test_a_noticed_move_of_a_waiting_run_keeps_its_wait() -> None:
    draft = waiting()
    found = noticed(draft, TWICE, current_node="b")
    assert found == {
        "visits": {"a": 2, "b": 2},
        "recall": 4,
        "waits": {MAIN: OpenWait("line-1", "line-1", "b", 2, 4, "user:a")},
        **note("current_node", node_id="b"),
    }
    assert draft.run.waiting == WAIT


def test_a_noticed_move_to_a_wait_keeps_the_wait() -> None:
    draft = stepping()
    found = noticed(draft, TWICE, current_node="b", status=RunStatus.WAITING, waiting=replace(WAIT))
    assert found["waits"] == {MAIN: OpenWait("line-1", "line-1", "b", 2, 4, "user:a")}
    assert found["lines"] == note("current_node", "status", node_id="b")["lines"]
    assert draft.run.waiting == WAIT


def test_a_noticed_change_of_the_wait_is_another_wait() -> None:
    draft = waiting()
    found = noticed(draft, waiting=replace(WAIT, wait_key="go"))
    assert found == {"waits": {MAIN: OpenWait("line-1", "line-1", "a", 2, 4, "go")}, **note()}


def test_a_run_noticed_running_waits_no_longer() -> None:
    draft = waiting()
    assert noticed(draft, status=RunStatus.RUNNING) == {
        "waiting": None,
        "waits": {},
        **note("status"),
    }
    assert draft.waits != {MAIN: OPEN_WAIT}


def test_the_host_made_run_is_worked_on_in_place() -> None:
    draft = draft_of()
    run: RunState = draft.run
    noticed(draft, error="x")
    assert draft.run is run
