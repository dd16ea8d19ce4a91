"""An effect that somebody has to approve: asked, voted on, granted, and begun by that grant alone.

Until it begins it is an open step at attempt 0. Its `approval` holds: digest, rule (that asked),
asked_at, expires_at, due [[time, "remind" or "escalate"]], escalated, votes [{by, at}], before
(digests of the effect before it was edited) and, when enough have approved, grant {digest, by, at}.
The commit that begins the step takes the grant away; the digest stays, for the attempts that a
crash or a retry makes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from abstractruntime.core.approval import FAIL, Approval
from abstractruntime.core.canonical import chain_form, encode, exact, rfc8785
from abstractruntime.core.checkpoint import MAIN, OpenStep, OpenWait
from abstractruntime.core.commit import Entry
from abstractruntime.core.machine import ends
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.plan import Planned
from abstractruntime.core.machine.step import close, line_of, record_of, shown
from abstractruntime.core.machine.table import Move
from abstractruntime.core.models import (
    RunStatus,
    WaitReason,
    WaitState,
    wait_from_dict,
    wait_to_dict,
)
from abstractruntime.core.options import options_from
from abstractruntime.core.times import plus

CHOICES = ["approve", "reject"]


def digest_of(effect: Mapping[str, Any]) -> str:
    """SHA-256 of the RFC 8785 form of a recorded effect: type, payload, result_key and options.

    Raises NotJson with the path of what is outside of I-JSON, as an integer beyond 2**53.
    """
    parts = {name: effect[name] for name in ("type", "payload", "result_key")}
    if effect.get("options"):
        parts["options"] = effect["options"]
    return hashlib.sha256(rfc8785(parts, path="$.effect")).hexdigest()


def terms_of(step: OpenStep) -> Approval:
    """On which terms the step's effect is approved, as recorded with it."""
    return Approval.of(options_from(step.effect).approval or {})


def asked(draft: Draft) -> OpenStep | None:
    """The step that waits for approval; None when none does."""
    step = draft.open_steps.get(MAIN)
    if step is None or step.approval is None or step.attempt != 0:
        return None
    return step if draft.run.status is RunStatus.WAITING else None


def ask(
    draft: Draft,
    planned: Planned,
    *,
    step_id: str,
    key: str,
    now: str,
    salt: str | None = None,
    rule: str | None = None,
) -> OpenStep:
    """Nothing of the effect has begun: the run waits for its approval. NotJson, as `digest_of`."""
    effect = {**planned.effect, "options": exact(planned.options, path="$.effect.options")[1]}
    terms = Approval.of(effect["options"]["approval"])
    state: dict[str, Any] = {"digest": digest_of(effect), "asked_at": now}
    if rule is not None:
        state["rule"] = rule
    if terms.expires_s is not None:
        state["expires_at"] = plus(now, terms.expires_s)
    due = [[plus(now, seconds), "remind"] for seconds in terms.remind_s]
    if terms.escalate_s is not None:
        due.append([plus(now, terms.escalate_s), "escalate"])
    if due:
        state["due"] = sorted(due)
    step = OpenStep(
        step_id=step_id,
        node_id=draft.run.current_node,
        visit=draft.visit(),
        effect=effect,
        key=key,
        started_at=now,
        opened=draft.revision + 1,
        next_node=planned.next_node,
        attempt=0,
        salt=salt,
        approval=state,
    )
    draft.queued_at = None
    _put(draft, step)
    _show(draft, step)
    _write(draft, step, planned.text, planned.form, now=now)
    _open(draft, step, step_id)
    return step


def ask_again(draft: Draft, step: OpenStep, *, now: str, line_id: str) -> None:
    """A host set the run running, and nobody has approved: it waits again."""
    draft.note("asked_again", line_id=line_id, now=now, asked_step=step.step_id)
    _show(draft, step)
    record = record_of(draft, step, "waiting", now)
    text, record["result"] = _result(draft, step)
    line_of(draft, step, record, result=text)
    _open(draft, step, step.step_id)


def vote(draft: Draft, step: OpenStep, actor_id: str, *, now: str, ids: Any) -> None:
    """One more has approved the effect as it is stored; when they are enough it is granted."""
    assert step.approval is not None
    state = step.approval
    votes = [*state.get("votes", ()), {"by": actor_id, "at": now}]
    quorum = terms_of(step).quorum
    draft.note(
        "approved", line_id=ids(), now=now, actor_id=actor_id, approved_step=step.step_id,
        digest=state["digest"], votes=len(votes), quorum=quorum,
    )  # fmt: skip
    state = {**state, "votes": votes}
    if len({said["by"] for said in votes}) < quorum:
        _put(draft, replace(step, approval=state))
        _show(draft, draft.open_steps[step.branch])
        return
    by = [said["by"] for said in votes]
    state["grant"] = {"digest": state["digest"], "by": by, "at": now}
    state.pop("due", None)
    draft.note("granted", line_id=ids(), now=now, actor_id=actor_id, granted_step=step.step_id,
               digest=state["digest"], by=by)  # fmt: skip
    _put(draft, replace(step, approval=state))
    _leave(draft, step)


