"""From a draft to the commit that a store writes."""

from typing import Any

import pytest

from abstractruntime.core.checkpoint import MAIN, Checkpoint
from abstractruntime.core.commit import Commit, Entry, Message
from abstractruntime.core.head import head_of
from abstractruntime.core.machine import step
from abstractruntime.core.machine.assemble import assemble
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.seal import NoSealer
from abstractruntime.core.models import run_to_dict
from abstractruntime.errors import NotJson
from tests.unit.machine.builder import (
    CREATED,
    DRIVER,
    EFFECT,
    LATER,
    NOW,
    STEP,
    changes,
    checkpoint,
    commit_dict,
    draft_of,
    loaded,
    planned,
    record,
    slots_of,
    step_record,
    stepping,
    whole,
)


class Numbering:
    """A sealer whose chain is the numbers of its records, and that notes what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str | None]] = []

    def new_salt(self) -> str | None:
        return None

    def seal(self, line: Entry, prev_hash: str | None) -> str | None:
        self.given.append((line.record["step_id"], prev_hash))
        line.record["record_hash"] = f"hash-{len(self.given)}"
        return f"hash-{len(self.given)}"


def test_a_step_on_its_way_is_committed_whole() -> None:
    draft = stepping(driver=DRIVER, chain_head="hash-0", version="v1")
    base = draft.encoding.text()
    previous = draft.head
    step.complete(draft, STEP, {"v": 1}, now=NOW)
    draft.note("moved", line_id="line-1", now=NOW, to="b")
    sealer = Numbering()
    made = assemble(draft, sealer, now=LATER)
    kernel = {
        "revision": 4,
        "visits": {"a": 2, "b": 1},
        "entered": True,
        "driver": DRIVER.to_dict(),
        "chain_head": "hash-2",
        "version": "v1",
    }
    head = {
        "status": "running",
        "current_node": "b",
        "updated_at": LATER,
        "waiting": None,
        "output": None,
        "error": None,
        "checkpoint": kernel,
    }
    first = step_record("completed", result={"v": 1}, revision=4, record_hash="hash-1")
    second = record(
        node_id="b", result={"kind": "moved", "to": "b"}, revision=4, record_hash="hash-2"
    )
    assert commit_dict(made, base) == {
        "run_id": "run-1",
        "expected": 3,
        "run": {
            "run_id": "run-1",
            "workflow_id": "wf",
            "created_at": CREATED,
            "actor_id": "ada",
            "session_id": "s-1",
            "parent_run_id": None,
            "vars": {"n": 1, "out": {"value": {"v": 1}}},
            **head,
        },
        "encoding": b'{"n":1,"out":{"value":{"v":1}}}',
        "head": head,
        "previous": previous,
        "delta": b'{"n":1,"out":{"value":{"v":1}}}',
        "records": (Entry(first, result=b'{"v":1}', opened=3, salt=STEP.salt), Entry(second)),
        "creates": (),
        "sent": (),
        "consumed": (),
        "urgent": False,
        "fence": None,
        "counters": None,
    }
    assert sealer.given == [("step-1", "hash-0"), ("line-1", "hash-1")]
    assert made.checkpoint is made.run.checkpoint


def test_an_intent_hands_on_the_texts_that_were_made_of_it() -> None:
    draft = draft_of()
    step.intend(draft, planned(), step_id="step-1", key="key-1", now=NOW, own_key=True, salt="5a")
    made = assemble(draft, NoSealer(), now=NOW)
    started = step_record("started", started_at=NOW, next_node="b", revision=4)
    text = b'{"n":1}'
    expected = Entry(started, payload=text, own_key=True, salt="5a", form=text)
    assert made.records == (expected,)
    assert made.head["checkpoint"]["open_steps"][MAIN]["effect"] == {
        "type": "call",
        "result_key": "out.value",
    }
    assert made.checkpoint.open_steps[MAIN].effect == EFFECT


def test_the_draft_stands_at_the_new_revision_and_carries_nothing() -> None:
    draft = stepping(chain_head="hash-0")
    step.complete(draft, STEP, {"v": 1}, now=NOW)
    draft.urgent, draft.moves = True, 3
    before = whole(draft)
    made = assemble(draft, Numbering(), now=LATER)
    assert changes(before, draft) == {
        "revision": 4,
        "chain_head": "hash-1",
        "updated_at": LATER,
        "encoding": made.encoding.text(),
        "head": made.head,
        "absorbed": True,
        "lines": [],
        "_results": [],
        "urgent": False,
        "moves": 0,
        "weight": 0,
    }
    assert draft.head == head_of(draft.run)


def test_the_next_commit_starts_where_the_last_one_ended() -> None:
    draft = stepping()
    step.complete(draft, STEP, {"v": 1}, now=NOW)
    first = assemble(draft, NoSealer(), now=NOW)
    draft.note("moved", line_id="line-2", now=LATER)
    second = assemble(draft, NoSealer(), now=LATER)
    assert second.previous is first.head
    assert (second.expected, second.checkpoint.revision) == (4, 5)
    assert second.delta is None
    assert [entry.record["step_id"] for entry in second.records] == ["line-2"]
    assert second.records[0].record["revision"] == 5


def test_what_else_a_move_does_is_part_of_its_commit() -> None:
    child = loaded()
    creation = Commit("run-2", 0, child.run, child.encoding, {})
    message = Message("message-1", "run-0", "go", None, NOW)
    draft = draft_of()
    draft.creates.append(creation)
    draft.sent.append(message)
    draft.consumed.append("message-0")
    draft.urgent = True
    made = assemble(draft, NoSealer(), now=NOW)
    assert made.creates == (creation,)
    assert made.sent == (message,)
    assert made.consumed == ("message-0",)
    assert made.urgent is True


def test_a_run_that_was_never_committed_is_created_by_its_first_commit() -> None:
    given = loaded(kernel=Checkpoint(visits={"a": 1}, entered=True))
    made = assemble(Draft(given), NoSealer(), now=NOW)
    assert (made.expected, made.previous, made.delta) == (0, None, None)
    assert slots_of(made.checkpoint) == slots_of(
        Checkpoint(revision=1, visits={"a": 1}, entered=True)
    )


def test_what_was_absorbed_before_is_not_looked_at_again() -> None:
    draft = draft_of()
    draft.run.vars["n"] = 2
    draft.absorb()
    draft.run.vars["n"] = {"not": {"json"}}
    made = assemble(draft, NoSealer(), now=NOW)
    assert made.encoding.text() == b'{"n":2}'


def test_vars_that_cannot_be_stored_make_no_commit_and_leave_the_revision() -> None:
    draft = draft_of(kernel=checkpoint(chain_head="hash-0"))
    draft.set_result("fine", b"1")
    draft.run.vars["bad"] = {1}
    draft.note("moved", line_id="line-1", now=NOW)
    before = whole(draft)
    with pytest.raises(NotJson) as caught:
        assemble(draft, Numbering(), now=LATER)
    assert caught.value.where["path"] == "$.vars.bad"
    assert changes(before, draft) == {}


def test_a_commit_without_a_chain_leaves_the_head_of_the_chain_empty() -> None:
    draft = draft_of(kernel=checkpoint(chain_head="hash-0"))
    made: Any = assemble(draft, NoSealer(), now=NOW)
    assert made.checkpoint.chain_head == "hash-0"
    draft.note("moved", line_id="line-1", now=NOW)
    made = assemble(draft, NoSealer(), now=NOW)
    assert made.checkpoint.chain_head is None
    assert run_to_dict(made.run)["checkpoint"] == made.head["checkpoint"]
