"""A `Store` out of any run store and ledger store that have the api's methods and no more.

Atomic by write order and redo (`paired_look` tells how). It excludes within one process only, over
our files between processes. It knows nothing of how either store keeps what it is given.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from abstractruntime.core.commit import Commit, Evidence, Loaded, Message
from abstractruntime.core.machine.edit import public_digest
from abstractruntime.core.machine.mail import heard_keys
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus, WaitReason, utc_now
from abstractruntime.errors import (
    RevisionConflict,
    StoreClosed,
    StoreCorrupt,
    UnknownRevision,
    UnknownRun,
    UnsupportedByStore,
)
from abstractruntime.storage.artifacts import FileArtifactStore
from abstractruntime.storage.base import Capability, LedgerStore, RunStore, Store, ended
from abstractruntime.storage.done import Done
from abstractruntime.storage.json_check import of_runs
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.leftovers import Leftover, of_artifacts, of_folder
from abstractruntime.storage.memory_mail import Mail
from abstractruntime.storage.paired_children import ChildEnds, refuse_messages
from abstractruntime.storage.paired_files import innermost
from abstractruntime.storage.paired_journal import (
    evidence_in,
    evidence_record,
    is_evidence,
    numbered,
    standing,
)
from abstractruntime.storage.paired_listing import Listing
from abstractruntime.storage.paired_look import Looks
from abstractruntime.storage.paired_mail import PairedMail, lines_of
from abstractruntime.storage.snapshots import JsonSnapshotStore

__all__ = ["PairedStore", "pair_of", "public_digest"]


class _RunLock:
    """A lock that lives as long as somebody holds or awaits it."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class PairedStore(Store):
    """Runs in `run_store`, records and evidence in `ledger_store`. Any thread may call.

    `hash_chain` is the format commits are sealed with; leave it None over a ledger that seals by
    itself. Snapshots and artifacts go to `folder`. A pair has no history; a
    mailbox only where both stores are ours. That a child has ended is read from the child.
    """

    def __init__(
        self,
        run_store: RunStore,
        ledger_store: LedgerStore,
        *,
        hash_chain: int | None = None,
        clock: Callable[[], str] = utc_now,
        url: str | None = None,
        folder: str | None = None,
    ) -> None:
        self._folder = folder
        self.hash_chain = hash_chain
        self.url = url or f"pair:{type(run_store).__name__}+{type(ledger_store).__name__}"
        self._looks = Looks(run_store, ledger_store, hash_chain=hash_chain, clock=clock)
        self._listing = Listing(run_store, self._looks.checkpoint_of)
        self._locks: WeakValueDictionary[str, _RunLock] = WeakValueDictionary()
        self._guard = threading.Lock()
        self._writes = 0
        self._closed = False
        self._files: JsonFileRunStore | None = None
        self._child_ends = ChildEnds(self)
        lines = lines_of(run_store, ledger_store)
        self._mail = None if lines is None else PairedMail(lines, ledger_store)
        promised = set() if lines is None else {Capability.MAILBOX}
        if not self._listing.missing:
            promised.add(Capability.QUERYABLE)
        if isinstance(run_store, JsonFileRunStore) and isinstance(
            innermost(ledger_store), JsonlLedgerStore
        ):
            promised.add(Capability.DURABLE)
            self._files = run_store
            if run_store.locks.between_processes:
                promised.add(Capability.EXCLUSIVE)
        self.capabilities = frozenset(promised)

    @property
    def run_store(self) -> RunStore:
        """The user's own: what a host saves there is noticed at the next load."""
        return self._looks.runs

    @property
    def ledger_store(self) -> LedgerStore:
        return self._looks.ledger

    @cached_property
    def snapshot_store(self) -> JsonSnapshotStore | None:
        return None if self._folder is None else JsonSnapshotStore(self._folder)

    @cached_property
    def artifact_store(self) -> FileArtifactStore | None:
        return None if self._folder is None else FileArtifactStore(self._folder)

    @contextmanager
    def _locked(self, run_ids: Iterable[str]) -> Iterator[None]:
        """While entered, no other thread moves these runs through this pair.

        Of files no other process does, nor anybody else who saves to the folder by our stores.
        """
        ids = sorted(set(run_ids))
        with ExitStack() as held:
            for run_id in ids:  # always in one order: no two wait for each other
                with self._guard:
                    lock = self._locks.get(run_id)
                    if lock is None:
                        lock = self._locks[run_id] = _RunLock()
                held.enter_context(lock)
            if self._files is not None:
                held.enter_context(self._files.locks.held(ids))
            self._refuse_closed()
            yield

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreClosed(f"The store {self.url} is closed")

    # -- one run

    def load(self, run_id: str) -> Loaded | None:
        with self._locked([run_id]):
            return self._looks.look(run_id)

    def edited(self, run_id: str, loaded: Loaded) -> bool:
        """Whether the host saved the run directly since its last commit, as `loaded` shows."""
        run, at = loaded.run, loaded.run.checkpoint
        assert run.run_id == run_id
        assert at is not None
        return at.digest not in (None, public_digest(run))

    def load_at(self, run_id: str, revision: int) -> Loaded:
        """The current revision; UnsupportedByStore for an older one: a pair keeps one state."""
        loaded = self.load(run_id)
        if loaded is None:
            raise UnknownRun(f"Unknown run_id: {run_id}", run_id=run_id)
        assert loaded.run.checkpoint is not None
        current = loaded.run.checkpoint.revision
        if revision == current:
            return loaded
        if not 1 <= revision <= current:
            raise UnknownRevision(
                f"Run '{run_id}' is at revision {current}: there is no {revision}",
                run_id=run_id,
                revision=revision,
            )
        raise UnsupportedByStore(
            f"{self.url} keeps the current state of a run only",
            fix="use sqlite:///… where past states are needed",
            capability=Capability.HISTORY.value,
        )

    def submit(self, commit: Commit) -> Done:
        """Written when this returns: the handle's result is there."""
        try:
            self._write(commit)
        except Exception as error:
            # A user's store may raise anything, and whoever submitted looks at the handle.
            return Done(error)
        return Done()

    def _write(self, commit: Commit) -> None:
        commits = [commit]
        for one in commits:
            commits.extend(one.creates)
        for one in commits:
            refuse_messages(self.url, one)
        with self._locked(one.run_id for one in commits):
            seen: set[str] = set()
            for one in commits:
                found = self._looks.revision(one.run_id)
                if found != one.expected or one.run_id in seen:
                    raise RevisionConflict(
                        f"Run '{one.run_id}' is at revision {found}, not {one.expected}",
                        run_id=one.run_id,
                        expected=one.expected,
                        found=found,
                    )
                seen.add(one.run_id)
            # Created runs first: a run that names a child which is not there could not go on.
            for one in reversed(commits):
                with nullcontext() if self._mail is None else self._mail.written(one):
                    self._looks.write(one)
            self._writes += 1

    def list_records(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> list[dict[str, Any]]:
        with self._locked([run_id]):
            records = self._looks.records(run_id)
            known = self._looks.known(run_id)
        stand = standing(records, self.hash_chain)
        found = numbered(stand, None if known is None else known.numbers)
        found = [record for record in found if (record.get("revision") or 1) > after]
        if self.hash_chain is not None:
            for record in found:
                record.pop("last", None)  # added to a sealed record: its hash does not cover it
        if limit is None:
            return found
        commits = set(sorted({record.get("revision") or 1 for record in found})[: max(limit, 0)])
        return [record for record in found if (record.get("revision") or 1) in commits]

    # -- messages and evidence

    def list_messages(self, run_id: str, *, name: str | None = None) -> list[Message]:
        """The end of the child that `name` (else the run's open wait) names, and what was sent."""
        found = self._child_ends.of(run_id, name)
        with self._mailbox(run_id) as mail:
            return found if mail is None else found + mail.of(run_id, name)

    def next_messages(
        self, run_id: str, names: Sequence[str], *, now_iso: str, limit: int
    ) -> list[Message]:
        """Of what was sent only: nobody asks so for the end of a child."""
        with self._mailbox(run_id) as mail:
            return [] if mail is None else mail.next(run_id, names, now=now_iso, limit=limit)

    def send(self, message: Message) -> bool:
        if self._mail is None:
            return super().send(message)
        letter = Mail.sealed(message)
        with self._locked([message.run_id]):
            loaded = self._looks.look(message.run_id)
            if self._mail.refresh(message.run_id).knows(letter):
                return False
            if loaded is not None and loaded.run.status in ENDED:
                raise ended(message.run_id, loaded.run.status.value)
            self._mail.deliver(letter)
            self._writes += 1
            return True

    @contextmanager
    def _mailbox(self, run_id: str) -> Iterator[Mail | None]:
        """While entered, the run's mailbox is as it is now; None: there is nothing unread."""
        if self._mail is None:
            yield None
            return
        with self._locked([run_id]):
            if not self._mail.unread(run_id):
                yield None
                return
            if self._mail.stale(run_id):
                self._looks.look(run_id)  # what a crash left half-way may have used a message
            yield self._mail.refresh(run_id)

    def keep_evidence(self, evidence: Evidence) -> None:
        """Keep it as a ledger record of kind "evidence" that belongs to no commit."""
        with self._locked([evidence.run_id]):
            kept = self._looks.ledger.list(evidence.run_id)
            ids = {r["result"]["evidence_id"] for r in kept if is_evidence(r)}
            if evidence.evidence_id not in ids:
                loaded = self._looks.look(evidence.run_id)
                self._looks.append_evidence(evidence_record(evidence, _revision_of(loaded)))
                self._writes += 1

    def list_evidence(self, run_id: str) -> list[Evidence]:
        with self._locked([run_id]):
            records = self._looks.records(run_id)
        return [evidence_in(record) for record in records if is_evidence(record)]

    # -- many runs

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        self._refuse_closed()
        return self._listing.runs(
            status=status, wait_reason=wait_reason, workflow_id=workflow_id, limit=limit
        )

    def list_due(self, now_iso: str, *, limit: int = 100) -> list[str]:
        self._refuse_closed()
        return self._listing.due(now_iso, limit)

    def next_wake(self) -> str | None:
        self._refuse_closed()
        return self._listing.next_wake()

    def list_answered(self, *, now_iso: str | None = None, limit: int = 100) -> list[str]:
        self._refuse_closed()
        found: list[str] = []
        for run_id in self._listing.waiting_for_children():
            if len(found) >= limit:
                break
            if self._child_ends.of(run_id, None):
                found.append(run_id)
        for run_id in [] if self._mail is None else self._mail.run_ids():
            if len(found) >= limit:
                break
            with suppress(StoreCorrupt):  # one run that is damaged keeps no other waiting
                if self._is_answered(run_id, now_iso):
                    found.append(run_id)
        return found

    def _is_answered(self, run_id: str, now: str | None) -> bool:
        with self._mailbox(run_id) as mail:
            loaded = None if mail is None else self._looks.look(run_id)
            if mail is None or loaded is None:
                return False
            return mail.has(run_id, heard_keys(loaded.run), now=now)

    def list_driven(self, *, limit: int = 1000) -> list[RunState]:
        self._refuse_closed()
        return self._listing.driven(limit)

    def list_children(
        self, *, parent_run_id: str, status: RunStatus | None = None
    ) -> list[RunState]:
        self._refuse_closed()
        return self._listing.children(parent_run_id, status)

    # -- the store itself

    def changes(self) -> int:
        return self._writes if self._files is None else hash((self._writes, self._files.changes()))

    def leftovers(self, *, now_s: float) -> list[Leftover]:
        found = [] if self._files is None else list(of_runs(self._files))
        if self._folder is not None:
            base = Path(self._folder)
            found += of_folder(base, now_s=now_s)
            found += of_artifacts(base / "artifacts", now_s=now_s)
        return found

    def close(self) -> None:
        """Take no more calls; the two stores belong to whoever made them."""
        self._closed = True


def _revision_of(loaded: Loaded | None) -> int:
    if loaded is None:
        return 0
    assert loaded.run.checkpoint is not None
    return loaded.run.checkpoint.revision


# Two Runtimes over the same two objects share one pair and so its locks. An entry lives as long as
# its pair, which holds both stores: their ids cannot be taken over by others meanwhile.
_pairs: WeakValueDictionary[tuple[int, int], PairedStore] = WeakValueDictionary()
_pairs_guard = threading.Lock()


def pair_of(run_store: RunStore, ledger_store: LedgerStore) -> Store:
    """The store behind two views of it, else a pair of the two: the same one for the same two."""
    store: object = getattr(run_store, "store", None)
    shared = getattr(innermost(ledger_store), "store", None) is store
    if shared and isinstance(store, Store):
        return store
    key = (id(run_store), id(ledger_store))
    with _pairs_guard:
        pair = _pairs.get(key)
        if pair is None:
            pair = _pairs[key] = PairedStore(run_store, ledger_store)
        return pair