def edit(
    draft: Draft,
    step: OpenStep,
    payload: dict[str, Any],
    actor_id: str,
    *,
    now: str,
    ids: Any,
    salt: str | None,
) -> OpenStep:
    """Somebody asks for other arguments: a new effect, for which nobody has voted yet, under a new
    wait id. Raises NotJson, LimitExceeded, having changed nothing."""
    assert step.approval is not None
    text, own = exact(payload, path="$.effect.payload")
    effect = {**step.effect, "payload": own}
    before, after = step.approval["digest"], digest_of(effect)
    state = {name: found for name, found in step.approval.items() if name != "votes"}
    state.update(digest=after, before=[*state.get("before", ()), before])
    wait_id = ids()
    draft.note(
        "effect_edited", line_id=wait_id, now=now, actor_id=actor_id, edited_step=step.step_id,
        digest_before=before, digest_after=after,
    )  # fmt: skip
    step = replace(step, effect=effect, approval=state, opened=draft.revision + 1, salt=salt)
    _put(draft, step)
    _show(draft, step)
    _write(draft, step, text, chain_form(own), now=now)
    _open(draft, step, wait_id)
    return step


def reject(
    draft: Draft, step: OpenStep, actor_id: str, reason: str | None, *, now: str, ids: Any
) -> None:
    """Somebody said no: the effect is not performed, and the run fails or goes another way."""
    assert step.approval is not None
    draft.note(
        "rejected", line_id=ids(), now=now, actor_id=actor_id, rejected_step=step.step_id,
        digest=step.approval["digest"], reason=reason,
    )  # fmt: skip
    said = {"decision": "rejected", "by": actor_id, "reason": reason}
    error = f"Approval of {_name(step)} was rejected by {actor_id}"
    error += f": {reason}" if reason else ""
    _refuse(draft, step, error, said, terms_of(step).on_rejected, now=now, ids=ids)


def fall_due(draft: Draft, step: OpenStep, *, now: str, ids: Any) -> bool:
    """What the clock says: reminders, escalation, expiry. Whether the run goes on."""
    assert step.approval is not None
    state = dict(step.approval)
    left = []
    for at, kind in state.pop("due", ()):
        if at > now:
            left.append([at, kind])
            continue
        name = "reminded" if kind == "remind" else "escalated"
        draft.note(name, line_id=ids(), now=now, waiting_step=step.step_id, due_at=at,
                   digest=state["digest"])  # fmt: skip
        if kind == "escalate":
            state["escalated"] = True
    if left:
        state["due"] = left
    step = replace(step, approval=state)
    _put(draft, step)
    expires = state.get("expires_at")
    if expires is None or now < expires:
        _show(draft, step)
        return False
    draft.note("expired", line_id=ids(), now=now, expired_step=step.step_id, expired_at=expires,
               digest=state["digest"])  # fmt: skip
    error = f"Approval of {_name(step)} expired at {expires}"
    said = {"decision": "expired", "expired_at": expires}
    _refuse(draft, step, error, said, terms_of(step).on_expired, now=now, ids=ids)
    return draft.run.status is RunStatus.RUNNING


def begin(
    draft: Draft, step: OpenStep, *, key: str, now: str, line_id: str, first_at: str | None,
    own_key: bool = False, child: str | None = None,
) -> OpenStep:  # fmt: skip
    """The first attempt of a granted step is about to be made: the grant is used up by it."""
    assert step.approval is not None
    grant = step.approval["grant"]
    draft.note("grant_used", line_id=line_id, now=now, begun_step=step.step_id,
               digest=grant["digest"], by=grant["by"])  # fmt: skip
    step = replace(
        step, attempt=1, started_at=now, key=key, first_at=first_at, child=child,
        approval={"digest": grant["digest"]},
    )  # fmt: skip
    _put(draft, step)
    draft.queued_at = None
    record = record_of(draft, step, "started", now)
    if step.next_node is not None:
        record["next_node"] = step.next_node
    draft.lines.append(Entry(record, None, None, step.opened, own_key, step.salt))
    draft.weight += 512
    draft.urgent = True
    return step


def mismatch(draft: Draft, step: OpenStep, error: str, *, now: str, line_id: str) -> None:
    """The stored effect is not the approved one: nothing is performed, and the run fails."""
    record = record_of(draft, step, "failed", now)
    record["error"] = error
    line_of(draft, step, record)
    close(draft, step)
    ends.fail(draft, error, now=now, line_id=line_id)


