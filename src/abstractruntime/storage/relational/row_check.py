"""All rows of one run against their checksums, for `verify`: what a load does not read as well."""

from __future__ import annotations

from typing import Final

from abstractruntime.errors import StoreCorrupt
from abstractruntime.storage.base import RowCheck
from abstractruntime.storage.relational import sums
from abstractruntime.storage.relational.database import Row
from abstractruntime.storage.relational.run_rows import Read, check_run

# A row may hold a whole state.
_PAGE: Final = 32
_MOST_FAULTS: Final = 20


def check_rows(read: Read, run_id: str) -> RowCheck:
    """What is wrong with the rows of a run, up to the revision it is at when this begins."""
    rows = read("run", (run_id,))
    if not rows:
        return RowCheck()
    row = rows[0]
    number, revision = row[0], row[8]
    log = _Log(run_id)
    try:
        check_run(read, row)
    except StoreCorrupt as fault:
        log.faults.append(str(fault))
    after = 0
    while page := read("log_rows", (number, after, revision, _PAGE)):
        for each in page:
            log.look_at(each)
        after = page[-1][0]
    log.end(revision)
    counted, kept = read("evidence_counts", (run_id,))[0]
    if counted != kept:
        log.faults.append(f"{kept} pieces of evidence are kept, its row counts {counted}")
    return RowCheck(tuple(log.faults[:_MOST_FAULTS]), log.without + (row[23] is None))


class _Log:
    """The rows of `commits` as they pass by: each is there, and none lost a sum."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._last = 0
        self._summed = False
        self.without = 0
        self.faults: list[str] = []

    def look_at(self, row: Row) -> None:
        revision, head, delta, vars, records, state_sum, records_sum = row
        self._missing(revision)
        self._last = revision
        if state_sum is None or records_sum is None:
            self.without += 1
            if self._summed or state_sum is not records_sum:
                self._add(sums.lost(self._run_id, revision, "the log row"))
        self._summed = state_sum is not None
        try:
            sums.check_state(self._run_id, revision, state_sum, head, delta, vars)
            sums.check_records(self._run_id, revision, records_sum, records)
        except StoreCorrupt as fault:
            self._add(fault)

    def end(self, revision: int) -> None:
        self._missing(revision + 1)

    def _missing(self, revision: int) -> None:
        first, last = self._last + 1, revision - 1
        if first <= last:
            self.faults.append(f"the log rows of revisions {first} to {last} are missing")

    def _add(self, fault: StoreCorrupt) -> None:
        self.faults.append(str(fault))
