"""Group commit: whoever finds no leader becomes it and writes all that is queued at once.

It owns the queue, who leads, and who is told what; it knows nothing of what is written.
One lock guards all of it and is never held while writing. Leadership is one attribute, compared by
identity, so that an interrupt between any two instructions leaves a leader that will step down in
a `finally`, or none.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, Protocol

from abstractruntime.errors import RuntimeFault, StoreBusy, StoreUnavailable
from abstractruntime.storage.relational.database import copied
from abstractruntime.storage.relational.works import Work

MOST_MEMBERS: Final = 256
"""Works that may share one transaction."""
_GRACE: Final = 5.0
"""Seconds beyond the store's own patience before a waiter gives up."""
_LOOK: Final = 1.0
"""Seconds after which a waiter looks whether it is its turn."""
_IDLE: Final = 2.0
"""Seconds after which the writer thread goes away; the next `submit` starts another."""

_QUEUED, _TAKEN, _SETTLED, _DONE = range(4)
# Who leads when it is no member: the writer thread, or one who wants quiet.
_THREAD: Final = object()
_QUIET: Final = object()


class Pending:
    """The handle of one queued work. `settle` is the writer's, the rest its owner's."""

    __slots__ = ("_group", "callbacks", "error", "gate", "stage", "work")

    def __init__(self, group: Group, work: Work) -> None:
        self._group = group
        self.work = work
        self.stage = _QUEUED
        self.error: Exception | None = None
        # A lock, held while its owner sleeps; made only for one that has to.
        self.gate: Any = None
        self.callbacks: list[Callable[[], None]] | None = None

    def settle(self, error: Exception | None = None) -> None:
        """Its result is known; told to its owner when the batch is through."""
        self.error = error
        self.stage = _SETTLED

    @property
    def settled(self) -> bool:
        return self.stage >= _SETTLED

    def result(self) -> None:
        """Wait for the result; return when durable, raise what refused it."""
        if self.stage != _DONE:
            self._group.wait(self)
        if self.error is not None:
            raise self.error

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the result is there, from any thread; at once if it is."""
        with self._group.lock:
            if self.stage != _DONE:
                if self.callbacks is None:
                    self.callbacks = []
                self.callbacks.append(callback)
                return
        callback()


class Writer(Protocol):
    """Who writes a batch for the leader."""

    def write(self, batch: list[Pending]) -> int:
        """Settle the first members of the batch, as many as fit one transaction; how many."""

    def recover(self, members: list[Pending]) -> None:
        """After `write` was cut short: undo the transaction, or settle those that are committed."""


class Group:
    """The queue of one store, and its leader."""

    def __init__(self, writer: Writer, *, patience: float) -> None:
        self.lock = threading.Lock()
        self._writer = writer
        self._patience = patience + _GRACE
        self._queue: deque[Pending] = deque()
        self._leader: object | None = None
        self._thread: threading.Thread | None = None
        self._thread_wanted = threading.Condition(self.lock)
        # Who waits for a moment without a leader; nobody new leads before.
        self._quiet_wanted = 0
        self._leaderless = threading.Condition(self.lock)
        self._closed: RuntimeFault | None = None

    # -- for callers

    def run(self, work: Work) -> None:
        """Write `work`; durable on return."""
        me = Pending(self, work)
        try:
            with self.lock:
                if self._closed is not None:
                    raise copied(self._closed)
                if self._leader is None:
                    self._leader = me
                else:
                    self._make_gate(me)
                    self._queue.append(me)
            if self._leader is me and me.gate is None:
                self._lead(me, [me])
            else:
                self.wait(me)
        finally:
            self._leave(me)
        if me.error is not None:
            raise me.error

    def submit(self, work: Work) -> Pending:
        """Queue `work` for whoever leads next, at the latest the writer thread."""
        me = Pending(self, work)
        with self.lock:
            if self._closed is not None:
                raise copied(self._closed)
            self._queue.append(me)
            if self._leader is None or self._thread_is_missing():
                self._hand_over()
            forsaken = self._leader is None
            if forsaken:
                # No thread can be started, as when the interpreter ends.
                self._leader = me
        if forsaken:
            self._lead(me, [])
        return me

    def wait(self, me: Pending) -> None:
        """Sleep until `me` is done, leading when it is its turn. StoreBusy after the patience."""
        try:
            with self.lock:
                if me.stage == _DONE:
                    return
                if me.gate is None:
                    self._make_gate(me)
            deadline = monotonic() + self._patience
            while me.stage != _DONE:
                left = deadline - monotonic()
                # Whoever wakes it can be interrupted before he does: it looks by itself, too.
                woken = me.gate.acquire(timeout=min(max(left, 0), _LOOK))
                if self._leader is me:
                    self._lead(me, [])
                elif woken and me.stage == _DONE:
                    me.gate.release()  # another thread may wait on the same handle
                elif not woken and left <= _LOOK:
                    self._give_up(me)
                elif self._thread_is_missing():
                    with self.lock:
                        self._hand_over()
        finally:
            self._leave(me)

    # -- for the store

    def quiet(self, *, timeout: float) -> bool:
        """Let the leader finish, then nobody lead until `resume`; False when it took too long."""
        with self.lock:
            if self._leader is None:
                self._leader = _QUIET
                return True
            self._quiet_wanted += 1
            try:
                return self._leaderless.wait_for(lambda: self._leader is _QUIET, timeout)
            finally:
                self._quiet_wanted -= 1

    def resume(self) -> None:
        """End a `quiet`."""
        with self.lock:
            if self._leader is _QUIET:
                self._hand_over()

    def close(self, why: RuntimeFault, *, timeout: float) -> None:
        """Refuse what comes from now on, and wait until what is queued is written."""
        with self.lock:
            self._closed = why
            self._leaderless.wait_for(lambda: self._leader is None and not self._queue, timeout)

    # -- leading

    def _lead(self, me: Pending, batch: list[Pending]) -> None:
        """Write one batch, `me` in it, and hand over."""
        with self.lock:
            if me.stage != _QUEUED:
                return  # another thread that waits on the same handle leads already
            self._take(batch)
        try:
            self._write(batch, me)
        finally:
            with self.lock:
                self._hand_over()

    def _take(self, batch: list[Pending]) -> None:
        queue = self._queue
        while queue and len(batch) < MOST_MEMBERS:
            batch.append(queue.popleft())
        for member in batch:
            member.stage = _TAKEN

    def _write(self, batch: list[Pending], me: Pending | None) -> None:
        rest: list[Pending] = []
        try:
            count = self._writer.write(batch)
            if count < len(batch):
                rest = batch[count:]
                del batch[count:]
        finally:
            # Some are not settled only if the writer was cut short by what is no Exception.
            lost = [member for member in batch if member.stage == _TAKEN]
            try:
                if lost:
                    rest = self._recover(lost, me) + rest
            finally:
                self._publish(batch, rest)

    def _recover(self, lost: list[Pending], me: Pending | None) -> list[Pending]:
        """Settle what is committed; the others, but for the leader itself, are to be written."""
        recovered = False
        try:
            self._writer.recover(lost)
            recovered = True
        finally:
            if not recovered:
                for member in lost:
                    if not member.settled:
                        member.settle(_unknown())
        return [member for member in lost if not member.settled and member is not me]

    def _publish(self, batch: list[Pending], rest: list[Pending]) -> None:
        callbacks: list[Callable[[], None]] = []
        with self.lock:
            for member in batch:
                if member.stage == _SETTLED:
                    member.stage = _DONE
                    if member.gate is not None and member.gate.locked():
                        member.gate.release()
                    if member.callbacks is not None:
                        callbacks += member.callbacks
            for member in reversed(rest):
                member.stage = _QUEUED
                self._queue.appendleft(member)
        for callback in callbacks:
            _call(callback)

    def _hand_over(self) -> None:
        """Choose the next leader; the lock is held."""
        queue = self._queue
        if self._quiet_wanted:
            self._leader = _QUIET
            self._leaderless.notify_all()
        elif not queue:
            self._leader = None
            if self._closed is not None:
                self._leaderless.notify_all()
        elif queue[0].gate is not None:
            self._leader = first = queue[0]
            if first.gate.locked():
                first.gate.release()
        else:
            self._leader = _THREAD
            self._wake_thread()

    # -- the writer thread

    def _wake_thread(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._thread_wanted.notify_all()
            return
        thread = threading.Thread(target=self._serve, name="abstractruntime-writer", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:
            self._thread = None
            self._leader = None  # whoever comes next leads

    def _thread_is_missing(self) -> bool:
        """Whether the thread should lead, but an interrupt kept it from being started."""
        if self._leader is not _THREAD:
            return False
        return self._thread is None or not self._thread.is_alive()

    def _serve(self) -> None:
        """Lead for those that do not wait; go away when nobody needs it for a while."""
        me = threading.current_thread()
        try:
            while True:
                batch: list[Pending] = []
                with self.lock:
                    if not self._wait_for_work(me):
                        return
                    if self._quiet_wanted:
                        self._hand_over()
                        continue
                    self._take(batch)
                    if not batch:
                        self._hand_over()
                if batch:
                    self._write(batch, None)
        finally:
            with self.lock:
                if self._thread is me:
                    self._thread = None
                    if self._leader is _THREAD:
                        self._hand_over()

    def _wait_for_work(self, me: threading.Thread) -> bool:
        while self._thread is me and self._leader is not _THREAD:
            if not self._thread_wanted.wait(_IDLE) and self._leader is not _THREAD:
                return False
        return self._thread is me

    # -- waiting

    def _make_gate(self, me: Pending) -> None:
        gate = threading.Lock()
        gate.acquire()
        me.gate = gate

    def _give_up(self, me: Pending) -> None:
        with self.lock:
            if me.stage == _QUEUED and self._leader is not me:
                self._queue.remove(me)
                me.settle(
                    StoreBusy(
                        f"The store did not come to this write in {self._patience:g} s; nothing "
                        "of it was written"
                    )
                )
                me.stage = _DONE
        if me.stage == _TAKEN and not me.gate.acquire(timeout=self._patience):
            raise _unknown()

    def _leave(self, me: Pending) -> None:
        """Its owner goes on or unwinds: it does not lead, and is not written if nobody took it."""
        if me.stage == _DONE and self._leader is not me:
            return
        with self.lock:
            if me.stage == _QUEUED and me in self._queue:
                self._queue.remove(me)
            if self._leader is me:
                self._hand_over()


def _call(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:
        # It is one owner's code: the others must hear of their results all the same.
        sys.excepthook(*sys.exc_info())


def _unknown() -> RuntimeFault:
    return StoreUnavailable(
        "The write was cut short, whether it was committed is not known",
        fix="load the run: its revision says whether the commit is there",
    )
