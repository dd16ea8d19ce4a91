"""How a pair's ledger is read: records as commits, what stands and what is void, what evidence.

A pair's ledger keeps the api's fields at least; `revision` and `last` only where it keeps more.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from abstractruntime.core import times
from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.commit import Evidence
from abstractruntime.core.machine.redo import stands_by
from abstractruntime.core.machine.undo import UNDO
from abstractruntime.core.models import RunState, StepRecord, StepStatus
from abstractruntime.errors import InvalidTime

Record = dict[str, Any]

THEN = "then"
"""The key in an effect under which a pair puts aside what the step needs to go on."""

KEPT_FIELDS = ("next_at", "vars")
"""Fields of an outcome without which it cannot be redone, beyond those every ledger keeps."""

MAX_PENDING = 80
"""More records than any commit has (the flow's 64 transitions and what goes with them)."""


@dataclass(frozen=True, slots=True)
class Group:
    """The records of one commit, the first of them at `place` in the ledger.

    A complete one is to be redone.
    """

    revision: int
    records: list[Record]
    complete: bool
    place: int

    @property
    def void(self) -> bool:
        """Whether it changes nothing: it says what never was, or that bytes were torn."""
        return kind_of(self.records[-1]) in ("voided", "torn")


# ---- what a record is


def kind_of(record: Record) -> str | None:
    """The kind of a record that is no step; None for a step's."""
    result = record.get("result")
    return result.get("kind") if isinstance(result, dict) and not record.get("effect") else None


def with_then(record: Record, **then: Any) -> Record:
    """A step's record that also says what its pair's stores would lose."""
    effect = record["effect"]
    return {**record, "effect": {**effect, THEN: {**effect.get(THEN, {}), **then}}}


def with_next(record: Record, checkpoint: Checkpoint) -> Record:
    """The run store drops checkpoints: the ledger has to say how an open step goes on."""
    for step in checkpoint.open_steps.values():
        if step.step_id == record["step_id"]:
            then = {"branch": step.branch} if step.branch.startswith(UNDO) else {}
            return with_then(record, node=step.next_node, child=step.child, **then)
    return with_then(record)  # by it a ledger says that checkpoints were dropped


def opens_step(record: Record) -> bool:
    """Whether the record leaves its step open: an intent, or a question for its approval."""
    asks = record["status"] == "waiting" and "approval" in (record.get("result") or {})
    return record["status"] == "started" or asks


def kept_checkpoints(records: Iterable[Record]) -> bool:
    """Whether the run store kept checkpoints, as far as a ledger that was written to tells it."""
    begun = [r for r in records if r.get("effect") and r["status"] == "started"]
    return bool(begun) and not any(THEN in record["effect"] for record in begun)


def without_then(record: Record) -> Record:
    """The record as the flow made it: what the pair had put aside is in its place again."""
    effect = record.get("effect")
    if not effect or THEN not in effect:
        return record
    kept = {name: effect[THEN][name] for name in KEPT_FIELDS if name in effect[THEN]}
    return {**record, "effect": {n: effect[n] for n in effect if n != THEN}, **kept}


def is_evidence(record: Record) -> bool:
    """Whether the record *is* evidence; one that links evidence has no outcome in it."""
    return kind_of(record) == "evidence" and "outcome" in record["result"]


def evidence_record(evidence: Evidence, revision: int | None) -> StepRecord:
    """Evidence in the only place a pair has for it, kept when the run was at `revision`."""
    return StepRecord(
        run_id=evidence.run_id,
        step_id=evidence.evidence_id,
        node_id=str(evidence.outcome.get("node_id") or ""),
        status=StepStatus.COMPLETED,
        result={
            "kind": "evidence",
            "evidence_id": evidence.evidence_id,
            "step_id": evidence.step_id,
            "digest": evidence.digest,
            "outcome": evidence.outcome,
            "kept_at": evidence.kept_at,
        },
        started_at=evidence.kept_at,
        ended_at=evidence.kept_at,
        revision=revision,
    )


def evidence_in(record: Record) -> Evidence:
    """The inverse of `evidence_record`."""
    kept = record["result"]
    return Evidence(
        evidence_id=kept["evidence_id"],
        run_id=record["run_id"],
        step_id=kept["step_id"],
        digest=kept["digest"],
        outcome=kept["outcome"],
        kept_at=kept["kept_at"],
    )


def revision_of(record: Record) -> int | None:
    """The revision a record names; None where the ledger dropped it, or it belongs to none."""
    revision = record.get("revision")
    return revision if type(revision) is int else None


def _moment(text: str | None) -> str:
    """A time in the form that sorts; "" for what is none."""
    try:
        return times.normal(text)
    except InvalidTime:
        return ""


def moment_of(record: Record) -> str:
    """When what the record says happened, in the form that sorts."""
    return _moment(record.get("ended_at") or record.get("started_at"))


# ---- commits the run store does not show


def groups_above(records: Sequence[Record], revision: int) -> list[Group]:
    """The commits above `revision`, in order, of a ledger that keeps revisions."""
    found: dict[int, Group] = {}
    for place, record in enumerate(records):
        at = revision_of(record)
        if at is not None and at > revision and not is_evidence(record):
            found.setdefault(at, Group(at, [], True, place)).records.append(record)
    marks = any("last" in record for record in records)
    return [
        replace(group, complete=not marks or group.records[-1].get("last") is True)
        for _, group in sorted(found.items())
    ]


def incomplete_at_end(records: Sequence[Record]) -> list[Group]:
    """The last commit, when not all of its records are there, of a ledger that keeps revisions."""
    last = max((revision_of(r) or 0 for r in records if not is_evidence(r)), default=0)
    return [group for group in groups_above(records, last - 1) if not group.complete]


def first_of(records: Sequence[Record]) -> int | None:
    """The lowest revision that one of these records names as its commit's."""
    named = (revision_of(record) for record in records if not is_evidence(record))
    return min((revision for revision in named if revision is not None), default=None)


def group_at_end(records: Sequence[Record], run: RunState, revision: int) -> list[Group]:
    """The one commit the run does not show, found by times, where nothing names revisions.

    Records of a later commit are younger than the run's `updated_at`. More than one outcome among
    them is no crash but a host that put an old state back: then nothing is to be redone.
    """
    saved = _moment(run.updated_at)
    if saved.endswith(".000000+00:00"):
        saved = saved[:19]  # the user's store keeps whole seconds: within one, times say nothing
    pending: list[Record] = []
    first = len(records)
    for place in range(len(records) - 1, -1, -1):
        record = records[place]
        if is_evidence(record):
            continue
        time = moment_of(record)[: len(saved)]
        if time < saved or (time == saved and not contradicts(run, record)):
            break
        pending.append(record)
        first = place
    pending.reverse()
    groups = one_group(pending, revision + 1, first)
    for group in groups:
        begun = {record["step_id"] for record in group.records if record["status"] == "started"}
        outcomes = sum(bool(r.get("effect")) and r["step_id"] not in begun for r in group.records)
        if len(group.records) > MAX_PENDING or outcomes > 1:
            return []
    return groups


def one_group(pending: Sequence[Record], revision: int, place: int) -> list[Group]:
    """What the run does not show, as the commit `revision`; nothing where none of it stands."""
    records = [record for record in not_voided(pending) if kind_of(record) != "voided"]
    return [Group(revision, records, complete=True, place=place)] if records else []


def voided_places(records: Sequence[Record]) -> set[int]:
    """Where the records are that a later one declares void: so many before it, evidence aside.

    Two processes that void the same at the same time say it twice: it is void once.
    """
    plain: list[int] = []
    voided: set[int] = set()
    for place, record in enumerate(records):
        if kind_of(record) == "voided":
            count = record["result"].get("records") or 0
            voided.update(plain[max(len(plain) - count, 0) :])
        elif not is_evidence(record):
            plain.append(place)
    return voided


def not_voided(records: Sequence[Record]) -> list[Record]:
    """The records that none among them declares void; those that declare are among them."""
    voided = voided_places(records)
    return [record for place, record in enumerate(records) if place not in voided]


def contradicts(run: RunState, record: Record) -> bool:
    """Whether `run` cannot be what the commit with this record, as its last, left."""
    status, kind = record["status"], kind_of(record)
    if status == "started":
        open_steps = {} if run.checkpoint is None else run.checkpoint.open_steps
        if open_steps:
            return all(step.step_id != record["step_id"] for step in open_steps.values())
        return run.status.value != "running" or run.current_node != record["node_id"]
    if status == "waiting":
        return run.waiting is None
    if kind == "resumed":
        return run.status.value == "waiting"
    if kind == "cancelled":
        return run.status.value != "cancelled"
    if status == "failed":
        return run.status.value == "running" and not record.get("effect")
    effect = record.get("effect")
    if effect and effect.get("result_key") and record.get("result") is not None:
        return bool(_at(run.vars, effect["result_key"]) != record["result"])
    return bool(record.get("result") == {"completed": True} and run.status.value != "completed")


def _at(vars: Any, key: str) -> Any:
    for name in key.split("."):
        vars = vars.get(name) if isinstance(vars, dict) else None
    return vars


def not_redone(run: RunState, group: Group) -> list[Record]:
    """The records of a complete commit that redoing it on `run` leaves out: from the first that is
    no outcome of an open step, no answer and no edit which the run shows. What they say was not
    acknowledged: no intent among them was performed, and nodes are called again.
    """
    assert run.checkpoint is not None
    open_steps = {step.step_id for step in run.checkpoint.open_steps.values()}
    for place, record in enumerate(group.records):
        outcome = record["status"] != "started" and record["step_id"] in open_steps
        if outcome or stands_by(record):
            continue
        if kind_of(record) not in ("resumed", "cancelled"):
            return group.records[place:]
    return []


# ---- what readers see


def standing(records: Sequence[Record], hash_chain: int | None = None) -> list[tuple[int, Record]]:
    """The records that stand, with their places in the ledger.

    What was voided, and evidence, is left out, except where a hash chain of the ledger's own
    binds it: without it the chain could not be verified. `hash_chain` is the pair's format.
    """
    hidden = voided_places(records)
    hidden.update(place for place, record in enumerate(records) if is_evidence(record))
    return [
        (place, record if _bound(record) else without_then(record))
        for place, record in enumerate(records)
        if place not in hidden or (_bound(record) and hash_chain != 1)
    ]


def _bound(record: Record) -> bool:
    """Whether a hash covers all of the record as it stands (format 1)."""
    return record.get("record_hash") is not None and record.get("chain") is None


class Numbers:
    """Revisions of the records of a ledger that drops them, as far as this process knows them.

    Of what was there before, only the order is known: its numbers grow by one up to `revision`.
    """

    __slots__ = ("_ends", "_revisions")

    def __init__(self, count: int, revision: int) -> None:
        self._ends = [count]
        self._revisions = [revision]

    @property
    def count(self) -> int:
        """How many records the ledger holds."""
        return self._ends[-1]

    def grow(self, count: int, revision: int) -> None:
        """`count` more records, those of the commit `revision`."""
        self._ends.append(self._ends[-1] + count)
        self._revisions.append(revision)

    def at(self, place: int) -> int:
        """The revision of the record at `place`."""
        found = bisect_right(self._ends, place)
        if found == 0:
            return min(place + 1, self._revisions[0])
        return self._revisions[min(found, len(self._revisions) - 1)]


def numbered(records: Iterable[tuple[int, Record]], numbers: Numbers | None) -> list[Record]:
    """The records, each with its revision: its own, by `numbers`, or its neighbour's.

    One that a ledger of before sealed without a revision stays as it is: its hash covers it.
    """
    found: list[Record] = []
    last = 1
    keeps = False
    for place, record in records:
        at = revision_of(record)
        if at is not None:
            keeps = True
        else:
            at = last if keeps or numbers is None else numbers.at(place)
        last = at
        found.append(record if _bound(record) else {**record, "revision": at})
    return found
