"""The atomic store in this process's memory, with every revision kept: for tests, and for programs
that need nothing to outlive them. It holds texts only, so what it is given and what it gives share
nothing with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from abstractruntime.core import times
from abstractruntime.core.canonical import decode
from abstractruntime.core.commit import Commit, Counter, Evidence, Loaded, Message, counts_of
from abstractruntime.core.delta import Encoding
from abstractruntime.core.head import run_from_head
from abstractruntime.core.models import RunState, RunStatus, WaitReason, utc_now
from abstractruntime.errors import (
    CounterRefused,
    InvalidInput,
    RevisionConflict,
    StoreClosed,
    UnknownRevision,
    UnknownRun,
)
from abstractruntime.storage.artifacts import InMemoryArtifactStore
from abstractruntime.storage.base import Capability, Store, ended
from abstractruntime.storage.done import Done
from abstractruntime.storage.memory_mail import Mail
from abstractruntime.storage.memory_rows import Listed, Revision, Row, encode
from abstractruntime.storage.snapshots import InMemorySnapshotStore
from abstractruntime.storage.views import StoreRecords, StoreRuns

LIVE = frozenset({RunStatus.RUNNING.value, RunStatus.WAITING.value})


class MemoryStore(Store):
    """Runs, ledgers, messages and evidence in memory. Any thread may call; nothing is durable.

    `hash_chain` is the chain format that commits are sealed with, `clock` what edits are dated by.
    """

    capabilities = frozenset(
        {
            Capability.ATOMIC,
            Capability.COUNTERS,
            Capability.EXCLUSIVE,  # no other process can reach it
            Capability.HISTORY,
            Capability.MAILBOX,
            Capability.QUERYABLE,
            Capability.QUICK_READS,
        }
    )
    url = "memory://"

    def __init__(self, *, hash_chain: int | None = 2, clock: Callable[[], str] = utc_now) -> None:
        self.hash_chain = hash_chain
        self._rows: dict[str, Row] = {}
        self._mail = Mail()
        self._counters: dict[str, Counter] = {}
        self._evidence: dict[str, dict[str, bytes]] = {}
        self._writes = 0
        self._closed = False
        self._lock = threading.Lock()
        self._runs = StoreRuns(self, clock=clock)
        self._records = StoreRecords(self, clock=clock)

    @property
    def run_store(self) -> StoreRuns:
        return self._runs

    @property
    def ledger_store(self) -> StoreRecords:
        return self._records

    @cached_property
    def snapshot_store(self) -> InMemorySnapshotStore:
        return InMemorySnapshotStore()

    @cached_property
    def artifact_store(self) -> InMemoryArtifactStore:
        return InMemoryArtifactStore()

    @contextmanager
    def _open(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise StoreClosed("This memory:// store is closed")
            yield

    # -- one run

    def load(self, run_id: str) -> Loaded | None:
        with self._open():
            row = self._rows.get(run_id)
            return None if row is None else self._loaded(row, row.revision)

    def load_at(self, run_id: str, revision: int) -> Loaded:
        with self._open():
            row = self._rows.get(run_id)
            if row is None:
                raise UnknownRun(f"Unknown run_id: {run_id}", run_id=run_id)
            if not 1 <= revision <= row.revision:
                raise UnknownRevision(
                    f"Run '{run_id}' has revisions 1 to {row.revision}, not {revision}",
                    run_id=run_id,
                    revision=revision,
                )
            return self._loaded(row, revision)

    def _loaded(self, row: Row, revision: int) -> Loaded:
        encoding, vars = Encoding.parse(row.vars_at(revision))
        return Loaded(self._run(row, revision, vars), encoding)

    def _run(self, row: Row, revision: int, vars: dict[str, Any]) -> RunState:
        head = row.head_at(revision)
        kernel = head["checkpoint"]
        payloads = {
            branch: row.payload(step["opened"], step["step_id"])
            for branch, step in kernel.get("open_steps", {}).items()
        }
        kept = len(self._evidence.get(row.run_id, ()))
        return run_from_head(decode(row.fixed), head, vars, payloads, evidence=kept)

    def submit(self, commit: Commit) -> Done:
        """Written when this returns: the handle's result is there."""
        with self._open():
            try:
                commits = _with_creations(commit)
                self._refuse(commits)
                # All of it becomes text before any of it is stored: what cannot be refuses the
                # commit and changes nothing.
                written = [(one, *self._row_and_revision(one)) for one in commits]
                counted = {
                    key: count.applied_to(key, self._counters.get(key, Counter()))
                    for key, count in counts_of(commit)
                }
                letters = [self._mail.sealed(letter) for one in commits for letter in one.sent]
            except (InvalidInput, RevisionConflict, CounterRefused) as error:
                return Done(error)
            for one, row, revision, listed in written:
                row.take(one.run, revision, listed)
                self._rows[one.run_id] = row
                self._mail.consume(one.run_id, one.consumed)
            self._counters.update(counted)
            for sealed in letters:
                self._mail.deliver(sealed)
            self._writes += 1
            return Done()

    def _refuse(self, commits: list[Commit]) -> None:
        seen: set[str] = set()
        for commit in commits:
            row = self._rows.get(commit.run_id)
            found = 0 if row is None else row.revision
            if found != commit.expected or commit.run_id in seen:
                raise RevisionConflict(
                    f"Run '{commit.run_id}' is at revision {found}, not {commit.expected}",
                    run_id=commit.run_id,
                    expected=commit.expected,
                    found=found,
                )
            seen.add(commit.run_id)

    def _row_and_revision(self, commit: Commit) -> tuple[Row, Revision, Listed]:
        row = self._rows.get(commit.run_id) or Row(commit.run)
        return row, row.next_revision(commit), Listed.of(commit.run)

    def list_records(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> list[dict[str, Any]]:
        with self._open():
            row = self._rows.get(run_id)
            return [] if row is None else row.records_after(after, limit)

    # -- messages and evidence

    def list_messages(self, run_id: str, *, name: str | None = None) -> list[Message]:
        with self._open():
            return self._mail.of(run_id, name)

    def next_messages(
        self, run_id: str, names: Sequence[str], *, now_iso: str, limit: int
    ) -> list[Message]:
        with self._open():
            return self._mail.next(run_id, names, now=now_iso, limit=limit)

    def send(self, message: Message) -> bool:
        letter = self._mail.sealed(message)
        with self._open():
            if self._mail.knows(letter):
                return False
            row = self._rows.get(message.run_id)
            if row is not None and row.listed.status not in LIVE:
                raise ended(message.run_id, row.listed.status)
            self._writes += 1
            return self._mail.deliver(letter)

    def list_counters(self, owner: str) -> dict[str, Counter]:
        start = f"{owner}/"
        with self._open():
            return {
                key.removeprefix(start): counter
                for key, counter in sorted(self._counters.items())
                if key.startswith(start)
            }

    def keep_evidence(self, evidence: Evidence) -> None:
        text = encode(
            {
                "evidence_id": evidence.evidence_id,
                "run_id": evidence.run_id,
                "step_id": evidence.step_id,
                "digest": evidence.digest,
                "outcome": evidence.outcome,
                "kept_at": evidence.kept_at,
            }
        )
        with self._open():
            kept = self._evidence.setdefault(evidence.run_id, {})
            kept.setdefault(evidence.evidence_id, text)
            self._writes += 1

    def list_evidence(self, run_id: str) -> list[Evidence]:
        with self._open():
            return [Evidence(**decode(text)) for text in self._evidence.get(run_id, {}).values()]

    # -- many runs

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        wanted = (
            None if status is None else RunStatus(status).value,
            None if wait_reason is None else WaitReason(wait_reason).value,
        )
        with self._open():
            found = [
                row
                for row in self._rows.values()
                if wanted[0] in (None, row.listed.status)
                and wanted[1] in (None, row.listed.wait_reason)
                and workflow_id in (None, row.listed.workflow_id)
            ]
            found.sort(key=lambda row: row.listed.updated_at, reverse=True)
            return [self._loaded(row, row.revision).run for row in found[: max(limit, 0)]]

    def list_due(self, now_iso: str, *, limit: int = 100) -> list[str]:
        now = times.normal(now_iso, what="now_iso")
        with self._open():
            due = sorted((wake, run_id) for wake, run_id in self._wakes() if wake <= now)
        return [run_id for _, run_id in due[: max(limit, 0)]]

    def next_wake(self) -> str | None:
        with self._open():
            return min((wake for wake, _ in self._wakes()), default=None)

    def _wakes(self) -> Iterator[tuple[str, str]]:
        for run_id, row in self._rows.items():
            if row.listed.wake_at is not None and row.listed.status in LIVE:
                yield row.listed.wake_at, run_id

    def list_answered(self, *, now_iso: str | None = None, limit: int = 100) -> list[str]:
        with self._open():
            answered = [
                run_id
                for run_id in self._mail.run_ids()
                if (row := self._rows.get(run_id)) is not None
                and self._mail.has(run_id, row.listed.awaited, now=now_iso)
            ]
        return answered[: max(limit, 0)]

    def list_awaiting(self, name: str, *, limit: int = 100_000) -> list[str]:
        with self._open():
            found = [
                run_id
                for run_id, row in self._rows.items()
                if name in row.listed.awaited and row.listed.wait_reason == WaitReason.EVENT.value
            ]
        return found[: max(limit, 0)]

    def list_driven(self, *, limit: int = 1000) -> list[RunState]:
        with self._open():
            driven = [
                self._run(row, row.revision, {})
                for row in self._rows.values()
                if row.listed.driven and row.listed.status in LIVE
            ]
        return driven[: max(limit, 0)]

    def list_children(
        self, *, parent_run_id: str, status: RunStatus | None = None
    ) -> list[RunState]:
        wanted = None if status is None else RunStatus(status).value
        with self._open():
            found = [
                row
                for row in self._rows.values()
                if row.listed.parent_run_id == parent_run_id and wanted in (None, row.listed.status)
            ]
            found.sort(key=lambda row: row.listed.created_at)
            return [self._loaded(row, row.revision).run for row in found]

    # -- the store itself

    def changes(self) -> int:
        return self._writes

    def find_prefix(self, prefix: str, *, limit: int = 2) -> list[str]:
        with self._open():
            return [run_id for run_id in self._rows if run_id.startswith(prefix)][:limit]

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._rows.clear()


def _with_creations(commit: Commit) -> list[Commit]:
    """The commit and all it creates, creations of creations too."""
    commits = [commit]
    for one in commits:
        commits.extend(one.creates)
    return commits
