"""Whether runs are what was written: the chain, its head in the checkpoint, the revisions, the
state that history rebuilds, the checksums of rows. It reads; it never repairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.head import head_of
from abstractruntime.core.models import RunState
from abstractruntime.errors import RuntimeFault, StoreCorrupt, UnknownRun
from abstractruntime.inspect.text import one_line
from abstractruntime.storage.base import Capability, RowCheck, Store
from abstractruntime.storage.ledger_chain import verify_ledger_chain

MANY = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """One run: `ok` when nothing is wrong, `chained` whether there was a chain to look at.

    `without_sum` counts its rows that a version wrote before there were checksums.
    """

    run_id: str
    ok: bool
    chained: bool
    records: int
    revision: int
    head: str | None
    faults: tuple[str, ...]
    without_sum: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form."""
        return {
            "run_id": self.run_id,
            "ok": self.ok,
            "chained": self.chained,
            "records": self.records,
            "revision": self.revision,
            "head": self.head,
            "faults": list(self.faults),
            "without_sum": self.without_sum,
        }


def verify_runs(
    store: Store,
    run_ids: Sequence[str],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Verdict]:
    """A verdict of each run; `progress(done, all)` is told after each."""
    for number, run_id in enumerate(run_ids, start=1):
        yield verify_run(store, run_id)
        if progress is not None:
            progress(number, len(run_ids))


def all_run_ids(store: Store) -> list[str]:
    """The ids of every run in the store, oldest change first; when one is damaged, by id."""
    try:
        return [run.run_id for run in reversed(store.list_runs(limit=MANY))]
    except StoreCorrupt:
        # Which one it is, its own verdict says.
        return list(store.find_prefix("", limit=MANY))


def verify_run(store: Store, run_id: str) -> Verdict:
    """The verdict of one run; what a broken store raises while it is read is a fault of the run.

    Raises UnknownRun.
    """
    try:
        loaded = store.load(run_id)
        if loaded is None:
            raise UnknownRun(f"Unknown run_id: {one_line(run_id, 60)}", run_id=run_id)
        # The driver of a live run goes on writing: only what this checkpoint speaks for is judged.
        at = loaded.run.checkpoint or Checkpoint()
        records = [
            record
            for record in store.list_records(run_id)
            if (record.get("revision") or 0) <= at.revision
        ]
    except UnknownRun:
        raise
    except RuntimeFault as fault:
        rows = _rows(store, run_id)
        # The fault may be one of the rows': said once.
        others = tuple(found for found in rows.faults if found != str(fault))
        said = (f"cannot be read: {fault}", *others)
        return Verdict(run_id, False, False, 0, 0, None, said, rows.without_sum)
    chained = any(record.get("record_hash") for record in records)
    faults: list[str] = []
    head = None
    if chained or store.hash_chain is not None:
        report = verify_ledger_chain(records)
        head = report["head_hash"]
        faults += [_fault(error, records) for error in report["errors"][:20]]
        if store.hash_chain is not None and at.chain_head != head:
            faults.append(
                f"the checkpoint's chain head is {_hash(at.chain_head)}, the ledger ends with "
                f"{_hash(head)}: records are missing or were added"
            )
    faults += _revisions(records, at.revision)
    faults += _strangers(records, run_id)
    if Capability.HISTORY in store.capabilities and at.revision:
        faults += _history(store, loaded.run, at.revision)
    rows = _rows(store, run_id)
    faults += rows.faults
    return Verdict(
        run_id,
        not faults,
        chained,
        len(records),
        at.revision,
        head,
        tuple(faults),
        rows.without_sum,
    )


def _rows(store: Store, run_id: str) -> RowCheck:
    try:
        return store.check_rows(run_id)
    except RuntimeFault as fault:
        return RowCheck((f"its rows cannot be read: {fault}",))


def _fault(error: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    index = error["index"]
    record = records[index] if 0 <= index < len(records) else {}
    where = f"record {index} (revision {record.get('revision')}, node {record.get('node_id')!r})"
    match error["type"]:
        case "prev_hash_mismatch":
            return (
                f"{where} follows {_hash(error.get('actual_prev_hash'))}, "
                f"but {_hash(error.get('expected_prev_hash'))} stands before it"
            )
        case "missing_record_hash":
            return f"{where} has no hash"
        case "record_hash_mismatch":
            return (
                f"{where} was changed: its hash is {_hash(error.get('stored'))}, "
                f"its content gives {_hash(error.get('computed'))}"
            )
        case other:
            return f"{where}: {other}"


def _hash(value: object) -> str:
    return f"{value[:12]}…" if isinstance(value, str) else "none"


def _revisions(records: Sequence[Mapping[str, Any]], newest: int) -> list[str]:
    """Records name the revision of their commit: it never falls, and none is of the future."""
    last = 0
    for index, record in enumerate(records):
        revision = record.get("revision")
        if revision is None:
            continue
        if revision < last:
            return [f"record {index} is of revision {revision}, the one before of {last}"]
        last = revision
    return [] if last <= newest else [f"the ledger is at revision {last}, the run at {newest}"]


def _strangers(records: Sequence[Mapping[str, Any]], run_id: str) -> list[str]:
    return [
        f"record {index} belongs to run {one_line(str(record.get('run_id')), 60)}"
        for index, record in enumerate(records)
        if record.get("run_id") != run_id
    ][:1]


def _history(store: Store, run: RunState, revision: int) -> list[str]:
    """The deltas add up to the state that stands in the run's row, and the first one is there."""
    try:
        rebuilt = store.load_at(run.run_id, revision)
        store.load_at(run.run_id, 1)
    except RuntimeFault as fault:
        return [f"its history cannot be rebuilt: {fault}"]
    if rebuilt.run.vars != run.vars or head_of(rebuilt.run) != head_of(run):
        return [f"the state that history gives for revision {revision} is not the one stored"]
    return []
