"""A waiting run moves on by a message, or because none came in time."""

from dataclasses import replace

import pytest

from abstractruntime.core.commit import Message
from abstractruntime.core.machine import wait
from abstractruntime.core.models import WaitReason
from abstractruntime.errors import WaitKeyMismatch
from tests.unit.machine.builder import LATER, NOW, WAIT, waiting


def test_a_late_wait_of_a_key_times_out() -> None:
    draft = waiting(replace(WAIT, until=LATER), opened=None)
    wait.fire(draft, now=LATER, line_id="line-1")
    assert draft.lines[0].record["result"] == {
        "kind": "resumed",
        "wait_key": "user:a",
        "cause": "timeout",
        "payload": {"timeout": True},
    }
    assert draft.run.current_node == "b"


def test_a_late_wait_goes_to_its_own_node() -> None:
    draft = waiting(replace(WAIT, until=LATER, details={"timeout_node": "late"}))
    wait.fire(draft, now=LATER, line_id="line-1")
    assert draft.run.current_node == "late"
    assert draft.run.vars["said"] == {"last": {"timeout": True}}


# ---- messages

SEVERAL = replace(WAIT, reason=WaitReason.EVENT, wait_key="x", details={"wait_keys": ["x", "y"]})


def test_a_message_is_an_answer_and_is_used_up() -> None:
    draft = waiting(replace(WAIT, reason=WaitReason.EVENT))
    sent = Message("message-1", "run-1", "user:a", {"p": 1}, NOW, sent_by="someone")
    wait.receive(draft, sent, now=LATER, line_id="line-1")
    assert draft.consumed == ["message-1"]
    assert draft.run.vars["said"] == {"last": {"p": 1}}
    assert draft.lines[0].record["result"] == {
        "kind": "resumed",
        "wait_key": "user:a",
        "wait_id": "wait-1",
        "cause": "message",
        "message_id": "message-1",
        "sender": "someone",
        "payload": {"p": 1},
    }


def test_the_result_of_a_wait_for_several_keys_names_the_one_that_came() -> None:
    draft = waiting(SEVERAL)
    wait.check_answer(draft, wait_key="y", wait_id=None, payload=5)
    wait.receive(draft, Message("m", "run-1", "y", 5, NOW), now=LATER, line_id="line-1")
    assert draft.run.vars["said"] == {"last": {"wait_key": "y", "payload": 5}}
    assert draft.lines[0].record["result"]["wait_key"] == "y"


def test_a_key_that_is_none_of_several_is_refused() -> None:
    with pytest.raises(WaitKeyMismatch):
        wait.check_answer(waiting(SEVERAL), wait_key="z", wait_id=None, payload=5)


def test_an_answer_that_names_no_key_counts_for_the_first() -> None:
    draft = waiting(SEVERAL)
    wait.answer(draft, 5, now=LATER, line_id="line-1")
    assert draft.run.vars["said"] == {"last": {"wait_key": "x", "payload": 5}}
