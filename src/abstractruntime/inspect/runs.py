"""Runs as people list and look at them: rows for lists, one run in detail, ids found by prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from abstractruntime.core import times
from abstractruntime.core.checkpoint import MAIN, Checkpoint
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus, wait_to_dict
from abstractruntime.errors import InvalidIdentifier, InvalidTime, UnknownRun, UnsupportedByStore
from abstractruntime.inspect.standing import standing_of
from abstractruntime.inspect.text import one_line, visible
from abstractruntime.storage.base import Capability, Store
from abstractruntime.storage.durable_files import MAX_IDENTIFIER

LEAST_PREFIX = 8
CANDIDATES = 5


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as one line of a list. Ages are in seconds; `waits_for` is a phrase or ""; `unknown`:
    how many outcomes nobody knows, `branches`: how many are open."""

    run_id: str
    workflow_id: str
    status: str
    standing: str
    node: str
    visit: int
    waits_for: str
    error: str | None
    revision: int
    created_at: str
    updated_at: str
    age_s: float
    idle_s: float
    parent_run_id: str | None
    actor_id: str | None
    paused: bool = False
    unknown: int = 0
    branches: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class RunDetail:
    """One run with what it holds. `wait_id` names the open wait; `driver` says whether it lives."""

    row: RunRow
    state: RunState
    wait_id: str | None
    visits: dict[str, int]
    generation: int
    driver: dict[str, Any] | None
    open_steps: tuple[dict[str, Any], ...]
    children: tuple[RunRow, ...]
    messages: int
    evidence: int

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form: the row's fields with vars, waiting, output and the rest beside them."""
        state = self.state
        return {
            **self.row.to_dict(),
            "vars": state.vars,
            "output": state.output,
            "waiting": None if state.waiting is None else wait_to_dict(state.waiting),
            "wait_id": self.wait_id,
            "session_id": state.session_id,
            "visits": self.visits,
            "generation": self.generation,
            "driver": self.driver,
            "open_steps": list(self.open_steps),
            "children": [child.to_dict() for child in self.children],
            "messages": self.messages,
            "evidence": self.evidence,
        }


def row_of(run: RunState, *, now: str) -> RunRow:
    """The run as a row, as of `now`."""
    at = run.checkpoint or Checkpoint()
    return RunRow(
        run_id=run.run_id,
        workflow_id=run.workflow_id,
        status=run.status.value,
        standing=standing_of(run),
        node=run.current_node,
        visit=at.visits.get(run.current_node, 0),
        waits_for=waits_for(run),
        error=run.error,
        revision=at.revision,
        created_at=run.created_at,
        updated_at=run.updated_at,
        age_s=_seconds(run.created_at, now),
        idle_s=_seconds(run.updated_at, now),
        parent_run_id=run.parent_run_id,
        actor_id=run.actor_id,
        paused=at.terms.paused is not None and run.status not in ENDED,
        unknown=_unknown(at),
        branches=0 if at.join is None else len({*at.open_steps, *at.waits}),
    )


def _unknown(at: Checkpoint) -> int:
    return sum(step.unknown is not None for step in at.open_steps.values())


def waits_for(run: RunState) -> str:
    """What a run waits for as a phrase, "" when it does not."""
    waiting = run.waiting
    at = run.checkpoint or Checkpoint()
    if run.status not in ENDED and (unknown := _unknown(at)):
        return f"word on {unknown} unknown outcome{'s' if unknown > 1 else ''}"
    if at.join is not None:
        return f"{len({*at.open_steps, *at.waits})} of {at.join.total} branches"
    if waiting is None or run.status is not RunStatus.WAITING:
        due = [step.wake_at for step in at.open_steps.values() if step.wake_at]
        return f"attempt at {due[0]}" if due else ""
    if waiting.reason.value == "user":
        return f"person: {waiting.prompt}" if waiting.prompt else "person"
    if waiting.until is not None:
        return f"until {waiting.until}"
    if waiting.reason.value == "subworkflow":
        child = (waiting.details or {}).get("sub_run_id")
        return f"child {child or waiting.wait_key}"
    return f"{waiting.reason.value} {waiting.wait_key}"


