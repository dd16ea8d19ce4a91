"""One effect at one visit: its intent, its attempts and its outcome."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from abstractruntime.core.canonical import encode, exact
from abstractruntime.core.checkpoint import MAIN, NO_TERMS, OpenStep, OpenWait
from abstractruntime.core.commit import Entry
from abstractruntime.core.identifiers import checked
from abstractruntime.core.machine import budget, join, undo
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.plan import Planned
from abstractruntime.core.machine.table import Move
from abstractruntime.core.models import (
    RunStatus,
    WaitReason,
    WaitState,
    wait_from_dict,
    wait_to_dict,
)
from abstractruntime.core.options import bare
from abstractruntime.errors import NotWaiting

MOST_SHOWN = 16 * 1024
"""Bytes up to which a payload stands in the details of a wait; the ledger has every one whole."""


def intend(
    draft: Draft,
    planned: Planned,
    *,
    step_id: str,
    key: str,
    now: str,
    salt: str | None = None,
    own_key: bool = False,
    attempt: int = 1,
    child: str | None = None,
    first_at: str | None = None,
    branch: str = MAIN,
    place: tuple[str, int] | None = None,
    begun: bool = True,
) -> OpenStep:
    """Write down what is about to be performed: a STARTED record and the open step.

    `place` is its node and visit where they are not the run's own.
    """
    node_id, visit = place or (draft.run.current_node, draft.visit())
    step = OpenStep(
        step_id=step_id,
        node_id=node_id,
        visit=visit,
        effect=planned.effect,
        key=key,
        started_at=now,
        opened=draft.revision + 1,
        next_node=planned.next_node,
        attempt=attempt,
        child=child,
        salt=salt,
        first_at=first_at,
        branch=branch,
        begun=begun,
    )
    draft.open_steps = {**draft.open_steps, step.branch: step}
    draft.queued_at = None
    record = _record(draft, step, "started", now)
    if step.next_node is not None:
        record["next_node"] = step.next_node
    draft.lines.append(Entry(record, planned.text, None, None, own_key, salt, planned.form))
    draft.weight += len(planned.text)
    return step


def retry(draft: Draft, step: OpenStep, *, now: str) -> OpenStep:
    """The intent of the attempt that is due: another STARTED record of the same step."""
    step = replace(step, wake_at=None, started_at=now)
    draft.open_steps = {**draft.open_steps, step.branch: step}
    draft.queued_at = None
    _line(draft, step, _record(draft, step, "started", now))
    return step


def complete(draft: Draft, step: OpenStep, result: Any, *, now: str) -> None:
    """The effect is performed: record its result, store it, go to the next node.

    Raises NotJson or LimitExceeded, having changed nothing, when the result cannot be stored.
    """
    text = None
    if result is not None:
        text, result = exact(result, path="$.result")
    key = step.effect["result_key"]
    if key and text is not None:
        draft.set_result(key, text)
    record = _record(draft, step, "completed", now)
    record["result"] = result
    _line(draft, step, record, result=text)
    close(draft, step)
    if draft.terms.undos:
        undo.performed(draft, step)
    if step.branch == MAIN:
        draft.enter(step.next_node or step.node_id)
    elif step.joins:
        join.complete(draft, step.branch, text)


def wait(draft: Draft, step: OpenStep, waiting: WaitState, *, now: str) -> None:
    """The effect's answer comes later: the run waits, and its driver may go away.

    Raises NotJson, LimitExceeded or InvalidIdentifier, having changed nothing.
    """
    if waiting.wait_key is not None:
        checked(waiting.wait_key, "wait_key")
    data = wait_to_dict(waiting)
    text, data = exact({"wait": data}, path="$.waiting")
    record = _record(draft, step, "waiting", now)
    record["result"] = data
    _line(draft, step, record, result=text)
    close(draft, step)
    if step.joins:
        opened = _open_wait(draft, step, waiting.wait_key)
        join.open_wait(draft, step, opened, wait_from_dict(data["wait"]))
        return
    draft.run.waiting = wait_from_dict(data["wait"])
    draft.waits = {
        **draft.waits,
        step.branch: _open_wait(draft, step, waiting.wait_key),
    }
    draft.become(Move.WAIT)


def fail_attempt(
    draft: Draft, step: OpenStep, error: str, *, now: str, next_at: str | None
) -> OpenStep | None:
    """The attempt failed: the next one is due at `next_at`, or (None) the step has failed."""
    record = _record(draft, step, "failed", now)
    record["error"] = error
    if next_at is not None:
        record["next_at"] = next_at
    _line(draft, step, record)
    if next_at is None:
        close(draft, step)
        if undo.is_undo(step):
            undo.drop(draft, step)  # given up: the record says so
        return None
    step = replace(step, attempt=step.attempt + 1, wake_at=next_at)
    draft.open_steps = {**draft.open_steps, step.branch: step}
    return step


def exhaust(draft: Draft, step: OpenStep, error: str, node_id: str, *, now: str) -> None:
    """The step has failed for good and the run goes to `node_id`, which finds at the result key
    {"error": …, "attempts": …}."""
    record = _record(draft, step, "failed", now)
    record["error"] = error
    record["next_node"] = node_id
    _line(draft, step, record)
    key = step.effect["result_key"]
    if key:
        draft.set_result(key, encode({"error": error, "attempts": step.attempt}))
    close(draft, step)
    draft.enter(node_id)


def progress(draft: Draft, step: OpenStep, details: Any, *, now: str, line_id: str) -> OpenStep:
    """The handler told how far it came."""
    step = replace(step, progress=details)
    draft.open_steps = {**draft.open_steps, step.branch: step}
    draft.note(
        "heartbeat", line_id=line_id, now=now, step=step.step_id, attempt=step.attempt,
        progress=details,
    )  # fmt: skip
    return step


def set_out(draft: Draft, step: OpenStep, *, now: str, line_id: str) -> OpenStep:
    """A step whose intent waited for its turn begins: from here on a crash may cut it short.

    It keeps the time of its intent: stores take that of a first attempt from its first record.
    """
    step = replace(step, begun=True)
    draft.open_steps = {**draft.open_steps, step.branch: step}
    draft.note("set_out", line_id=line_id, now=now, begun_step=step.step_id, branch=step.branch)
    return step


def doubt(draft: Draft, step: OpenStep, why: str, *, now: str) -> None:
    """Nobody knows whether the last attempt was performed: the run waits for somebody's word."""
    step = replace(step, unknown=why, wake_at=None)
    intent = {
        "step_id": step.step_id,
        "node_id": step.node_id,
        "visit": step.visit,
        "attempt": step.attempt,
        "key": step.key,
        "started_at": step.started_at,
        "effect": shown(step.effect),
    }
    waiting = WaitState(
        reason=WaitReason.USER,
        wait_key=f"resolve:{step.step_id}",
        prompt=f"Was {step.effect['type']} at node '{step.node_id}' performed? {why}",
        details={"unknown": intent, "why": why},
    )
    data = wait_to_dict(waiting)
    record = _record(draft, step, "waiting", now)
    text, record["result"] = exact({"wait": data, "unknown": why}, path="$.waiting")
    _line(draft, step, record, result=text)
    draft.open_steps = {**draft.open_steps, step.branch: step}
    if step.joins:
        opened = _open_wait(draft, step, waiting.wait_key)
        join.open_wait(draft, step, opened, wait_from_dict(record["result"]["wait"]))
        return
    draft.run.waiting = wait_from_dict(record["result"]["wait"])
    draft.waits = {**draft.waits, step.branch: _open_wait(draft, step, waiting.wait_key)}
    draft.become(Move.WAIT)


