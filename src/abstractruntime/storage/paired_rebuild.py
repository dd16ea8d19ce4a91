"""The checkpoint of a run whose store dropped it, as far as the ledger and the run tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from abstractruntime.core.checkpoint import MAIN, NO_TERMS, Checkpoint, OpenStep, OpenWait
from abstractruntime.core.machine.approval import state_from
from abstractruntime.core.machine.undo import UNDO
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.storage.paired_journal import (
    THEN,
    Record,
    is_evidence,
    kind_of,
    not_voided,
    revision_of,
    without_then,
)
from abstractruntime.storage.paired_terms import terms_told


def rebuilt(run: RunState, records: Sequence[Record]) -> Checkpoint:
    """A checkpoint for `run` from the records of the commits it shows, at revision 1 or above.

    What was voided opened no step and entered no node. Who drove the run and its workflow's
    version are lost.
    """
    records = not_voided(records)
    generation = max((record.get("generation") or 1 for record in records), default=1)
    steps = [record for record in records if (record.get("generation") or 1) == generation]
    visits = _visits(steps)
    open_step = _open_step(run, steps, visits)
    waits = _waits(run, steps, visits)
    sealed = [record for record in records if record.get("chain") == 2]
    terms = terms_told(steps)
    due = run.status is RunStatus.RUNNING and terms.ending is not None
    if not (due or _in_doubt(run)):
        terms = replace(terms, ending=None)  # what the run shows was never so far
    return Checkpoint(
        revision=max((revision_of(record) or 1 for record in records), default=1),
        generation=generation,
        visits=visits,
        entered=open_step is not None or bool(waits),
        open_steps={} if open_step is None else {open_step.branch: open_step},
        waits=waits,
        chain_head=sealed[-1]["record_hash"] if sealed else None,
        linked=sum(kind_of(r) == "evidence" and not is_evidence(r) for r in records),
        queued_at=terms.ending["at"] if due and terms.ending is not None else None,
        terms=NO_TERMS if terms == NO_TERMS else terms,
    )


def overwritten(run: RunState, records: Sequence[Record], public: str | None = None) -> Checkpoint:
    """The kernel's side of a run that a host has saved over what was there, without its kernel's.

    Its digest is that of what was there, as far as that is known: the edit is noticed by it.
    """
    last = records[-1]["node_id"] if records else run.current_node
    return replace(rebuilt(run, records), digest=public or f"running|{last}|overwritten")


def _visits(records: Sequence[Record]) -> dict[str, int]:
    """How often each node was entered: as recorded, or the first attempts at it, counted."""
    counted: dict[str, int] = {}
    named: dict[str, int] = {}
    asked: set[str] = set()
    for record in records:
        node = record["node_id"]
        if isinstance(record.get("visit"), int):
            named[node] = max(record["visit"], named.get(node, 0))
        elif record.get("effect") and record["step_id"] not in asked:
            # A step that had to be approved was entered when that was asked for.
            if record.get("attempt") == 0:
                asked.add(record["step_id"])
            elif record["status"] != "started" or _attempt(record) != 1:
                continue
            counted[node] = counted.get(node, 0) + 1
    return {**counted, **named}


def _open_step(
    run: RunState, records: Sequence[Record], visits: Mapping[str, int]
) -> OpenStep | None:
    """The last step of the current node, when nothing says how it came out."""
    steps = [record for record in records if record.get("effect")]
    if not steps:
        return None
    last = steps[-1]
    approval = state_from(records, last["step_id"])
    asked = last["status"] == "waiting" and approval is not None
    if run.status is not RunStatus.RUNNING and not (asked and run.status is RunStatus.WAITING):
        return None
    if last["status"] not in ("started", "failed") and not asked:
        return None
    failed = last["status"] == "failed"
    effect = last["effect"]
    then: Record = next(
        (r["effect"].get(THEN) or {} for r in steps if r["step_id"] == last["step_id"]), {}
    )
    branch = last.get("branch") or then.get("branch") or MAIN
    if not branch.startswith(UNDO) and (branch or last["node_id"] != run.current_node):
        return None  # of several effects at once no record tells the plan
    return OpenStep(
        step_id=last["step_id"],
        node_id=last["node_id"],
        visit=last.get("visit") or visits.get(last["node_id"], 1),
        effect={
            "type": effect["type"],
            "payload": effect.get("payload") or {},
            "result_key": effect.get("result_key"),
            **({"options": effect["options"]} if effect.get("options") else {}),
        },
        key=last.get("idempotency_key") or "",
        started_at=last["started_at"],
        opened=_first_revision(records, last["step_id"]),
        next_node=then.get("node"),
        # A run that still runs after a failed attempt has another one due.
        attempt=0 if asked else _attempt(last) + failed,
        wake_at=(without_then(last).get("next_at") or last.get("ended_at")) if failed else None,
        child=then.get("child"),
        salt=(last.get("salts") or {}).get("payload"),
        branch=branch,
        approval=approval,
    )


def _waits(
    run: RunState, records: Sequence[Record], visits: Mapping[str, int]
) -> dict[str, OpenWait]:
    """The open wait: its WAITING record, or one that stands for it where a host opened it."""
    waiting = run.waiting
    if run.status is not RunStatus.WAITING or waiting is None:
        return {}
    found: Record = next(
        (
            record
            for record in reversed(records)
            if record["status"] == "waiting" and _wait_key(record) == waiting.wait_key
        ),
        {},
    )
    step_id = found.get("step_id") or f"{run.run_id}:{run.current_node}:{run.updated_at}"
    node_id = found.get("node_id") or run.current_node
    return {
        MAIN: OpenWait(
            wait_id=step_id,
            step_id=step_id,
            node_id=node_id,
            visit=found.get("visit") or visits.get(node_id, 1),
            opened=revision_of(found) or 1,
            key=waiting.wait_key,
            child=(waiting.details or {}).get("sub_run_id"),
        )
    }


def _in_doubt(run: RunState) -> bool:
    """Whether the run waits for a word on a step whose outcome is unknown."""
    key = None if run.waiting is None else run.waiting.wait_key
    return key is not None and key.startswith("resolve:")


def _wait_key(record: Record) -> Any:
    result = record.get("result") or {}
    return (result.get("wait") or {}).get("wait_key")


def _attempt(record: Record) -> int:
    return int(record.get("attempt") or 1)


def _first_revision(records: Sequence[Record], step_id: str) -> int:
    return next((revision_of(r) or 1 for r in records if r["step_id"] == step_id), 1)