def list_rows(
    store: Store,
    *,
    now: str,
    status: RunStatus | None = None,
    workflow_id: str | None = None,
    limit: int = 50,
) -> tuple[list[RunRow], bool]:
    """The newest `limit` rows (0: all) that match, and whether there are more."""
    asked = limit + 1 if limit else 1_000_000_000
    runs = store.list_runs(status=status, workflow_id=workflow_id, limit=asked)
    more = bool(limit) and len(runs) > limit
    return [row_of(run, now=now) for run in (runs[:limit] if more else runs)], more


def detail_of(store: Store, run_id: str, *, now: str) -> RunDetail:
    """One run in detail. Raises UnknownRun."""
    loaded = store.load(run_id)
    if loaded is None:
        raise UnknownRun(f"Unknown run_id: {one_line(run_id, 60)}", run_id=run_id)
    run = loaded.run
    at = run.checkpoint or Checkpoint()
    opened = at.waits.get(MAIN)
    children: Sequence[RunState] = ()
    if Capability.QUERYABLE in store.capabilities:
        children = store.list_children(parent_run_id=run_id)
    driver = None
    if at.driver is not None:
        driver = {**at.driver.to_dict(), "live": standing_of(run) == "driven"}
    return RunDetail(
        row=row_of(run, now=now),
        state=run,
        wait_id=None if opened is None else opened.wait_id,
        visits=dict(at.visits),
        generation=at.generation,
        driver=driver,
        open_steps=tuple(step.to_dict() for step in at.open_steps.values()),
        children=tuple(row_of(child, now=now) for child in children),
        messages=len(store.list_messages(run_id)),
        evidence=at.evidence,
    )


def find_run(store: Store, text: str) -> str:
    """The id of the run that `text` names: whole, or by a prefix that no other run shares.

    Raises UnknownRun, and InvalidIdentifier listing candidates when several begin so.
    """
    if not text:
        raise InvalidIdentifier("A run id is needed, found nothing")
    found: list[str] = []
    # What no run can be called is not asked for: half a surrogate pair is no text to a database.
    if len(text) <= MAX_IDENTIFIER and text == visible(text):
        try:
            found = list(store.find_prefix(text, limit=CANDIDATES + 1))
        except UnsupportedByStore:
            found = [text] if store.load(text) is not None else []
    if len(found) == 1:
        return found[0]
    if text in found:
        return text
    shown = one_line(text, 60)
    if not found:
        raise UnknownRun(
            f"Unknown run_id: {shown}", run_id=shown, fix="see the ids with `abstractruntime list`"
        )
    names = ", ".join(one_line(each, 60) for each in found[:CANDIDATES])
    more = ", …" if len(found) > CANDIDATES else ""
    raise InvalidIdentifier(
        f"'{shown}' begins the ids of several runs: {names}{more}",
        run_id=shown,
        fix="write more of the id",
    )


def short_ids(store: Store, run_ids: Sequence[str], *, all_known: bool) -> dict[str, str]:
    """Each id's shortest prefix of at least 8 characters that names no other run.

    `all_known`: the ids are all there are, so the store need not be asked.
    """
    ordered = sorted(run_ids)
    short: dict[str, str] = {}
    for place, run_id in enumerate(ordered):
        near = ordered[max(0, place - 1) : place] + ordered[place + 1 : place + 2]
        length = max([LEAST_PREFIX, *(_common(run_id, other) + 1 for other in near)])
        if not all_known:
            while length < len(run_id) and len(store.find_prefix(run_id[:length], limit=2)) > 1:
                length += 4
        short[run_id] = run_id[:length]
    return short


def _common(one: str, other: str) -> int:
    length = 0
    for mine, yours in zip(one, other, strict=False):
        if mine != yours:
            break
        length += 1
    return length


def _seconds(earlier: str, now: str) -> float:
    """Seconds from a stored time to now; 0 when a host stored something that is no time."""
    try:
        return max(0.0, times.seconds_between(earlier, now))
    except InvalidTime:
        return 0.0
