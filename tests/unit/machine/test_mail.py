"""Which keys a wait hears, and which messages nobody will ever hear."""

from __future__ import annotations

import pytest

from abstractruntime.core.commit import Message
from abstractruntime.core.machine.mail import (
    awaited_keys,
    dead_letters,
    heard_keys,
    times_out,
    unread,
)
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState

NOW = "2026-01-01T00:00:10.000000+00:00"
BEFORE = "2026-01-01T00:00:09.999999+00:00"
AFTER = "2026-01-01T00:00:10.000001+00:00"


def run(status: RunStatus = RunStatus.WAITING, waiting: WaitState | None = None) -> RunState:
    return RunState("r", "w", status, "a", waiting=waiting)


@pytest.mark.parametrize("reason", list(WaitReason))
def test_only_event_waits_hear_messages_and_a_parent_its_child(reason: WaitReason) -> None:
    waits = run(waiting=WaitState(reason, wait_key="k"))
    heard = ("k",) if reason is WaitReason.EVENT else ()
    assert heard_keys(waits) == heard
    assert awaited_keys(waits) == (("k",) if reason is WaitReason.SUBWORKFLOW else heard)


def test_a_wait_for_several_keys_hears_each() -> None:
    wait = WaitState(WaitReason.EVENT, wait_key="a", details={"wait_keys": ["a", "b"]})
    assert heard_keys(run(waiting=wait)) == ("a", "b")
    assert heard_keys(run(RunStatus.RUNNING)) == ()
    assert heard_keys(run(waiting=WaitState(WaitReason.EVENT))) == ()


def test_details_that_are_no_keys_change_nothing() -> None:
    wait = WaitState(WaitReason.EVENT, wait_key="a", details={"wait_keys": "b"})
    assert heard_keys(run(waiting=wait)) == ("a",)


def test_a_time_is_a_limit_where_something_else_is_waited_for() -> None:
    limits = {reason for reason in WaitReason if times_out(WaitState(reason, until=NOW))}
    assert limits == {WaitReason.EVENT, WaitReason.USER, WaitReason.JOB}
    assert not times_out(WaitState(WaitReason.EVENT))


def message(expires_at: str | None = None) -> Message:
    return Message(f"m{expires_at}", "r", "k", 1, BEFORE, expires_at=expires_at)


def test_an_expired_message_is_a_dead_letter_from_its_moment_on() -> None:
    sent = [message(), message(BEFORE), message(NOW), message(AFTER)]
    assert unread(None, sent, NOW) == [sent[0], sent[3]]
    dead = dead_letters(run(), sent, NOW)
    assert [(letter.message, letter.reason) for letter in dead] == [
        (sent[1], f"expired at {BEFORE}"),
        (sent[2], f"expired at {NOW}"),
    ]


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED])
def test_what_an_ended_run_left_unread_is_dead(status: RunStatus) -> None:
    (letter,) = dead_letters(run(status), [message()], NOW)
    assert letter.reason == f"the run ended before it was read: {status.value}"
    assert unread(run(status), [message()], NOW) == []
