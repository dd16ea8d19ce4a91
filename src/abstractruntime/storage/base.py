"""Where runs live: the contracts. `Store` is the atomic one everything in the engine is built on;
RunStore, LedgerStore and QueryableRunStore are the api's, which programs implement and call.

Whoever implements `Store` proves it with `abstractruntime.testing.StoreContract`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from abstractruntime.core.commit import Commit, Counter, Evidence, Loaded, Message
from abstractruntime.core.machine.mail import expired, heard_keys
from abstractruntime.core.models import RunState, RunStatus, StepRecord, WaitReason
from abstractruntime.errors import RunEnded, UnsupportedByStore

if TYPE_CHECKING:
    from abstractruntime.storage.artifacts import ArtifactStore
    from abstractruntime.storage.leftovers import Leftover
    from abstractruntime.storage.snapshots import SnapshotStore


class RunStore(ABC):
    """Runs by id, one state each: the api's contract for programs' own stores."""

    @abstractmethod
    def save(self, run: RunState) -> None:
        """Store `run` whole; our stores refuse a stale object with RevisionConflict."""

    @abstractmethod
    def load(self, run_id: str) -> RunState | None:
        """The run as last saved, sharing nothing with the store; None when unknown."""


class LedgerStore(ABC):
    """Append-only records by run: the api's contract for programs' own stores.

    One that gives back each field it was given, later ones than the api's too, may say so by
    `keeps_every_field`: a hash chain over it then covers them all.
    """

    keeps_every_field: bool = False

    @abstractmethod
    def append(self, record: StepRecord) -> None:
        """Add one record at the end of its run's ledger."""

    @abstractmethod
    def list(self, run_id: str) -> list[dict[str, Any]]:
        """All records of a run in order; empty when unknown."""


@runtime_checkable
class QueryableRunStore(Protocol):
    """A run store a scheduler can work with."""

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        """Runs that match all given, newest updated_at first."""

    def list_due_wait_until(self, *, now_iso: str, limit: int = 100) -> list[RunState]:
        """Waiting runs whose `until` is at or before `now_iso`, earliest first."""

    def list_children(
        self, *, parent_run_id: str, status: RunStatus | None = None
    ) -> list[RunState]:
        """Runs started by `parent_run_id`, oldest first."""


class Capability(str, Enum):
    """What a store can promise; `doctor` shows them and contract tests are chosen by them."""

    ATOMIC = "atomic"
    """A commit is written whole or not at all, over a crash too."""
    DURABLE = "durable"
    """What is acknowledged survives the process."""
    EXCLUSIVE = "exclusive"
    """The revision check holds between processes."""
    HISTORY = "history"
    """`load_at` rebuilds every past revision."""
    QUERYABLE = "queryable"
    """Runs can be listed: list_runs, list_due, list_children."""
    SHARED_CLOCK = "shared_clock"
    """The store has a clock of its own that all its users share."""
    TRANSACTIONAL = "transactional"
    """A handler's own rows can be committed with its step."""
    MAILBOX = "mailbox"
    """Anybody may send messages to its runs, and each is consumed by one commit."""
    COUNTERS = "counters"
    """Commits change counters that runs share, and are refused past their bounds: budgets."""
    QUICK_READS = "quick_reads"
    """A read never waits for a write and may run on an event loop."""