def state_from(records: Iterable[Mapping[str, Any]], step_id: str) -> dict[str, Any] | None:
    """What a step's `approval` is by the run's ledger; None when nobody was asked."""
    state: dict[str, Any] | None = None
    for record in records:
        said = record.get("result") or {}
        if record.get("effect"):
            if record["step_id"] != step_id:
                continue
            if record["status"] == "waiting" and said.get("approval"):
                state = dict(said["approval"])
            elif record["status"] == "started" and state is not None:
                state = {"digest": state["digest"]}
        elif state is not None and isinstance(said, Mapping) and step_id in said.values():
            _note(state, said, str(record.get("actor_id")), record["started_at"])
    return state


def _note(state: dict[str, Any], said: Mapping[str, Any], actor_id: str, at: str) -> None:
    match said.get("kind"):
        case "approved":
            state["votes"] = [*state.get("votes", ()), {"by": actor_id, "at": at}]
        case "granted":
            state["grant"] = {"digest": said["digest"], "by": said["by"], "at": at}
            state.pop("due", None)
        case "reminded" | "escalated" as kind:
            state["due"] = [due for due in state.get("due", ()) if due[0] > said["due_at"]]
            if kind == "escalated":
                state["escalated"] = True


# -- how it is shown


def _show(draft: Draft, step: OpenStep) -> None:
    """Say in the run's wait what is asked."""
    assert step.approval is not None
    state, terms = step.approval, terms_of(step)
    times = [state["due"][0][0]] if state.get("due") else []
    times += [state["expires_at"]] if state.get("expires_at") else []
    key = f"approval:{draft.run.run_id}:{step.node_id}:{step.visit}"
    details = {
        "digest": state["digest"],
        "effect": shown(step.effect),
        "step_id": step.step_id,
        "node_id": step.node_id,
        "visit": step.visit,
        "quorum": terms.quorum,
        "by": None if terms.by is None else list(terms.by),
        "votes": state.get("votes", []),
        "asked_at": state["asked_at"],
        "expires_at": state.get("expires_at"),
        "before": state.get("before", []),
        "rule": state.get("rule"),
    }
    waiting = WaitState(
        reason=WaitReason.USER,
        wait_key=key if step.branch == MAIN else f"{key}:{step.branch}",
        until=min(times, default=None),
        prompt=terms.prompt or f"Approve {_name(step)}?",
        choices=list(CHOICES),
        details={"approval": details},
    )
    draft.run.waiting = wait_from_dict(exact(wait_to_dict(waiting), path="$.waiting")[1])


def _result(draft: Draft, step: OpenStep) -> tuple[bytes, dict[str, Any]]:
    assert draft.run.waiting is not None
    said = {"wait": wait_to_dict(draft.run.waiting), "approval": step.approval}
    text, own = exact(said, path="$.waiting")
    return text, own


def _write(draft: Draft, step: OpenStep, text: bytes, form: bytes, *, now: str) -> None:
    """The record that holds the effect, whole, and that it waits for approval."""
    record = record_of(draft, step, "waiting", now)
    result, record["result"] = _result(draft, step)
    if step.next_node is not None:
        record["next_node"] = step.next_node
    draft.lines.append(Entry(record, text, result, None, False, step.salt, form))
    draft.weight += 512 + len(text) + len(result)


def _open(draft: Draft, step: OpenStep, wait_id: str) -> None:
    waiting = draft.run.waiting
    opened = OpenWait(
        wait_id=wait_id,
        step_id=step.step_id,
        node_id=step.node_id,
        visit=step.visit,
        opened=draft.revision + 1,
        key=None if waiting is None else waiting.wait_key,
    )
    draft.waits = {**draft.waits, step.branch: opened}
    draft.become(Move.WAIT)


def _put(draft: Draft, step: OpenStep) -> None:
    draft.open_steps = {**draft.open_steps, step.branch: step}


def _leave(draft: Draft, step: OpenStep) -> None:
    draft.become(Move.ANSWER)
    draft.run.waiting = None
    draft.waits = {branch: wait for branch, wait in draft.waits.items() if branch != step.branch}


def _refuse(
    draft: Draft, step: OpenStep, error: str, said: dict[str, Any], then: str, *, now: str,
    ids: Any,
) -> None:  # fmt: skip
    """The effect will not be performed: its step has failed, and the run, or it goes to `then`,
    which finds {"error", "decision", …} at the result key."""
    record = record_of(draft, step, "failed", now)
    record["error"] = error
    if then != FAIL:
        record["next_node"] = then
    line_of(draft, step, record)
    _leave(draft, step)
    close(draft, step)
    if then == FAIL:
        ends.fail(draft, error, now=now, line_id=ids())
        return
    key = step.effect["result_key"]
    if key:
        draft.set_result(key, encode({"error": error, **said}))
    draft.enter(then)


def _name(step: OpenStep) -> str:
    return f"{step.effect['type']} at node '{step.node_id}'"
