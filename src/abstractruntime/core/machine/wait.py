"""A waiting run moves on: an answer, a message, a due timer, the end of a child."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.canonical import encode, exact
from abstractruntime.core.checkpoint import MAIN, OpenWait
from abstractruntime.core.commit import Message
from abstractruntime.core.machine import budget, ends, join
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.mail import WAIT_KEYS, keys_of, timeout_node_of, times_out
from abstractruntime.core.machine.pause import refuse_if_paused
from abstractruntime.core.machine.step import unknown_step
from abstractruntime.core.machine.table import Move
from abstractruntime.core.models import RunStatus, WaitReason, WaitState
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
    if draft.join is not None:
        refuse_if_paused(draft)
        branch = join.find(draft, wait_key=wait_key, wait_id=wait_id)
        _refuse_unknown(draft, branch)
        _check_choice(run.run_id, join.waiting_of(draft, branch)[0], payload)
        return
    waiting = run.waiting
    if run.status is not RunStatus.WAITING or waiting is None:
        raise NotWaiting("Run is not waiting", run_id=run.run_id, status=run.status.value)
    refuse_if_paused(draft)
    unknown = unknown_step(draft)
    _refuse_unknown(draft, MAIN if unknown is None else unknown.branch)
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


def _refuse_unknown(draft: Draft, branch: str) -> None:
    step = draft.open_steps.get(branch)
    if step is not None and step.unknown is not None:
        run_id = draft.run.run_id
        raise NeedsResolve(
            f"Run '{run_id}' waits for what became of step '{step.step_id}', not an answer",
            run_id=run_id,
            node=step.node_id,
        )


def _check_choice(run_id: str, waiting: WaitState, payload: Any) -> None:
    if not waiting.choices or waiting.allow_free_text:
        return
    said = _words(payload)
    if not any(isinstance(word, str) and word in waiting.choices for word in said):
        raise ChoiceRefused(
            f"The answer must be one of {waiting.choices}", run_id=run_id, found=said or payload
        )


def _words(payload: Any) -> list[Any]:
    if isinstance(payload, dict):
        return [payload[name] for name in CHOICE_KEYS if name in payload]
    return [payload] if isinstance(payload, str) else []


def _says(payload: Any, word: str) -> bool:
    return word in _words(payload)


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
    branch: str = MAIN,
) -> None:
    """Store `payload` at the wait's result key and go on. NotJson: nothing was changed.

    Of a wait for several keys the result is {"wait_key", "payload"}; the first where none is named.
    """
    text, value = exact(payload, path="$.payload")
    waiting, opened = _open_wait(draft, branch)
    late, key = cause == TIMEOUT, wait_key or waiting.wait_key
    several = WAIT_KEYS in (waiting.details or {}) and not late
    result = encode({"wait_key": key, "payload": value}) if several else text
    if waiting.result_key:
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
        branch=branch or None,
    )
    draft.weight += len(text)
    why = budget.asks(draft)
    if why is not None:
        budget.look_again(draft)
        if _says(value, budget.STOP):
            ends.fail(draft, why, now=now, line_id=line_id)
        return
    _go_on(draft, waiting, branch, result, timeout_node_of(waiting) if late else None)


def receive(draft: Draft, message: Message, *, now: str, line_id: str) -> None:
    """A message answers the wait for its name, and is used up."""
    branch = MAIN
    if draft.join is not None:
        branch = join.find(draft, wait_key=message.name, wait_id=None)
        if join.waiting_of(draft, branch)[0].reason is WaitReason.SUBWORKFLOW:
            child_ended(draft, branch, message, now=now, line_id=line_id)
            return
    answer(
        draft,
        message.payload,
        now=now,
        line_id=line_id,
        cause=MESSAGE,
        wait_key=message.name,
        message_id=message.message_id,
        sender=message.sent_by,
        branch=branch,
    )
    draft.consumed.append(message.message_id)


def fire(draft: Draft, *, now: str, line_id: str, branch: str = MAIN) -> None:
    """The wait's time has come; the result is {"until", "ready": true}, or {"timeout": true} where
    something else was waited for."""
    waiting, opened = _open_wait(draft, branch)
    if times_out(waiting):
        said = {"timeout": True}
        answer(draft, said, now=now, line_id=line_id, cause=TIMEOUT, branch=branch)
        return
    result = {"until": waiting.until, "ready": True}
    text = encode(result)
    if waiting.result_key:
        draft.set_result(waiting.result_key, text)
    draft.note(
        "resumed",
        line_id=line_id,
        now=now,
        wait_key=waiting.wait_key,
        wait_id=None if opened is None else opened.wait_id,
        cause="timer",
        payload=result,
        branch=branch or None,
    )
    _go_on(draft, waiting, branch, text)


def child_ended(draft: Draft, branch: str, message: Message, *, now: str, line_id: str) -> None:
    """The child that a branch waits for has ended, well or not; the message is used up."""
    said = message.payload
    if said["status"] == RunStatus.COMPLETED.value:
        child_completed(draft, message, now=now, line_id=line_id, branch=branch)
        return
    error = f"Subworkflow '{said['workflow_id']}' failed: {said.get('error')}"
    opened = draft.waits[branch]
    draft.note("wait_failed", line_id=line_id, now=now, visit=opened.visit)
    record = draft.lines[-1].record
    record.update(
        step_id=opened.step_id, node_id=opened.node_id, status="failed", error=error, branch=branch
    )
    draft.consumed.append(message.message_id)
    join.wake(draft, branch)
    join.fail(draft, branch, error)


def child_completed(
    draft: Draft, message: Message, *, now: str, line_id: str, branch: str = MAIN
) -> None:
    """A sync child has completed: its output is the answer; the message is used up."""
    said = message.payload
    answer(
        draft,
        {"sub_run_id": said["sub_run_id"], "output": said.get("output")},
        now=now,
        line_id=line_id,
        cause="child",
        branch=branch,
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


def _open_wait(draft: Draft, branch: str = MAIN) -> tuple[WaitState, OpenWait | None]:
    if branch != MAIN:
        return join.waiting_of(draft, branch)
    waiting = draft.run.waiting
    if waiting is None:
        raise NotWaiting("Run is not waiting", run_id=draft.run.run_id)
    return waiting, draft.waits.get(MAIN)


def _go_on(
    draft: Draft, waiting: WaitState, branch: str, result: bytes, node: str | None = None
) -> None:
    if branch != MAIN:
        join.wake(draft, branch)
        join.complete(draft, branch, result)
        return
    draft.become(Move.ANSWER)
    draft.run.waiting = None
    draft.waits = {name: w for name, w in draft.waits.items() if name != MAIN}
    draft.enter(node or waiting.resume_to_node or draft.run.current_node)