class Transaction(Protocol):
    """The open transaction that a transactional step's handler writes its own rows in."""

    @property
    def late(self) -> bool:
        """Whether its time is over: nothing of it will be committed."""

    def execute(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        """Run one statement of the store's SQL; its rows. Not BEGIN, COMMIT or the like."""


@dataclass(frozen=True, slots=True)
class RowCheck:
    """What the stored rows of a run say against themselves, and how many have no checksum.

    Those are of a version from before there were checksums: `faults` says nothing of them.
    """

    faults: tuple[str, ...] = ()
    without_sum: int = 0


class Handle(Protocol):
    """The pending result of a submitted commit."""

    def result(self) -> None:
        """Wait for the commit; return when durable, raise what refused it."""

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the result is there, from any thread; at once if it is."""


def ended(run_id: str, status: str) -> RunEnded:
    """What to say to the sender of a message to a run that has ended."""
    return RunEnded(f"Run '{run_id}' has ended: {status}", run_id=run_id, status=status)


class Store(ABC):
    """The atomic contract. All methods may be called from any thread and block.

    Ids are checked by callers in the engine and again where they would touch a path.
    """

    capabilities: frozenset[Capability]
    url: str
    hash_chain: int | None
    """The chain format that commits to this store are sealed with; None: no chain."""

    @property
    @abstractmethod
    def run_store(self) -> RunStore:
        """This store as the api's RunStore (QueryableRunStore too where it is QUERYABLE)."""

    @property
    @abstractmethod
    def ledger_store(self) -> LedgerStore:
        """This store as the api's LedgerStore."""

    @property
    def snapshot_store(self) -> SnapshotStore | None:
        """Where named checkpoints of this store's runs go; None: it has no such place."""
        return None

    @property
    def artifact_store(self) -> ArtifactStore | None:
        """Where bulk data of this store's runs goes; None: it has no such place."""
        return None

    # -- one run

    @abstractmethod
    def load(self, run_id: str) -> Loaded | None:
        """The run as last committed, its checkpoint complete; None when unknown.

        checkpoint.evidence is the number of pieces of evidence kept for the run.
        """

    @abstractmethod
    def load_at(self, run_id: str, revision: int) -> Loaded:
        """The run as of `revision`; UnknownRun, UnknownRevision; UnsupportedByStore w/o HISTORY."""

    @abstractmethod
    def submit(self, commit: Commit) -> Handle:
        """Begin to write `commit` and return at once; it is written whole or not at all.

        Refusals, given by the handle: RevisionConflict (the run is not at `expected`, or `creates`
        exists), CounterRefused, StoreBusy, StoreFull, StoreReadOnly, StoreUnavailable. Other runs'
        commits may share its transaction; each has its own result.
        """

    def commit(self, commit: Commit) -> None:
        """Write `commit`; durable on return. Raises what `submit` lists."""
        self.submit(commit).result()

    def transact(self, work: Callable[[Transaction], Commit | None], *, seconds: float) -> None:
        """Call `work` in a transaction of its own and write the commit it returns there; durable
        on return. None, or an exception: all is undone. (Capability TRANSACTIONAL.)

        Nobody else writes meanwhile; other calls of `work`'s thread to this store are refused, and
        so is what `work` does when its `seconds` are over: TimeoutError.
        """
        raise UnsupportedByStore(f"{self.url} has no transactions that handlers can write in")

    @abstractmethod
    def list_records(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Records of commits above revision `after`, whole, in order; each names its `revision`.

        `limit` bounds the number of *commits* read; None reads all. Empty when unknown.
        """

    def find_step(self, run_id: str, key: str) -> list[dict[str, Any]]:
        """The records of the last step whose policy-made idempotency key is `key`; may be empty."""
        found: list[dict[str, Any]] = []
        for record in self.list_records(run_id):
            if record.get("idempotency_key") == key:
                if found and found[0]["step_id"] != record["step_id"]:
                    found = []
                found.append(record)
        return found

    # -- messages and evidence

    @abstractmethod
    def list_messages(self, run_id: str, *, name: str | None = None) -> list[Message]:
        """Messages to the run that no commit has consumed, oldest first, expired ones too."""

    def next_messages(
        self, run_id: str, names: Sequence[str], *, now_iso: str, limit: int
    ) -> list[Message]:
        """The oldest of those under one of these names that have not expired by `now_iso`."""
        found = [
            message
            for message in self.list_messages(run_id)
            if message.name in names and not expired(message, now_iso)
        ]
        return found[: max(limit, 0)]

    def send(self, message: Message) -> bool:
        """Put it at the end of its run's mailbox; durable on return, at either level.

        The run's revision does not change, and the run may come later. False, and nothing is
        written, when the run was sent its dedupe key before, consumed or not, or has its id there.
        RunEnded; UnsupportedByStore without MAILBOX.
        """
        raise UnsupportedByStore(
            f"{self.url} has no mailbox for '{message.name}'",
            fix="use memory://, files:///… or sqlite:///… where runs get messages",
            run_id=message.run_id,
            capability=Capability.MAILBOX.value,
        )

    def send_all(self, messages: Sequence[Message]) -> int:
        """Send each; how many are new. Those to runs that have ended are left out."""
        new = 0
        for message in messages:
            with suppress(RunEnded):
                new += self.send(message)
        return new

    def list_counters(self, owner: str) -> dict[str, Counter]:
        """The counters whose key is `owner`/name, by name. (Capability COUNTERS.)"""
        raise UnsupportedByStore(
            f"{self.url} has no counters for budgets",
            fix="use memory:// or sqlite:///… where runs have budgets",
            capability=Capability.COUNTERS.value,
        )

    @abstractmethod
    def keep_evidence(self, evidence: Evidence) -> None:
        """Keep it durably; the run's revision does not change. The same id twice is kept once."""

    @abstractmethod
    def list_evidence(self, run_id: str) -> list[Evidence]:
        """What was kept for the run, oldest first."""

    # -- many runs (capability QUERYABLE, else UnsupportedByStore)

    @abstractmethod
    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        """Runs that match all given, newest updated_at first."""

    @abstractmethod
    def list_due(self, now_iso: str, *, limit: int = 100) -> list[str]:
        """Ids of live runs whose wake time is at or before `now_iso`, earliest first."""

    @abstractmethod
    def next_wake(self) -> str | None:
        """The earliest wake time of any live run; None when no clock moves any."""

    @abstractmethod
    def list_answered(self, *, now_iso: str | None = None, limit: int = 100) -> list[str]:
        """Ids of waiting runs that have a message for their open wait.

        Only event waits take messages, and waits for a child its end. With `now_iso`, what has
        expired by then does not count.
        """

    def list_awaiting(self, name: str, *, limit: int = 100_000) -> list[str]:
        """Ids of runs whose open event wait takes messages of that name."""
        waiting = self.list_runs(
            status=RunStatus.WAITING, wait_reason=WaitReason.EVENT, limit=1_000_000
        )
        return [run.run_id for run in waiting if name in heard_keys(run)][: max(limit, 0)]

    @abstractmethod
    def list_driven(self, *, limit: int = 1000) -> list[RunState]:
        """Live runs whose checkpoint names a driver, vars left empty, for recovery to look at."""

    @abstractmethod
    def list_children(
        self, *, parent_run_id: str, status: RunStatus | None = None
    ) -> list[RunState]:
        """Runs started by `parent_run_id`, oldest first."""

    # -- the store itself

    def changes(self) -> int:
        """A number that changes when anybody, other processes too, may have written."""
        return 0

    def find_prefix(self, prefix: str, *, limit: int = 2) -> Sequence[str]:
        """Run ids that begin with `prefix`, for people who type them."""
        runs = self.list_runs(limit=100_000)
        return [run.run_id for run in runs if run.run_id.startswith(prefix)][:limit]

    def facts(self) -> dict[str, Any]:
        """What is in force (durability, pragmas read back, versions), for `doctor`."""
        return {"url": self.url, "capabilities": sorted(c.value for c in self.capabilities)}

    def check(self) -> list[str]:
        """What the medium itself finds wrong with what it holds, for `doctor`; empty: nothing."""
        return []

    def check_rows(self, run_id: str) -> RowCheck:
        """Compare all that is stored of a run with its checksums, for `verify`."""
        return RowCheck()

    def leftovers(self, *, now_s: float) -> list[Leftover]:
        """What lies in its folder and belongs to nothing, as of `now_s` (seconds of the epoch)."""
        return []

    @abstractmethod
    def close(self) -> None:
        """Finish what was submitted and let go of the medium; later calls raise StoreClosed."""

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
