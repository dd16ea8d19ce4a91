"""An effect that has to be approved, from the question to the commit that begins it."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from typing import Any

import pytest

from abstractruntime.core.approval import Approval
from abstractruntime.core.canonical import chain_form, encode
from abstractruntime.core.checkpoint import MAIN, OpenStep
from abstractruntime.core.machine import approval
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.plan import Planned
from abstractruntime.core.models import RunStatus, WaitReason
from abstractruntime.core.times import plus
from abstractruntime.errors import NotJson
from tests.unit.machine.builder import NOW, draft_of

PAYLOAD = {"sum": 7, "to": "é"}


def planned(payload: Any = None, **terms: Any) -> Planned:
    payload = PAYLOAD if payload is None else payload
    options = {"approval": Approval(**terms).to_dict()}
    return Planned("pay", payload, "paid", "b", encode(payload), chain_form(payload), options)


def asked(payload: Any = None, **terms: Any) -> tuple[Draft, OpenStep]:
    draft = draft_of(status=RunStatus.RUNNING)
    step = approval.ask(
        draft, planned(payload, **terms), step_id="s", key="k", now=NOW, salt="5a17", rule="r"
    )
    draft.clear()
    return draft, step


def ids() -> Any:
    numbers = itertools.count(1)
    return lambda: f"id-{next(numbers)}"


def at(draft: Draft) -> OpenStep:
    return draft.open_steps[MAIN]


def state(draft: Draft) -> dict[str, Any]:
    found = at(draft).approval
    assert found is not None
    return found


def kinds(draft: Draft) -> list[str]:
    return [
        line.record["status"] if line.record["effect"] else line.record["result"]["kind"]
        for line in draft.lines
    ]


def test_a_digest_is_that_of_the_canonical_form_of_all_that_is_recorded() -> None:
    effect = {"type": "pay", "payload": {"b": 1, "a": 2.0}, "result_key": None}
    text = b'{"payload":{"a":2,"b":1},"result_key":null,"type":"pay"}'
    assert approval.digest_of(effect) == hashlib.sha256(text).hexdigest()
    found = {approval.digest_of(effect)}
    for other in (
        {"type": "play"},
        {"payload": {"b": 1, "a": 3}},
        {"result_key": "x"},
        {"options": {"delivery": "at_most_once"}},
    ):
        found.add(approval.digest_of({**effect, **other}))
    assert len(found) == 5
    assert approval.digest_of({**effect, "options": {}}) == approval.digest_of(effect)


def test_a_digest_of_what_i_json_cannot_hold_is_refused_with_the_path() -> None:
    with pytest.raises(NotJson) as refused:
        approval.digest_of({"type": "x", "payload": {"n": [2**53]}, "result_key": None})
    assert refused.value.where["path"] == "$.effect.payload.n[0]"


def test_a_question_opens_a_step_that_has_not_begun_and_a_wait() -> None:
    draft = draft_of(status=RunStatus.RUNNING)
    step = approval.ask(
        draft,
        planned(by=("ann",), quorum=1, expires_s=60, remind_s=(20, 10), escalate_s=15),
        step_id="s",
        key="k",
        now=NOW,
        salt="5a17",
        rule="r",
    )
    digest = approval.digest_of(step.effect)
    assert (step.attempt, step.opened, step.next_node, step.salt) == (
        0, draft.revision + 1, "b", "5a17",
    )  # fmt: skip
    assert step.approval == {
        "digest": digest,
        "rule": "r",
        "asked_at": NOW,
        "expires_at": plus(NOW, 60),
        "due": [
            [plus(NOW, 10), "remind"],
            [plus(NOW, 15), "escalate"],
            [plus(NOW, 20), "remind"],
        ],
    }
    run = draft.run
    assert run.status is RunStatus.WAITING
    assert run.waiting is not None
    assert run.waiting.reason is WaitReason.USER
    assert run.waiting.wait_key == f"approval:{run.run_id}:{step.node_id}:{step.visit}"
    assert run.waiting.until == plus(NOW, 10)
    assert (run.waiting.resume_to_node, run.waiting.result_key) == (None, None)
    assert run.waiting.prompt == f"Approve pay at node '{step.node_id}'?"
    assert run.waiting.details == {
        "approval": {
            "digest": digest,
            "effect": step.effect,
            "step_id": "s",
            "node_id": step.node_id,
            "visit": step.visit,
            "quorum": 1,
            "by": ["ann"],
            "votes": [],
            "asked_at": NOW,
            "expires_at": plus(NOW, 60),
            "before": [],
            "rule": "r",
        }
    }
    opened = draft.waits[MAIN]
    assert (opened.wait_id, opened.step_id, opened.key) == ("s", "s", run.waiting.wait_key)
    (entry,) = draft.lines
    assert (entry.payload, entry.opened, entry.salt) == (encode(PAYLOAD), None, "5a17")
    assert entry.form == chain_form(PAYLOAD)
    record = entry.record
    assert (record["status"], record["attempt"], record["next_node"]) == ("waiting", 0, "b")
    assert record["result"]["approval"] == step.approval
    assert entry.result == encode(record["result"])
    assert approval.asked(draft) is step


def test_nothing_is_asked_where_no_step_waits_for_approval() -> None:
    assert approval.asked(draft_of(status=RunStatus.RUNNING)) is None
    draft, step = asked()
    assert approval.asked(draft) is not None
    for other in (replace(step, approval=None), replace(step, attempt=1)):
        draft.open_steps = {MAIN: other}
        assert approval.asked(draft) is None
    draft.open_steps = {MAIN: step}
    draft.run.status = RunStatus.RUNNING
    assert approval.asked(draft) is None


def test_a_prompt_of_its_own_is_shown() -> None:
    draft, _ = asked(prompt="Pay?")
    assert draft.run.waiting is not None
    assert draft.run.waiting.prompt == "Pay?"


def test_enough_different_votes_grant_the_digest() -> None:
    draft, step = asked(quorum=2, remind_s=(10,))
    approval.vote(draft, step, "ann", now=NOW, ids=ids())
    assert kinds(draft) == ["approved"]
    assert draft.lines[0].record["actor_id"] == "ann"
    assert draft.lines[0].record["result"]["votes"] == 1
    assert draft.run.status is RunStatus.WAITING
    assert state(draft)["votes"] == [{"by": "ann", "at": NOW}]
    approval.vote(draft, at(draft), "ann", now=NOW, ids=ids())
    assert draft.run.status is RunStatus.WAITING, "the same one twice is one"
    approval.vote(draft, at(draft), "bob", now=NOW, ids=ids())
    assert kinds(draft)[-2:] == ["approved", "granted"]
    assert draft.run.status is RunStatus.RUNNING
    assert draft.run.waiting is None
    assert draft.waits == {}
    digest = state(draft)["digest"]
    assert state(draft)["grant"] == {"digest": digest, "by": ["ann", "ann", "bob"], "at": NOW}
    assert "due" not in state(draft)


def test_a_step_begins_by_its_grant_which_is_gone_then() -> None:
    draft, step = asked()
    approval.vote(draft, step, "ann", now=NOW, ids=ids())
    draft.clear()
    later = plus(NOW, 5)
    begun = approval.begin(
        draft, at(draft), key="k2", now=later, line_id="l", first_at=later, own_key=True, child="c"
    )
    assert kinds(draft) == ["grant_used", "started"]
    assert draft.urgent
    assert (begun.attempt, begun.key, begun.started_at, begun.first_at, begun.child) == (
        1, "k2", later, later, "c",
    )  # fmt: skip
    assert begun.approval == {"digest": approval.digest_of(step.effect)}
    assert draft.open_steps[MAIN] is begun
    entry = draft.lines[1]
    assert (entry.opened, entry.own_key, entry.payload) == (step.opened, True, None)
    assert (entry.record["next_node"], entry.record["attempt"]) == ("b", 1)


def test_an_edit_is_another_effect_for_which_nobody_has_voted() -> None:
    draft, step = asked(quorum=2)
    approval.vote(draft, step, "ann", now=NOW, ids=ids())
    draft.clear()
    before = state(draft)["digest"]
    edited = approval.edit(draft, at(draft), {"sum": 5}, "bob", now=NOW, ids=ids(), salt="new")
    assert kinds(draft) == ["effect_edited", "waiting"]
    said = draft.lines[0].record["result"]
    assert (said["digest_before"], said["digest_after"]) == (before, state(draft)["digest"])
    assert before != state(draft)["digest"] == approval.digest_of(edited.effect)
    assert state(draft)["before"] == [before]
    assert "votes" not in state(draft)
    assert edited.effect["payload"] == {"sum": 5}
    assert (edited.opened, edited.salt) == (draft.revision + 1, "new")
    assert (draft.lines[1].payload, draft.lines[1].form) == (b'{"sum":5}', b'{"sum":5}')
    assert draft.waits[MAIN].wait_id == "id-1"
    assert draft.waits[MAIN].step_id == "s"


@pytest.mark.parametrize("then", ["fail", "no"])
def test_a_rejection_ends_the_step_and_the_run_or_goes_its_way(then: str) -> None:
    draft, step = asked(on_rejected=then)
    approval.reject(draft, step, "ann", "too much", now=NOW, ids=ids())
    error = f"Approval of pay at node '{step.node_id}' was rejected by ann: too much"
    assert kinds(draft) == ["rejected", "failed"]
    assert draft.lines[1].record["error"] == error
    assert draft.lines[1].record.get("next_node") == (None if then == "fail" else "no")
    assert draft.open_steps == {}
    assert draft.waits == {}
    if then == "fail":
        assert (draft.run.status, draft.run.error) == (RunStatus.FAILED, error)
        return
    assert (draft.run.status, draft.run.current_node) == (RunStatus.RUNNING, "no")
    assert draft.run.vars["paid"] == {
        "error": error, "decision": "rejected", "by": "ann", "reason": "too much",
    }  # fmt: skip


def test_a_rejection_needs_no_reason() -> None:
    draft, step = asked()
    approval.reject(draft, step, "ann", None, now=NOW, ids=ids())
    assert str(draft.run.error).endswith("was rejected by ann")


def test_the_clock_reminds_escalates_and_ends_it() -> None:
    draft, step = asked(
        by=("ann",), remind_s=(10, 40), escalate_s=20, escalate_to=("boss",), expires_s=60,
        on_expired="late",
    )  # fmt: skip

    def until() -> str | None:
        return None if draft.run.waiting is None else draft.run.waiting.until

    assert not approval.fall_due(draft, step, now=plus(NOW, 25), ids=ids())
    assert kinds(draft) == ["reminded", "escalated"]
    assert [line.record["result"]["due_at"] for line in draft.lines] == [
        plus(NOW, 10), plus(NOW, 20),
    ]  # fmt: skip
    assert state(draft)["escalated"] is True
    assert state(draft)["due"] == [[plus(NOW, 40), "remind"]]
    assert until() == plus(NOW, 40)
    assert not approval.fall_due(draft, at(draft), now=plus(NOW, 40), ids=ids())
    assert "due" not in state(draft)
    assert until() == plus(NOW, 60)
    draft.clear()
    assert approval.fall_due(draft, at(draft), now=plus(NOW, 60), ids=ids())
    assert kinds(draft) == ["expired", "failed"]
    assert draft.run.current_node == "late"
    assert draft.run.vars["paid"]["decision"] == "expired"
    assert draft.run.vars["paid"]["expired_at"] == plus(NOW, 60)


def test_expiry_may_fail_the_run() -> None:
    draft, step = asked(expires_s=60)
    assert not approval.fall_due(draft, step, now=plus(NOW, 60), ids=ids())
    assert draft.run.status is RunStatus.FAILED
    assert f"expired at {plus(NOW, 60)}" in str(draft.run.error)


def test_what_was_asked_is_asked_again_of_a_run_that_was_set_running() -> None:
    draft, step = asked()
    draft.run.status, draft.run.waiting, draft.waits = RunStatus.RUNNING, None, {}
    approval.ask_again(draft, step, now=NOW, line_id="l")
    assert kinds(draft) == ["asked_again", "waiting"]
    assert approval.asked(draft) is step
    assert draft.waits[MAIN].wait_id == "s"
    assert draft.lines[1].opened == step.opened


def test_a_mismatch_fails_the_step_and_the_run() -> None:
    draft, step = asked()
    draft.run.status, draft.run.waiting, draft.waits = RunStatus.RUNNING, None, {}
    approval.mismatch(draft, step, "another", now=NOW, line_id="l")
    assert kinds(draft) == ["failed"]
    assert (draft.run.status, draft.run.error) == (RunStatus.FAILED, "another")
    assert draft.open_steps == {}


def test_what_was_said_is_rebuilt_from_the_ledger() -> None:
    draft = draft_of(status=RunStatus.RUNNING)
    made = planned(quorum=2, remind_s=(10, 50), escalate_s=20)
    approval.ask(draft, made, step_id="s", key="k", now=NOW)
    records = draft.lines
    approval.fall_due(draft, at(draft), now=plus(NOW, 30), ids=ids())

    def rebuilt() -> Any:
        return approval.state_from([line.record for line in records], "s")

    assert rebuilt() == state(draft)
    approval.edit(draft, at(draft), {"sum": 5}, "ann", now=NOW, ids=ids(), salt=None)
    approval.vote(draft, at(draft), "ann", now=NOW, ids=ids())
    assert rebuilt() == state(draft)
    approval.vote(draft, at(draft), "bob", now=NOW, ids=ids())
    assert rebuilt() == state(draft)
    approval.begin(draft, at(draft), key="k", now=NOW, line_id="l", first_at=None)
    assert rebuilt() == state(draft) == {"digest": approval.digest_of(at(draft).effect)}
    assert approval.state_from([line.record for line in records], "other") is None


def test_an_open_step_keeps_what_was_said_of_it() -> None:
    _, step = asked(quorum=2)
    assert OpenStep.from_dict(step.to_dict()) == step
    assert "approval" not in replace(step, approval=None).to_dict()