def ask(draft: Draft, step: OpenStep, text: str, *, now: str, line_id: str) -> None:
    """A budget holds the step back: the run waits for somebody's word, the step stays open."""
    waiting = WaitState(
        reason=WaitReason.USER,
        wait_key=f"budget:{step.step_id}",
        prompt=f"{text}. Raise it, or stop?",
        choices=list(budget.ANSWERS),
        allow_free_text=False,
        details={budget.ASKS: text},
    )
    draft.note("asked", line_id=line_id, now=now, wait=wait_to_dict(waiting))
    draft.run.waiting = waiting
    draft.waits = {**draft.waits, step.branch: _open_wait(draft, step, waiting.wait_key)}
    draft.become(Move.WAIT)


def believe(draft: Draft, step_id: str | None = None) -> OpenStep:
    """The word on the open unknown step has come: its wait is over. NotWaiting: none is open."""
    unknown = [step for step in draft.open_steps.values() if step.unknown is not None]
    step = next((s for s in unknown if step_id is None or s.step_id == step_id), None)
    if step is None or (draft.join is None and draft.run.status is not RunStatus.WAITING):
        raise NotWaiting(
            f"Run '{draft.run.run_id}' has no step whose outcome is unknown",
            run_id=draft.run.run_id,
            status=draft.run.status.value,
        )
    if step.joins:
        join.wake(draft, step.branch)
    else:
        draft.become(Move.ANSWER)
        draft.run.waiting = None
        draft.waits = {branch: w for branch, w in draft.waits.items() if branch != step.branch}
    step = replace(step, unknown=None)
    draft.open_steps = {**draft.open_steps, step.branch: step}
    return step


