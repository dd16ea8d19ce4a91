"""Writes a batch for the leader of the group: one transaction, each member its own result.

It knows what is known of runs between commits; who queues and who waits is the group's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from abstractruntime.core.commit import Commit
from abstractruntime.errors import (
    CounterRefused,
    RevisionConflict,
    StoreBusy,
    StoreClosed,
    StoreReadOnly,
    StoreUnavailable,
)
from abstractruntime.storage.base import Transaction
from abstractruntime.storage.relational.database import Database, copied
from abstractruntime.storage.relational.group import Pending
from abstractruntime.storage.relational.ledger_rows import LedgerRows
from abstractruntime.storage.relational.lines import Fresh
from abstractruntime.storage.relational.reading import refuse
from abstractruntime.storage.relational.run_rows import UNREADABLE, check_run, records_at
from abstractruntime.storage.relational.trail import Spot, Texts, Trail, Trails
from abstractruntime.storage.relational.transaction import OpenTransaction
from abstractruntime.storage.relational.works import CommitWork, refusal

_MOST_BYTES: Final = 8 * 1024 * 1024
"""Bytes that may share one transaction."""
_NOBODYS_FAULT: Final = (StoreBusy, StoreClosed, StoreReadOnly, StoreUnavailable)
"""Faults that another try with fewer members would meet again; so is any of a failed medium."""


class WritingDesk:
    """The writer of one database. One thread at a time: the group's leader."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.session = database.session
        self._trails = Trails()
        self._texts = Texts()
        self._seen: set[str] = set()
        self._staged: dict[str, Trail] = {}
        self._fresh: dict[Spot, Fresh] = {}

    # -- for the group

    def write(self, batch: list[Pending]) -> None:
        """Settle the first members of the batch, as many as fit one transaction."""
        self._forget()
        ready: list[Pending] = []
        size = 0
        for member in batch:
            if size > _MOST_BYTES:
                break
            try:
                size += member.work.prepare(self)
            except Exception as error:
                # What cannot be encoded, or has no run to go to, concerns its owner alone.
                member.settle(self._database.fault(error))
            else:
                ready.append(member)
        if ready:
            self._transact(ready)

    def recover(self, members: list[Pending]) -> None:
        """After `write` was cut short: undo the transaction, or settle those that are committed."""
        self._forget()
        self.session.rollback()
        for member in members:
            if member.work.landed(self):
                member.settle()

    def _transact(self, ready: list[Pending]) -> None:
        session = self.session
        misses: list[tuple[Pending, RevisionConflict | CounterRefused]] = []
        try:
            session.begin(urgent=any(member.work.urgent for member in ready))
            for member in ready:
                try:
                    member.work.write(self)
                except (RevisionConflict, CounterRefused) as miss:
                    misses.append((member, miss))
                    self._trails.drop(member.work.run_id)
            session.commit()
        except Exception as error:
            # A driver's error or a fault of ours; either way it reaches the owners.
            self._fail(ready, error)
            return
        for member, conflict in misses:
            member.settle(conflict)
        for member in ready:
            if not member.settled:
                member.settle()
        self._keep_staged()

    def transact(self, work: Callable[[Transaction], Commit | None], *, seconds: float) -> None:
        """Let `work` write rows of its own and, in the same transaction, the commit it returns."""
        self._forget()
        session = self.session
        commit: Commit | None = None
        try:
            session.begin(urgent=True)
            transaction = OpenTransaction(session, seconds)
            try:
                commit = work(transaction)
            finally:
                transaction.close()
            if commit is None:
                session.rollback()
                return
            member = CommitWork(commit)
            member.prepare(self)
            member.write(self)
            session.commit()
        except (RevisionConflict, CounterRefused):
            self._trails.drop(None if commit is None else commit.run_id)
            session.rollback()
            raise
        except BaseException as error:
            session.rollback()
            if isinstance(error, Exception):
                fault = self._database.fault(error)
                if fault is not error:
                    raise fault from error
            raise
        self._keep_staged()

    def _fail(self, ready: list[Pending], error: Exception) -> None:
        fault = self._database.fault(error)
        try:
            self.session.rollback()
        except Exception as second:
            fault = self._database.fault(second)
        hopeless = isinstance(fault, _NOBODYS_FAULT) or self._database.failed() is not None
        if len(ready) == 1 or hopeless:
            for member in ready:
                member.settle(fault if member is ready[0] else copied(fault))
            return
        # Some member cannot be written; alone, each meets only its own fault.
        for member in ready:
            self.write([member])

    # -- for works

    def first_of(self, run_id: str) -> bool:
        """Whether no earlier work of this batch concerns the run; from now on one does."""
        if run_id in self._seen:
            return False
        self._seen.add(run_id)
        return True

    def trail(self, commit: Commit) -> Trail:
        """The run's trail; RevisionConflict when it is not at the revision the commit is from."""
        run_id, expected = commit.run_id, commit.expected
        trail = self._staged.get(run_id) or self._trails.get(run_id)
        if trail is None or trail.revision != expected:
            trail = self._read_trail(run_id)
            if trail is None or trail.revision != expected:
                raise refusal(self.session, commit)
        return trail

    def recall(self, spot: Spot) -> bytes:
        """The text of a large payload: remembered, or read from the log."""
        fresh = self._fresh.get(spot)
        text = self._texts.get(spot) if fresh is None else fresh.text
        if text is None:
            run_id, revision, index = spot
            read = self.session.rows
            number = read("number", (run_id,))[0][0]
            rows = LedgerRows(run_id, lambda at: records_at(read, run_id, number, at))
            text = rows.payload_text(revision, index)
        return text

    def _read_trail(self, run_id: str) -> Trail | None:
        """From the run's row; what is not as it was written is not built upon."""
        read = self.session.rows
        try:
            rows = read("run", (run_id,))
            if not rows:
                return None
            check_run(read, rows[0])
        except UNREADABLE as error:
            refuse(run_id, error)
        return Trail.of(rows[0])

    def stage(self, run_id: str, trail: Trail, fresh: Sequence[Fresh]) -> None:
        """What holds once this batch is committed."""
        self._staged[run_id] = trail
        for each in fresh:
            self._fresh[each.spot] = each

    # -- what is known between batches

    def _forget(self) -> None:
        self._seen.clear()
        self._staged.clear()
        self._fresh.clear()

    def _keep_staged(self) -> None:
        for run_id, trail in self._staged.items():
            self._trails.put(run_id, trail)
        for spot, fresh in self._fresh.items():
            self._texts.put(spot, fresh.text, instead_of=fresh.instead_of)
