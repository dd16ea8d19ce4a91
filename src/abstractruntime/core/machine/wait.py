"""A waiting run moves on: an answer, a message, a due timer, the end of a child."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.canonical import encode, exact
from abstractruntime.core.checkpoint import MAIN, OpenWait
from abstractruntime.core.commit import Message
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.mail import WAIT_KEYS, keys_of, timeout_node_of, times_out
from abstractruntime.core.machine.pause import refuse_if_paused
from abstractruntime.core.machine.table import Move
from abstractruntime.core.models import RunStatus, WaitState
from abstractruntime.errors import (
    ChoiceRefused,
    NeedsResolve,
    NotWaiting,
    StaleAnswer,
    WaitKeyMismatch,
)

CHOICE_KEYS = ("choice", "response", "answer", "text")

MESSAGE, TIMEOUT = "message", "timeout"
"""Causes of a move, as its record names them."""


def check_answer(draft: Draft, *, wait_key: str | None, wait_id: str | None, payload: Any) -> None:
    """Refuse what cannot answer the open wait, having changed nothing."""
    run = draft.run
    waiting = run.waiting
    if run.status is not RunStatus.WAITING or waiting is None:
        raise NotWaiting("Run is not waiting", run_id=run.run_id, status=run.status.value)
    refuse_if_paused(draft)
    unknown = draft.open_steps.get(MAIN)
    if unknown is not None and unknown.unknown is not None:
        raise NeedsResolve(
            f"Run '{run.run_id}' waits for what became of step '{unknown.step_id}', not an answer",
            run_id=run.run_id,
            node=unknown.node_id,
        )
    if wait_key is not None and wait_key != waiting.wait_key and wait_key not in keys_of(waiting):
        raise WaitKeyMismatch(
            f"wait_key mismatch: expected '{waiting.wait_key}', got '{wait_key}'",
            run_id=run.run_id,
        )
    opened = draft.waits.get(MAIN)
    if wait_id is not None and (opened is None or opened.wait_id != wait_id):
        raise StaleAnswer(
            f"The answer is for wait '{wait_id}', which is not open any more",
            run_id=run.run_id,
            expected=None if opened is None else opened.wait_id,
        )
    _check_choice(run.run_id, waiting, payload)


def _check_choice(run_id: str, waiting: WaitState, payload: Any) -> None:
    if not waiting.choices or waiting.allow_free_text:
        return
    said = [payload] if isinstance(payload, str) else []
    if isinstance(payload, dict):
        said = [payload[name] for name in CHOICE_KEYS if name in payload]
    if not any(isinstance(word, str) and word in waiting.choices for word in said):
        raise ChoiceRefused(
            f"The answer must be one of {waiting.choices}", run_id=run_id, found=said or payload
        )


def answer(
    draft: Draft,
    payload: Any,
    *,
    now: str,
    line_id: str,
    actor_id: str | None = None,
    cause: str = "answer",
    wait_key: str | None = None,
    message_id: str | None = None,
    sender: str | None = None,
) -> None:
    """Store `payload` at the wait's result key and go on. NotJson: nothing was changed.

    Of a wait for several keys the result is {"wait_key", "payload"}; the first where none is named.
    """
    text, value = exact(payload, path="$.payload")
    waiting, opened = _open_wait(draft)
    late, key = cause == TIMEOUT, wait_key or waiting.wait_key
    if waiting.result_key:
        several = WAIT_KEYS in (waiting.details or {}) and not late
        result = encode({"wait_key": key, "payload": value}) if several else text
        draft.set_result(waiting.result_key, result)
    draft.note(
        "resumed",
        line_id=line_id,
        now=now,
        actor_id=actor_id,
        wait_key=key,
        wait_id=None if opened is None else opened.wait_id,
        cause=cause,
        message_id=message_id,
        sender=sender,
        payload=value,
    )
    draft.weight += len(text)
    _go_on(draft, waiting, timeout_node_of(waiting) if late else None)


def receive(draft: Draft, message: Message, *, now: str, line_id: str) -> None:
    """A message answers the wait for its name, and is used up."""
    answer(
        draft,
        message.payload,
        now=now,
        line_id=line_id,
        cause=MESSAGE,
        wait_key=message.name,
        message_id=message.message_id,
        sender=message.sent_by,
    )
    draft.consumed.append(message.message_id)


def fire(draft: Draft, *, now: str, line_id: str) -> None:
    """The wait's time has come; the result is {"until", "ready": true}, or {"timeout": true} where
    something else was waited for."""
    waiting, opened = _open_wait(draft)
    if times_out(waiting):
        answer(draft, {"timeout": True}, now=now, line_id=line_id, cause=TIMEOUT)
        return
    result = {"until": waiting.until, "ready": True}
    if waiting.result_key:
        draft.set_result(waiting.result_key, encode(result))
    draft.note(
        "resumed",
        line_id=line_id,
        now=now,
        wait_key=waiting.wait_key,
        wait_id=None if opened is None else opened.wait_id,
        cause="timer",
        payload=result,
    )
    _go_on(draft, waiting)


def child_completed(draft: Draft, message: Message, *, now: str, line_id: str) -> None:
    """A sync child has completed: its output is the answer; the message is used up."""
    said = message.payload
    answer(
        draft,
        {"sub_run_id": said["sub_run_id"], "output": said.get("output")},
        now=now,
        line_id=line_id,
        cause="child",
    )
    draft.consumed.append(message.message_id)


def update_child(
    draft: Draft, sub_waiting: dict[str, Any] | None, *, now: str, line_id: str
) -> bool:
    """What the awaited child waits for has changed; False when it has not."""
    waiting, _ = _open_wait(draft)
    details = dict(waiting.details or {})
    if details.get("sub_waiting") == sub_waiting:
        return False
    details["sub_waiting"] = sub_waiting
    waiting.details = details
    draft.note("child_waits", line_id=line_id, now=now, sub_waiting=sub_waiting)
    return True


def _open_wait(draft: Draft) -> tuple[WaitState, OpenWait | None]:
    waiting = draft.run.waiting
    if waiting is None:
        raise NotWaiting("Run is not waiting", run_id=draft.run.run_id)
    return waiting, draft.waits.get(MAIN)


def _go_on(draft: Draft, waiting: WaitState, node: str | None = None) -> None:
    draft.become(Move.ANSWER)
    draft.run.waiting = None
    draft.waits = {branch: w for branch, w in draft.waits.items() if branch != MAIN}
    draft.enter(node or waiting.resume_to_node or draft.run.current_node)
