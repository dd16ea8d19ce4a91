"""Branches of one plan: what each came to, and the join that fires once.

A branch is an open step or an open wait under its own name. Its results stand in vars as they come,
at `into` by branch; the join puts them in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

from abstractruntime.core.canonical import encode
from abstractruntime.core.checkpoint import Join, OpenStep, OpenWait
from abstractruntime.core.machine import ends
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.mail import WAIT_KEYS
from abstractruntime.core.machine.table import Move
from abstractruntime.core.models import RunStatus, WaitReason, WaitState, wait_from_dict
from abstractruntime.core.models import wait_to_dict as to_dict
from abstractruntime.errors import NotWaiting, StaleAnswer, WaitKeyMismatch

ALL: Final = 0
"""Join.need of a join that waits until every branch has ended."""

SHOWN: Final = 10
"""Open waits that the run's own wait shows; the checkpoint has all."""

_HEARING: Final = (WaitReason.EVENT, WaitReason.SUBWORKFLOW)


def begin(draft: Draft, join: Join) -> None:
    """The plan's branches are open from now on."""
    draft.join = join
    draft.queued_at = None
    if join.into:
        draft.set_result(join.into, encode({"results": {}, "errors": {}}))


def complete(draft: Draft, branch: str, text: bytes | None) -> None:
    """The branch has its result."""
    join = _open(draft)
    if join.into and text is not None:
        draft.set_result(f"{join.into}.results.{branch}", text)
    draft.join = replace(join, completed=join.completed + 1)


def fail(draft: Draft, branch: str, error: str) -> None:
    """The branch has failed for good."""
    join = _open(draft)
    if join.into:
        draft.set_result(f"{join.into}.errors.{branch}", encode(error))
    draft.join = replace(join, failed=join.failed + 1)


def open_wait(draft: Draft, step: OpenStep, opened: OpenWait, waiting: WaitState) -> None:
    """The branch waits; the run does when no other branch has anything to do."""
    said = {name: value for name, value in to_dict(waiting).items() if value is not None}
    draft.waits = {**draft.waits, step.branch: replace(opened, wait=said)}


def rest(draft: Draft) -> None:
    """All branches that are left wait: so does the run, for any of them."""
    waits = sorted(draft.waits.items(), key=lambda item: int(item[0]))
    shown: list[dict[str, Any]] = []
    keys: list[str] = []
    for branch, opened in waits:
        said = opened.wait or {}
        if said.get("reason") in _HEARING and opened.key is not None:
            keys.append(opened.key)
        if len(shown) < SHOWN:
            told = ("reason", "wait_key", "until", "prompt", "choices", "details")
            one = {name: said[name] for name in told if name in said}
            shown.append({"branch": branch, "wait_id": opened.wait_id, **one})
    first = wait_from_dict(waits[0][1].wait or {})
    details: dict[str, Any] = {"branches": shown, "open": len(waits)}
    if keys:
        details[WAIT_KEYS] = keys
    draft.run.waiting = WaitState(
        reason=WaitReason.EVENT if keys else first.reason,
        wait_key=first.wait_key,
        prompt=first.prompt,
        choices=first.choices,
        allow_free_text=first.allow_free_text,
        details=details,
    )
    draft.become(Move.WAIT)


def find(draft: Draft, *, wait_key: str | None, wait_id: str | None) -> str:
    """The branch that an answer is for: by wait id, by key, else the only one that waits.

    NotWaiting, WaitKeyMismatch, StaleAnswer.
    """
    run_id = draft.run.run_id
    if not draft.waits:
        raise NotWaiting("Run is not waiting", run_id=run_id, status=draft.run.status.value)
    order = sorted(draft.waits, key=int)
    if wait_id is not None:
        found = [branch for branch in order if draft.waits[branch].wait_id == wait_id]
        if not found:
            raise StaleAnswer(
                f"The answer is for wait '{wait_id}', which is not open any more", run_id=run_id
            )
        order = found
    if wait_key is None:
        if len(order) > 1:
            raise WaitKeyMismatch(
                f"{len(order)} branches wait: name one by its wait_key or wait_id", run_id=run_id
            )
        return order[0]
    for branch in order:
        if draft.waits[branch].key == wait_key:
            return branch
    keys = [draft.waits[branch].key for branch in order[:SHOWN]]
    raise WaitKeyMismatch(
        f"wait_key mismatch: expected one of {keys}, got '{wait_key}'", run_id=run_id
    )