def unknown_step(draft: Draft) -> OpenStep | None:
    """The open step whose outcome nobody knows; None: there is none."""
    return next((each for each in draft.open_steps.values() if each.unknown is not None), None)


def try_again(draft: Draft, step: OpenStep, *, now: str) -> None:
    """Another attempt is due at once: somebody says the last one was not performed."""
    step = replace(step, attempt=step.attempt + 1, wake_at=now)
    draft.open_steps = {**draft.open_steps, step.branch: step}


def shown(effect: dict[str, Any]) -> dict[str, Any]:
    """A recorded effect as the details of a wait hold it: a large payload is left to the ledger."""
    return effect if len(encode(effect["payload"])) <= MOST_SHOWN else bare(effect)


def recall(
    draft: Draft,
    planned: Planned,
    recorded: dict[str, Any],
    *,
    now: str,
    ids: Any,
    branch: str = MAIN,
) -> None:
    """A rewound step finds its recorded outcome: it is taken, nothing is performed."""
    result = recorded.get("result")
    text = None
    if result is not None:
        text, _ = exact(result, path="$.result")
        if planned.result_key:
            draft.set_result(planned.result_key, text)
    draft.note(
        "recalled", line_id=ids(), now=now, visit=draft.visit(), step_id=recorded["step_id"],
        branch=branch or None,
    )  # fmt: skip
    if branch != MAIN:
        join.complete(draft, branch, text)
        return
    draft.enter(planned.next_node or draft.run.current_node)


def close(draft: Draft, step: OpenStep) -> None:
    """The step is no longer open."""
    if draft.terms is not NO_TERMS:
        budget.drop(draft, step.step_id)
    draft.open_steps = {b: s for b, s in draft.open_steps.items() if b != step.branch}


def _open_wait(draft: Draft, step: OpenStep, key: str | None) -> OpenWait:
    return OpenWait(
        wait_id=step.step_id,
        step_id=step.step_id,
        node_id=step.node_id,
        visit=step.visit,
        opened=draft.revision + 1,
        key=key,
        child=step.child,
    )


def _line(
    draft: Draft, step: OpenStep, record: dict[str, Any], result: bytes | None = None
) -> None:
    draft.lines.append(Entry(record, None, result, step.opened, False, step.salt))
    draft.weight += 512 + (0 if result is None else len(result))


def _record(draft: Draft, step: OpenStep, status: str, now: str) -> dict[str, Any]:
    run = draft.run
    record: dict[str, Any] = {
        "run_id": run.run_id,
        "step_id": step.step_id,
        "node_id": step.node_id,
        "status": status,
        "effect": step.effect,
        "result": None,
        "error": None,
        "started_at": step.started_at,
        "ended_at": None if status == "started" else now,
        "actor_id": run.actor_id,
        "session_id": run.session_id,
        "attempt": step.attempt,
        "idempotency_key": step.key,
        "prev_hash": None,
        "record_hash": None,
        "signature": None,
        "visit": step.visit,
    }
    if step.branch != MAIN:
        record["branch"] = step.branch
    if draft.generation != 1:
        record["generation"] = draft.generation
    return record


record_of, line_of = _record, _line
"""For those that write records of a step beside its attempts: approvals."""
