"""The Store over a SQL database: hands writes to the group, reads by the queries' names."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from abstractruntime.core import times
from abstractruntime.core.canonical import decode
from abstractruntime.core.commit import Commit, Counter, Evidence, Loaded, Message
from abstractruntime.core.models import (
    RunState,
    RunStatus,
    StepRecord,
    WaitReason,
    record_to_dict,
    utc_now,
)
from abstractruntime.errors import Refused, RuntimeFault, StoreBusy, StoreClosed, UnknownRun
from abstractruntime.storage.artifacts import FileArtifactStore
from abstractruntime.storage.base import Capability, RowCheck, Store, Transaction
from abstractruntime.storage.leftovers import Leftover, of_artifacts
from abstractruntime.storage.relational import mail, reading
from abstractruntime.storage.relational.database import Database
from abstractruntime.storage.relational.desk import WritingDesk
from abstractruntime.storage.relational.group import Group, Pending
from abstractruntime.storage.relational.mail_work import MessageWork
from abstractruntime.storage.relational.row_check import check_rows
from abstractruntime.storage.relational.views import LedgerView, RunView
from abstractruntime.storage.relational.works import (
    CommitWork,
    EvidenceWork,
    StatementWork,
    StrayWork,
)
from abstractruntime.storage.snapshots import SqliteSnapshotStore

_ALL: Final = 2**62
_AT_REST: Final = tuple(s.value for s in RunStatus if s is not RunStatus.RUNNING)


class RelationalStore(Store):
    """Runs, their ledgers and their mail in one database. Any thread may call.

    `hash_chain` is the chain format commits are to be sealed with, `clock` what edits are dated by,
    `patience` how long the database may keep a writer waiting, in seconds.
    """

    capabilities = frozenset(
        {
            Capability.ATOMIC,
            Capability.COUNTERS,
            Capability.DURABLE,
            Capability.EXCLUSIVE,
            Capability.HISTORY,
            Capability.MAILBOX,
            Capability.QUERYABLE,
            Capability.QUICK_READS,
            Capability.TRANSACTIONAL,
        }
    )

    def __init__(
        self,
        database: Database,
        *,
        hash_chain: int | None = 2,
        clock: Callable[[], str] = utc_now,
        patience: float = 30.0,
    ) -> None:
        self.url = database.url
        self.hash_chain = hash_chain
        self.clock = clock
        self._database = database
        self._read = database.read
        self._patience = patience
        self._desk = WritingDesk(database)
        self._group = Group(self._desk, patience=patience)
        self._inside: int | None = None
        self._runs = RunView(self, clock=clock)
        self._ledger = LedgerView(self, clock=clock)

    @property
    def run_store(self) -> RunView:
        return self._runs

    @property
    def ledger_store(self) -> LedgerView:
        return self._ledger

    @cached_property
    def snapshot_store(self) -> SqliteSnapshotStore:
        return SqliteSnapshotStore(self)

    @cached_property
    def artifact_store(self) -> FileArtifactStore | None:
        folder = self._database.folder
        return None if folder is None else FileArtifactStore(folder)

    # -- one run

    def load(self, run_id: str) -> Loaded | None:
        if self._inside is not None:
            self._refuse_inside()
        try:
            rows = self._read("run", (run_id,))
            return reading.loaded(self._read, rows[0]) if rows else None
        except reading.UNREADABLE as error:
            reading.refuse(run_id, error)

    def load_at(self, run_id: str, revision: int) -> Loaded:
        try:
            rows = self._read("run", (run_id,))
            if not rows:
                raise UnknownRun(f"Unknown run_id: {run_id}", run_id=run_id)
            return reading.loaded_at(self._read, rows[0], revision)
        except reading.UNREADABLE as error:
            reading.refuse(run_id, error)

    def submit(self, commit: Commit) -> Pending:
        if self._inside is not None:
            self._refuse_inside()
        return self._group.submit(CommitWork(commit))

    def commit(self, commit: Commit) -> None:
        if self._inside is not None:
            self._refuse_inside()
        self._group.run(CommitWork(commit))

    def transact(self, work: Callable[[Transaction], Commit | None], *, seconds: float) -> None:
        self._refuse_inside()
        if not self._group.quiet(timeout=self._patience):
            raise StoreBusy(f"The store did not come to this write in {self._patience:g} s")
        try:
            self._inside = threading.get_ident()
            self._desk.transact(work, seconds=seconds)
        finally:
            self._inside = None
            self._group.resume()

    def _refuse_inside(self) -> None:
        """Refuse the thread of a transactional handler: it would wait for itself."""
        if self._inside == threading.get_ident():
            raise Refused(
                "A transactional handler cannot call the store its step is committed to",
                fix="write its own rows by step.transaction.execute, plan the rest as effects",
            )

    def list_records(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        try:
            if after <= 0:
                for (text,) in self._read("stray_records", (run_id,)):
                    found.append(decode(text))
            number = self._number(run_id)
            if number is not None:
                found += reading.records(self._read, run_id, number, after=after, limit=limit)
        except reading.UNREADABLE as error:
            reading.refuse(run_id, error)
        return found

    def find_step(self, run_id: str, key: str) -> list[dict[str, Any]]:
        number = self._number(run_id)
        if number is None:
            return []
        ((revision,),) = self._read("step_key", (number, key))
        if revision is None:
            return []
        return reading.records_of_step(self._read, run_id, number, revision, key)

    def _number(self, run_id: str) -> int | None:
        rows = self._read("number", (run_id,))
        return rows[0][0] if rows else None

    # -- messages and evidence

    def list_messages(self, run_id: str, *, name: str | None = None) -> list[Message]:
        if name is None:
            rows = self._read("messages", (run_id,))
        else:
            rows = self._read("messages_named", (run_id, name))
        return [mail.message_of(row) for row in rows]

    def next_messages(
        self, run_id: str, names: Sequence[str], *, now_iso: str, limit: int
    ) -> list[Message]:
        return mail.next_messages(self._read, run_id, names, now=now_iso, limit=limit)

    def send(self, message: Message) -> bool:
        work = MessageWork(message)
        self._group.run(work)
        if work.refused is not None:
            raise work.refused
        return work.new

    def send_all(self, messages: Sequence[Message]) -> int:
        # Queued together, they share their transactions.
        works = [MessageWork(message) for message in messages]
        for pending in [self._group.submit(work) for work in works]:
            pending.result()
        return sum(work.new for work in works)

    def list_counters(self, owner: str) -> dict[str, Counter]:
        start = len(owner) + 1
        return {
            key[start:]: Counter(value, at_most)
            for key, value, at_most in self._read("counters", (owner,))
        }

    def keep_evidence(self, evidence: Evidence) -> None:
        self._group.run(EvidenceWork(evidence))

    def list_evidence(self, run_id: str) -> list[Evidence]:
        return [
            Evidence(id, run, step, digest, decode(outcome), kept_at)
            for id, run, step, digest, outcome, kept_at in self._read("evidence", (run_id,))
        ]

    def keep_stray(self, record: StepRecord) -> None:
        """Append to the ledger of a run whose state is kept elsewhere; RevisionConflict if not."""
        data = record_to_dict(record)
        data.setdefault("revision", 0)
        self._group.run(StrayWork(record.run_id, data))

    # -- many runs

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        reason = None if wait_reason is None else WaitReason(wait_reason).value
        wanted = None if status is None else RunStatus(status).value
        bounds = (reason, workflow_id, max(limit, 0))
        rows: list[tuple[Any, ...]] = []
        for each in (RunStatus.RUNNING.value, *_AT_REST):
            if wanted is None or wanted == each:
                # While a run moves, its updated_at is not in an index: those are sorted apart.
                query = "runs_at_rest" if each in _AT_REST else "runs_in_motion"
                rows += self._read(query, (each, *bounds))
        rows.sort(key=lambda row: row[12], reverse=True)
        return self._listed(rows[: max(limit, 0)])

    def list_due(self, now_iso: str, *, limit: int = 100) -> list[str]:
        now = times.normal(now_iso, what="now_iso")
        return [row[0] for row in self._read("due", (now, max(limit, 0)))]

    def list_waiting_until(self, now_iso: str, *, limit: int = 100) -> list[RunState]:
        """Waiting runs whose `until` is at or before `now_iso`, earliest first."""
        now = times.normal(now_iso, what="now_iso")
        return self._listed(self._read("runs_waiting_until", (now, max(limit, 0))))

    def next_wake(self) -> str | None:
        ((found,),) = self._read("next_wake", ())
        earliest: str | None = found
        return earliest

    def list_answered(self, *, now_iso: str | None = None, limit: int = 100) -> list[str]:
        return [row[0] for row in self._read("answered", (now_iso, max(limit, 0)))]

    def list_awaiting(self, name: str, *, limit: int = 100_000) -> list[str]:
        return [row[0] for row in self._read("awaiting", (name, max(limit, 0)))]

    def list_driven(self, *, limit: int = 1000) -> list[RunState]:
        return self._listed(self._read("runs_driven", (max(limit, 0),)))

    def list_children(
        self, *, parent_run_id: str, status: RunStatus | None = None
    ) -> list[RunState]:
        wanted = None if status is None else RunStatus(status).value
        return self._listed(self._read("runs_of_parent", (parent_run_id, wanted)))

    def _listed(self, rows: Iterable[tuple[Any, ...]]) -> list[RunState]:
        return [self._one_listed(row) for row in rows]

    def _one_listed(self, row: tuple[Any, ...]) -> RunState:
        try:
            return reading.listed(self._read, row)
        except reading.UNREADABLE as error:
            reading.refuse(row[1], error)

    def find_prefix(self, prefix: str, *, limit: int = 2) -> Sequence[str]:
        return [row[0] for row in self._read("prefix", (prefix, max(limit, 0)))]

    # -- snapshots: the table behind storage.snapshots

    def save_row(self, *, snapshot_id: str, run_id: str, created_at: str, text: str) -> None:
        """Insert or replace a snapshot; durable on return."""
        self._group.run(StatementWork("save_snapshot", (snapshot_id, run_id, created_at, text)))

    def load_row(self, snapshot_id: str) -> str | None:
        """The text of a snapshot; None when unknown."""
        rows = self._read("snapshot", (snapshot_id,))
        return rows[0][0] if rows else None

    def delete_row(self, snapshot_id: str) -> bool:
        """Forget a snapshot; whether it was there."""
        work = StatementWork("delete_snapshot", (snapshot_id,))
        self._group.run(work)
        return work.changed > 0

    def list_rows(self, run_id: str | None) -> list[str]:
        """Texts of a run's snapshots (None: of all), newest first."""
        return [row[0] for row in self._read("snapshots", (run_id,))]

    # -- the store itself

    def changes(self) -> int:
        return self._database.changes()

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "hash_chain": self.hash_chain, **self._database.facts()}

    def check(self) -> list[str]:
        return [said for (said,) in self._read("check", ()) if said != "ok"]

    def check_rows(self, run_id: str) -> RowCheck:
        try:
            return check_rows(self._read, run_id)
        except reading.UNREADABLE as error:
            reading.refuse(run_id, error)

    def leftovers(self, *, now_s: float) -> list[Leftover]:
        folder = self._database.folder
        if folder is None:
            return []
        return list(of_artifacts(Path(folder) / "artifacts", now_s=now_s))

    def failed(self) -> bool:
        """Whether the medium failed and the store must be opened anew."""
        return self._database.failed() is not None

    def close(self) -> None:
        why = StoreClosed(f"{self.url} is closed", fix="open it again", url=self.url)
        self._group.close(why, timeout=self._patience)
        self._database.close()

    # -- the moment of a fork

    def before_fork(self, *, timeout: float) -> bool:
        """Let go of all connections until `after_fork`; False when one stays in use."""
        if not self._group.quiet(timeout=timeout):
            return False
        if self._database.release(timeout=timeout):
            return True
        self._group.resume()
        return False

    def after_fork(self) -> None:
        """Go on, in the process that forked."""
        self._database.resume()
        self._group.resume()

    def disown(self, why: RuntimeFault) -> None:
        """In the child of a fork: touch nothing of the parent's, every call raises `why`."""
        self._database.fail(why)
        self._group = Group(WritingDesk(self._database), patience=0)
        self._group.close(why, timeout=0)
