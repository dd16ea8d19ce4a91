"""A host changes a run by hand: what it may change, and what a moved node means for visits.

The one place beside the table where a status changes: the host says what it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from abstractruntime.core.canonical import chain_form, exact
from abstractruntime.core.checkpoint import MAIN, Checkpoint, OpenWait
from abstractruntime.core.commit import Commit, Loaded
from abstractruntime.core.delta import Encoding
from abstractruntime.core.machine.assemble import assemble
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.seal import sealer_for
from abstractruntime.core.models import (
    RunState,
    RunStatus,
    WaitState,
    run_to_dict,
    wait_from_dict,
    wait_to_dict,
)
from abstractruntime.core.records import holding

PLAIN = ("workflow_id", "output", "error", "actor_id", "session_id", "parent_run_id")


def edit_commit(
    stored: Loaded | None,
    run: RunState,
    *,
    records: Callable[[], list[dict[str, Any]]],
    now: str,
    new_id: Callable[[], str],
    salt: Callable[[], bytes],
    chain: int | None,
) -> Commit | None:
    """The EDIT commit that makes the stored run look like `run`; None when it already does.

    Public fields come from `run`, kernel fields from the stored checkpoint. `records` gives the
    run's ledger; it is asked only when the host moved the run to another node.
    """
    sealer = sealer_for(chain, salt)
    if stored is None:
        return assemble(draft_of_new(run, now=now, line_id=new_id), sealer, now=now)
    draft = Draft(stored)
    if not apply_edit(draft, run, records=records, now=now, line_id=new_id()):
        return None
    return assemble(draft, sealer, now=now)


def draft_of_new(run: RunState, *, now: str, line_id: Callable[[], str]) -> Draft:
    """A draft that creates `run` as the host made it; kernel fields another store gave it stay."""
    given = Checkpoint() if run.checkpoint is None else Checkpoint.coerce(run.checkpoint)
    kernel = Checkpoint(
        generation=given.generation,
        visits=given.visits,
        entered=given.entered,
        version=given.version,
        reports_to=given.reports_to,
        queued_at=given.queued_at,
        driver=given.driver,
        terms=given.terms,
    )
    encoding, vars = Encoding.of(run.vars)
    copy = RunState(
        run_id=run.run_id,
        workflow_id=run.workflow_id,
        status=RunStatus(run.status),
        current_node=run.current_node,
        vars=vars,
        waiting=_copied_wait(run),
        output=_copied(run.output, "$.output"),
        error=run.error,
        created_at=run.created_at,
        updated_at=run.updated_at,
        actor_id=run.actor_id,
        session_id=run.session_id,
        parent_run_id=run.parent_run_id,
        checkpoint=kernel,
    )
    draft = Draft(Loaded(copy, encoding))
    if copy.status is RunStatus.WAITING:
        _open_host_wait(draft, line_id())
    return draft


def apply_edit(
    draft: Draft,
    edited: RunState,
    *,
    records: Callable[[], Iterable[Mapping[str, Any]]],
    now: str,
    line_id: str,
    kind: str = "edited",
) -> bool:
    """Put the public fields of `edited` into the draft and journal their names; False: same."""
    run = draft.run
    before = draft.encoding.text()
    run.vars = dict(edited.vars)
    draft.absorb()
    changed = _changed_vars(before, draft)
    for name in PLAIN:
        value = getattr(edited, name)
        if _differ(value, getattr(run, name), f"$.{name}"):
            changed.append(name)
            setattr(run, name, _copied(value, f"$.{name}"))
    moved = edited.current_node != run.current_node
    status = RunStatus(edited.status)
    waits_differ = _differ(_wait_dict(edited), _wait_dict(run), "$.waiting")
    if not (changed or moved or waits_differ or status is not run.status):
        return False
    if moved:
        changed.append("current_node")
        _jump(draft, edited.current_node, records())
    if status is not run.status:
        changed.append("status")
    if waits_differ:
        changed.append("waiting")
    if moved or waits_differ or status is not run.status:
        _set_status(draft, edited, status, line_id)
    draft.note(kind, line_id=line_id, now=now, changed=sorted(changed))
    return True


def rewound(
    records: Iterable[Mapping[str, Any]], node_id: str, generation: int
) -> tuple[dict[str, int], int] | None:
    """Visit counters as they were when `node_id` was last entered, and the revision before that.

    The counter of `node_id` itself is one less: its next visit is the recorded one. None when the
    ledger knows no visit of it in this generation.
    """
    lines = [
        record
        for record in holding(list(records))
        if record.get("visit") and (record.get("generation") or 1) == generation
    ]
    visits = [r["visit"] for r in lines if r["node_id"] == node_id]
    if not visits:
        return None
    last = visits[-1]
    counters: dict[str, int] = {}
    for record in lines:
        if record["node_id"] == node_id and record["visit"] == last:
            counters[node_id] = last - 1
            return counters, int(record.get("revision") or 1) - 1
        counters[record["node_id"]] = record["visit"]
    return None


def _jump(draft: Draft, node_id: str, records: Iterable[Mapping[str, Any]]) -> None:
    draft.run.current_node = node_id
    draft.entered = False
    draft.driver = None
    draft.open_steps = {}
    draft.waits = {}
    draft.queued_at = None
    found = rewound(records, node_id, draft.generation)
    if found is not None:
        draft.visits, draft.recall = found


def _set_status(draft: Draft, edited: RunState, status: RunStatus, line_id: str) -> None:
    run = draft.run
    run.status = status
    run.waiting = _copied_wait(edited) if status is RunStatus.WAITING else None
    opened = draft.waits.get(MAIN)
    same = opened is not None and run.waiting is not None and opened.key == run.waiting.wait_key
    if status is not RunStatus.RUNNING:
        if not same:  # else a step may stay open whose outcome or approval the run waits for
            draft.open_steps = {}
        draft.driver = None
        draft.queued_at = None
    if status is not RunStatus.WAITING:
        draft.waits = {}
    elif not same:
        _open_host_wait(draft, line_id)


def _open_host_wait(draft: Draft, wait_id: str) -> None:
    run = draft.run
    key = None if run.waiting is None else run.waiting.wait_key
    draft.waits = {
        MAIN: OpenWait(
            wait_id=wait_id,
            step_id=wait_id,
            node_id=run.current_node,
            visit=draft.visit(),
            opened=draft.revision + 1,
            key=key,
        )
    }


def _changed_vars(before: bytes, draft: Draft) -> list[str]:
    after = draft.encoding.text()
    if before == after:
        return []
    _, old = Encoding.parse(before)
    new = draft.run.vars
    names = [name for name in old if name not in new]
    names += [name for name in new if name not in old or _differ(old[name], new[name], "$.vars")]
    return [f"vars.{name}" for name in names] or ["vars"]


def _differ(one: Any, other: Any, path: str) -> bool:
    if one is other or (type(one) is str and one == other):
        return False
    return exact(one, path=path)[0] != exact(other, path=path)[0]


def _copied(value: Any, path: str) -> Any:
    return exact(value, path=path)[1]


def _wait_dict(run: RunState) -> dict[str, Any] | None:
    return None if run.waiting is None else wait_to_dict(run.waiting)


def _copied_wait(run: RunState) -> WaitState | None:
    data = _wait_dict(run)
    return None if data is None else wait_from_dict(_copied(data, "$.waiting"))


def start_generation(draft: Draft) -> None:
    """From here on every step has a new identity: nothing the ledger holds answers it."""
    draft.generation += 1
    draft.visits = {}
    draft.entered = False
    draft.recall = None


def public_digest(run: RunState) -> str:
    """What a host may change in its own store, as "status|node|sha256 of all of it"."""
    data = run_to_dict(run)
    for name in ("updated_at", "checkpoint"):
        data.pop(name, None)
    digest = hashlib.sha256(chain_form(data)).hexdigest()
    return f"{run.status.value}|{run.current_node}|{digest}"


def take_host_edit(
    draft: Draft, records: Iterable[Mapping[str, Any]], *, now: str, line_id: str
) -> None:
    """Journal an edit the host made in its own store; draft.run holds its public fields already."""
    assert draft.digest is not None
    status, _, rest = draft.digest.partition("|")
    node_id = rest.rpartition("|")[0]
    run = draft.run
    changed = []
    if node_id != run.current_node:
        changed.append("current_node")
        _jump(draft, run.current_node, records)
    if status != run.status.value:
        changed.append("status")
    _set_status(draft, run, run.status, line_id)
    draft.note("edited", line_id=line_id, now=now, changed=changed or None, noticed=True)
    draft.digest = public_digest(run)
