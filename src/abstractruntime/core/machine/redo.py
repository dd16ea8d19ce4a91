"""What the ledger of a pair knows beyond its checkpoint: performed outcomes and accepted answers of
a commit whose state was never saved. Node calls are not redone, they are made again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from abstractruntime.core.canonical import MAX_DEPTH, encode, exact
from abstractruntime.core.checkpoint import MAIN, OpenStep
from abstractruntime.core.commit import Loaded
from abstractruntime.core.delta import MAX_VARS_BYTES, Encoding
from abstractruntime.core.machine import ending, ends, join, pause, step, undo, wait
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.models import RunState, RunStatus, wait_from_dict


def redo(run: RunState, records: Iterable[Mapping[str, Any]]) -> RunState:
    """`run` after what can be redone of one complete commit, in order, up to the first node call.

    Redone are outcomes of the open step, answers, timers and cancels; what `stands_by` is passed
    over. A STARTED intent that the checkpoint does not name was never performed and is not redone.
    A host that moved the run since then is followed: the outcome is in its vars and visits, the
    run is where the host put it, and the digest says what it moved from.
    """
    encoding, vars = Encoding.of(run.vars)
    draft = Draft(Loaded(replace(run, vars=vars), encoding))
    moved = draft.digest is not None and not draft.digest.startswith(_place(run))
    found = draft.open_steps.get(MAIN)
    if moved and found is not None:
        draft.run.status, draft.run.current_node = RunStatus.RUNNING, found.node_id
    elif moved:
        records = ()  # an answer or cancel that nobody heard of, of a run that has gone elsewhere
    revision = draft.revision
    for record in records:
        revision = max(revision, int(record.get("revision") or revision + 1))
        if not _redo_one(draft, record):
            break
    if draft.join is not None:
        now = str(draft.run.updated_at)
        join.settle(draft, now=now, ids=lambda: draft.run.run_id)
    draft.absorb()
    draft.driver = None
    if draft.digest is not None and not (moved and found is None):
        # A host's edit is measured against what was redone: one of vars alone is no jump.
        draft.digest = f"{_place(draft.run)}redone"
    if moved:
        for name in HOSTS:
            setattr(draft.run, name, getattr(run, name))
    draft.run.checkpoint = draft.checkpoint(revision)
    return draft.run


HOSTS = ("status", "current_node", "waiting", "output", "error")
"""Where a run is: what a host changes that moves it."""


def _place(run: RunState) -> str:
    """What the digest of its public fields begins with."""
    return f"{run.status.value}|{run.current_node}|"


def stands_by(record: Mapping[str, Any]) -> bool:
    """Whether the record says no more than what the run shows by itself: a host changed its vars.

    An outcome that met the host's edit is committed behind such a record.
    """
    said = record.get("result")
    if record.get("effect") is not None or not isinstance(said, Mapping):
        return False
    return said.get("kind") == "edited" and said.get("noticed") is True and not said.get("changed")


@dataclass(frozen=True, slots=True)
class Changed:
    """What a handler changed in vars, as their encodings before and after it."""

    before: Encoding
    after: Encoding

    def to_dict(self) -> dict[str, Any]:
        """{"set": {variable: value}, "gone": [variable]}, for the record of its outcome."""
        _, old = Encoding.parse(self.before.text())
        _, new = Encoding.parse(self.after.text())
        return {
            "set": {name: value for name, value in new.items() if _differ(old, name, value)},
            "gone": [name for name in old if name not in new],
        }

    def apply_to(self, vars: dict[str, Any]) -> None:
        """Make the same change to other vars."""
        apply_changes(vars, self.to_dict())


def apply_changes(vars: dict[str, Any], changed: Mapping[str, Any]) -> None:
    """Change whole variables as `Changed.to_dict` says."""
    vars.update(_copied(changed.get("set") or {}))
    for name in changed.get("gone") or ():
        vars.pop(name, None)


def _differ(old: dict[str, Any], name: str, value: Any) -> bool:
    return name not in old or encode(old[name]) != encode(value)


def _copied(vars: dict[str, Any]) -> Any:
    return exact(vars, max_bytes=2 * MAX_VARS_BYTES, max_depth=MAX_DEPTH + 2)[1]


def _redo_one(draft: Draft, record: Mapping[str, Any]) -> bool:
    """Whether the draft now holds what the record says."""
    now = record.get("ended_at") or record["started_at"]
    if record.get("effect") is not None:
        # By its id: not every ledger keeps the branch.
        open_steps = draft.open_steps.values()
        found = next((each for each in open_steps if each.step_id == record["step_id"]), None)
        if found is None:
            return False
        return _redo_outcome(draft, found, record, now)
    if stands_by(record):
        return True
    said = record.get("result") or {}
    ends_now = draft.terms.ending
    if said.get("kind") == "ending":
        return ends_now is not None
    if said.get("kind") == "ended" or said.get("completed") is True:
        if ends_now is None:
            return False
        ends.finish(draft, now=now, line_id=record["step_id"])
        return True
    verb = _ANSWERS.get(said.get("kind", ""))
    if verb is None:
        return False
    verb(draft, record, now)
    return True


def _redo_outcome(draft: Draft, found: OpenStep, record: Mapping[str, Any], now: str) -> bool:
    status = record["status"]
    apply_changes(draft.run.vars, record.get("vars") or {})
    if status == "completed":
        step.complete(draft, found, record.get("result"), now=now)
    elif status == "waiting" and record["result"].get("unknown") is not None:
        step.doubt(draft, found, record["result"]["unknown"], now=now)
    elif status == "waiting" and record["result"].get("approval") is not None:
        return False  # nobody heard of the question: it is asked anew
    elif status == "waiting":
        step.wait(draft, found, wait_from_dict(record["result"]["wait"]), now=now)
    elif status == "failed":
        next_at = record.get("next_at")
        error = record.get("error") or "unknown error"
        if record.get("next_node") is not None:
            step.exhaust(draft, found, error, record["next_node"], now=now)
            return True
        step.fail_attempt(draft, found, error, now=now, next_at=next_at)
        if next_at is None and found.joins:
            join.fail(draft, found.branch, error)
        elif next_at is None:
            text = f"Effect failed after {found.attempt} attempts: {error}"
            ends.fail(draft, text, now=now, line_id=record["step_id"])
    else:
        return False
    return True


def _answered(draft: Draft, record: Mapping[str, Any], now: str) -> None:
    said = record["result"]
    if draft.run.status is RunStatus.WAITING or said.get("branch") in draft.waits:
        wait.answer(
            draft,
            exact(said.get("payload"))[1],
            now=now,
            line_id=record["step_id"],
            cause=said.get("cause") or "answer",
            wait_key=said.get("wait_key"),
            branch=said.get("branch") or MAIN,
        )


def _cancelled(draft: Draft, record: Mapping[str, Any], now: str) -> None:
    reason = record["result"].get("reason")
    ends.cancel(draft, reason=reason, now=now, line_id=record["step_id"])


def _told_by_the_join(draft: Draft, record: Mapping[str, Any], now: str) -> None:
    """A loser: the join that is redone next cancels it."""


def _joined(draft: Draft, record: Mapping[str, Any], now: str) -> None:
    join.settle(draft, now=now, ids=lambda: record["step_id"])


def _resolved(draft: Draft, record: Mapping[str, Any], now: str) -> None:
    found = step.believe(draft)
    if record["result"]["outcome"] == "retry":
        step.try_again(draft, found, now=now)
    draft.queued_at = now


def _paused(draft: Draft, record: Mapping[str, Any], now: str) -> None:
    said = record["result"]
    pause.pause(
        draft,
        reason=said.get("reason"),
        cause=said["cause"],
        actor_id=record.get("actor_id"),
        now=now,
        line_id=record["step_id"],
    )


def _unpaused(draft: Draft, record: Mapping[str, Any], now: str) -> None:
    pause.unpause(draft, reason=None, now=now, line_id=record["step_id"])


def _asked_to_cancel(draft: Draft, record: Mapping[str, Any], now: str) -> None:
    said = record["result"]
    ending.ask(
        draft,
        reason=said.get("reason"),
        actor_id=said.get("requested_by"),
        tree=bool(said.get("tree")),
        now=now,
        line_id=record["step_id"],
    )
    if draft.run.status is RunStatus.WAITING:
        ending.leave(draft, now=now)
    elif not draft.open_steps:
        draft.queued_at = now


def _undo_dropped(draft: Draft, record: Mapping[str, Any], now: str) -> None:
    undo.forget(draft, record["result"]["of"])


_ANSWERS: dict[str, Callable[[Draft, Mapping[str, Any], str], None]] = {
    "resumed": _answered,
    "cancelled": _cancelled,
    "branch_cancelled": _told_by_the_join,
    "joined": _joined,
    "resolved": _resolved,
    "paused": _paused,
    "unpaused": _unpaused,
    "cancel_requested": _asked_to_cancel,
    "undo_dropped": _undo_dropped,
}
