"""Crashes on purpose: a store whose caller dies at a chosen call, and whatever shares its fate.

A `Crash` is a BaseException, for a death is nobody's to handle. A process that died makes no more
calls: once its `Fuse` has burnt, every further call that it guards raises `Crash` again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from functools import wraps
from typing import Any, TypeVar

from abstractruntime.core.commit import Commit, Counter, Evidence, Loaded, Message
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.errors import RuntimeFault
from abstractruntime.storage.base import Capability, Handle, RowCheck, Store, Transaction
from abstractruntime.storage.views import StoreRecords, StoreRuns

T = TypeVar("T")


class Crash(BaseException):
    """The process dies here. Catch it where a new process would begin, and nowhere else."""


class When(str, Enum):
    """On which side of a call the process dies."""

    BEFORE = "before"
    """The call is not made."""
    AFTER = "after"
    """The call has done all of its work, and the caller never hears of it."""


class Fuse:
    """Counts the calls it guards and burns at one of them.

    `at` counts from 1, among the calls named `verb` when that is given; None never burns. `calls`
    lists the names of the calls that began, so a run without a crash tells where crashes can be.
    """

    def __init__(
        self, at: int | None = None, when: When = When.BEFORE, *, verb: str | None = None
    ) -> None:
        self.at = at
        self.when = When(when)
        self.verb = verb
        self.calls: list[str] = []
        self._counted = 0
        self._burnt: str | None = None
        self._lock = threading.Lock()

    @property
    def burnt(self) -> str | None:
        """Where it burnt, in words; None while it has not."""
        return self._burnt

    def begin(self, name: str) -> bool:
        """A call begins; whether the crash comes when it has done its work. Raises Crash."""
        with self._lock:
            self._refuse()
            self.calls.append(name)
            if self.verb not in (None, name):
                return False
            self._counted += 1
            if self._counted != self.at:
                return False
            if self.when is When.BEFORE:
                self._burn(name)
            return True

    def end(self, name: str, hit: bool) -> None:
        """The call has done its work. Raises Crash when it is the one, or the process is dead."""
        with self._lock:
            self._refuse()
            if hit:
                self._burn(name)

    def guard(self, name: str, call: Callable[[], T]) -> T:
        """Make the call, unless the process dies before it or is dead; its value."""
        hit = self.begin(name)
        value = call()
        self.end(name, hit)
        return value

    def wire(self, target: object, *verbs: str) -> Callable[[], None]:
        """Guard these methods of one object, whatever its class; call the answer to undo it."""
        for verb in verbs:
            setattr(target, verb, self._wired(verb, getattr(target, verb)))

        def unwire() -> None:
            for verb in verbs:
                vars(target).pop(verb, None)

        return unwire

    def _wired(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def guarded(*arguments: Any, **named: Any) -> Any:
            return self.guard(name, lambda: method(*arguments, **named))

        return guarded

    def _refuse(self) -> None:
        if self._burnt is not None:
            raise Crash(f"dead since {self._burnt}")

    def _burn(self, name: str) -> None:
        self._burnt = f"{self.when.value} {name}, call {len(self.calls)}"
        raise Crash(self._burnt)


class CrashingStore(Store):
    """Any store as one process sees it until it dies: each verb is guarded by `fuse`.

    After a crash make another one over the same `inner`, with a new fuse: the next process.
    `changes`, `facts` and `close` are not guarded. A crash after a commit waits until it is
    written; other commits are handed to `inner` as they come. In `transact` a process can also die
    around "work": before the handler's rows, and after them but before their commit.
    """

    def __init__(self, inner: Store, fuse: Fuse | None = None) -> None:
        self.inner = inner
        self.fuse = fuse or Fuse()
        self.capabilities: frozenset[Capability] = inner.capabilities
        self.url = inner.url
        self.hash_chain = inner.hash_chain

    def __getattr__(self, name: str) -> Any:
        # What a store has beyond the contract (artifacts, snapshots) is no part of the crash.
        return getattr(self.inner, name)

    @property
    def run_store(self) -> StoreRuns:
        return StoreRuns(self)

    @property
    def ledger_store(self) -> StoreRecords:
        return StoreRecords(self)

    # -- one run

    def load(self, run_id: str) -> Loaded | None:
        return self.fuse.guard("load", lambda: self.inner.load(run_id))

    def load_at(self, run_id: str, revision: int) -> Loaded:
        return self.fuse.guard("load_at", lambda: self.inner.load_at(run_id, revision))

    def submit(self, commit: Commit) -> Handle:
        hit = self.fuse.begin("commit")
        handle = self.inner.submit(commit)
        if hit:
            with suppress(RuntimeFault):  # refused: the dying process hears neither
                handle.result()
        self.fuse.end("commit", hit)
        return handle

    def transact(self, work: Callable[[Transaction], Commit | None], *, seconds: float) -> None:
        def dying(transaction: Transaction) -> Commit | None:
            return self.fuse.guard("work", lambda: work(transaction))

        self.fuse.guard("transact", lambda: self.inner.transact(dying, seconds=seconds))

    def list_records(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> list[dict[str, Any]]:
        return self.fuse.guard(
            "list_records", lambda: self.inner.list_records(run_id, after=after, limit=limit)
        )

    def find_step(self, run_id: str, key: str) -> list[dict[str, Any]]:
        return self.fuse.guard("find_step", lambda: self.inner.find_step(run_id, key))

    def check_rows(self, run_id: str) -> RowCheck:
        return self.inner.check_rows(run_id)

    # -- messages and evidence

    def list_counters(self, owner: str) -> dict[str, Counter]:
        return self.fuse.guard("list_counters", lambda: self.inner.list_counters(owner))

    def list_messages(self, run_id: str, *, name: str | None = None) -> list[Message]:
        return self.fuse.guard("list_messages", lambda: self.inner.list_messages(run_id, name=name))

    def next_messages(
        self, run_id: str, names: Sequence[str], *, now_iso: str, limit: int
    ) -> list[Message]:
        return self.fuse.guard(
            "next_messages",
            lambda: self.inner.next_messages(run_id, names, now_iso=now_iso, limit=limit),
        )

    def send(self, message: Message) -> bool:
        return self.fuse.guard("send", lambda: self.inner.send(message))

    def keep_evidence(self, evidence: Evidence) -> None:
        self.fuse.guard("keep_evidence", lambda: self.inner.keep_evidence(evidence))

    def list_evidence(self, run_id: str) -> list[Evidence]:
        return self.fuse.guard("list_evidence", lambda: self.inner.list_evidence(run_id))

    # -- many runs

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        return self.fuse.guard(
            "list_runs",
            lambda: self.inner.list_runs(
                status=status, wait_reason=wait_reason, workflow_id=workflow_id, limit=limit
            ),
        )

    def list_due(self, now_iso: str, *, limit: int = 100) -> list[str]:
        return self.fuse.guard("list_due", lambda: self.inner.list_due(now_iso, limit=limit))

    def next_wake(self) -> str | None:
        return self.fuse.guard("next_wake", self.inner.next_wake)

    def list_answered(self, *, now_iso: str | None = None, limit: int = 100) -> list[str]:
        return self.fuse.guard(
            "list_answered", lambda: self.inner.list_answered(now_iso=now_iso, limit=limit)
        )

    def list_awaiting(self, name: str, *, limit: int = 100_000) -> list[str]:
        return self.fuse.guard("list_awaiting", lambda: self.inner.list_awaiting(name, limit=limit))

    def list_driven(self, *, limit: int = 1000) -> list[RunState]:
        return self.fuse.guard("list_driven", lambda: self.inner.list_driven(limit=limit))

    def list_children(
        self, *, parent_run_id: str, status: RunStatus | None = None
    ) -> list[RunState]:
        return self.fuse.guard(
            "list_children",
            lambda: self.inner.list_children(parent_run_id=parent_run_id, status=status),
        )

    # -- the store itself

    def changes(self) -> int:
        return self.inner.changes()

    def facts(self) -> dict[str, Any]:
        return self.inner.facts()

    def close(self) -> None:
        self.inner.close()