def waiting_of(draft: Draft, branch: str) -> tuple[WaitState, OpenWait]:
    """What the branch waits for."""
    opened = draft.waits[branch]
    return wait_from_dict(opened.wait or {}), opened


def wake(draft: Draft, branch: str) -> None:
    """The branch's wait is over: the run is at its branches again."""
    draft.waits = {name: w for name, w in draft.waits.items() if name != branch}
    if draft.run.status is RunStatus.WAITING:
        draft.become(Move.ANSWER)
        draft.run.waiting = None


def settle(draft: Draft, *, now: str, ids: Callable[[], str]) -> bool:
    """Fire the join, or fail the run, when enough branches have ended; False: it stays open."""
    join = _open(draft)
    if join.need == ALL:
        lost, won = join.failed > join.borne, join.completed + join.failed == join.total
    else:
        lost, won = join.total - join.failed < join.need, join.completed >= join.need
    if lost:
        text = f"{join.failed} of {join.total} branches failed: {_first_error(draft)}"
        ends.fail(draft, text, now=now, line_id=ids())
        return True
    if not won:
        return False
    losers = list(dict.fromkeys((*draft.open_steps, *draft.waits)))
    for branch in sorted(losers, key=int):
        opened = draft.open_steps.get(branch) or draft.waits[branch]
        draft.note(
            "branch_cancelled", line_id=ids(), now=now, branch=branch, step_id=opened.step_id
        )
    children = [each.child for each in _opened(draft, losers) if each.child is not None]
    if children:
        known = draft.terms.losing or []
        draft.terms = replace(draft.terms, losing=[*known, *children])
    _put_in_order(draft, join, losers)
    draft.note(
        "joined", line_id=ids(), now=now, visit=join.visit, completed=join.completed,
        failed=join.failed, cancelled=len(losers),
    )  # fmt: skip
    draft.open_steps, draft.waits, draft.join = {}, {}, None
    draft.enter(join.next_node)
    return True


def _opened(draft: Draft, branches: Iterable[str]) -> list[OpenStep | OpenWait]:
    return [draft.open_steps.get(branch) or draft.waits[branch] for branch in branches]


def turn(draft: Draft, *, now: str, ids: Callable[[], str]) -> None:
    """A branch has heard something from outside: the join fires, or the run waits on for others."""
    if settle(draft, now=now, ids=ids) or draft.open_steps:
        return
    if draft.waits and draft.run.status is RunStatus.RUNNING:
        rest(draft)


def _put_in_order(draft: Draft, join: Join, losers: Iterable[str]) -> None:
    if not join.into:
        return
    said = _at(draft, join.into)
    results, errors = said.get("results") or {}, said.get("errors") or {}
    body = {
        "results": [results.get(str(number)) for number in range(join.total)],
        "errors": errors,
        "cancelled": sorted(losers, key=int),
    }
    draft.set_result(join.into, encode(body))


def _first_error(draft: Draft) -> str:
    for line in reversed(draft.lines):
        if line.record["status"] == "failed" and line.record["error"]:
            return str(line.record["error"])
    return "see the ledger"


def _at(draft: Draft, key: str) -> dict[str, Any]:
    found: Any = draft.run.vars
    for name in key.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _open(draft: Draft) -> Join:
    assert draft.join is not None
    return draft.join
