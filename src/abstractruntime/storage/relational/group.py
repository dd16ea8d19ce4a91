"""Group commit: whoever finds no leader becomes it and writes all that is queued at once.

It owns the queue, who leads, and who is told what; it knows nothing of what is written.
One lock guards all of it and is never held while writing. An interrupt may come between any two
instructions. So leadership is one attribute, compared by identity: whoever has it steps down in a
`finally`. A member stays in the queue until its owner was told; whoever hands over finds there what
a predecessor took and did not finish.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from time import monotonic
from typing import Any, Final, Protocol

from abstractruntime.errors import RuntimeFault, StoreBusy, StoreUnavailable
from abstractruntime.storage.relational.database import copied
from abstractruntime.storage.relational.works import Work

MOST_MEMBERS: Final = 256
"""Works that may share one transaction."""
_GRACE: Final = 5.0  # seconds beyond the store's own patience before a waiter gives up
_LOOK: Final = 1.0  # seconds after which a waiter looks whether it is its turn
_IDLE: Final = 2.0  # seconds after which the writer thread goes; the next `submit` starts another

_QUEUED, _TAKEN, _SETTLED, _DONE = range(4)
# Who leads when it is no member: the writer thread, or one who wants quiet.
_THREAD: Final = object()
_QUIET: Final = object()


class Pending:
    """The handle of one queued work. `settle` is the writer's, the rest its owner's."""

    __slots__ = ("_group", "callbacks", "error", "gate", "leads", "stage", "work")

    def __init__(self, group: Group, work: Work) -> None:
        self._group = group
        self.work = work
        self.stage = _QUEUED
        self.leads = False
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

    def write(self, batch: list[Pending]) -> None:
        """Settle the first members of the batch, as many as fit one transaction."""

    def recover(self, members: list[Pending]) -> None:
        """After `write` was cut short: undo the transaction, or settle those that are committed."""


class Group:
    """The queue of one store, and its leader."""

    def __init__(self, writer: Writer, *, patience: float) -> None:
        self.lock = threading.Lock()
        self._writer = writer
        self._patience = patience + _GRACE
        self._queue: deque[Pending] = deque()
        self._callbacks: deque[Callable[[], None]] = deque()
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
                self._queue.append(me)
                if self._leader is None:
                    self._leader = me
                else:
                    self._make_gate(me)
            if self._leader is me:
                self._lead(me)
            if me.stage != _DONE:
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
            self._lead(me)
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
                if self._leader is me:
                    self._lead(me)
                    continue
                left = deadline - monotonic()
                # Whoever wakes it can be interrupted before he does: it looks by itself, too.
                woken = me.gate.acquire(timeout=min(max(left, 0), _LOOK))
                if woken and me.stage == _DONE:
                    me.gate.release()  # another thread may wait on the same handle
                elif not woken:
                    self._look_after(me)
                    if left <= _LOOK:
                        self._give_up(me)
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

    def _lead(self, me: Pending) -> None:
        """Write one batch and hand over."""
        with self.lock:
            if me.leads or self._leader is not me:
                return  # another thread that waits on the same handle does it already
            me.leads = True
        finished = False
        try:
            self._write(self._take())
            finished = True
        finally:
            with self.lock:
                me.leads = False
                if not finished:
                    self._forget(me)
                self._hand_over()

    def _take(self) -> list[Pending]:
        """The next batch. It stays in the queue, its first members, until it is told."""
        with self.lock:
            batch = list(islice(self._queue, MOST_MEMBERS))
            for member in batch:
                member.stage = _TAKEN
        return batch

    def _write(self, batch: list[Pending]) -> None:
        finished = False
        try:
            self._writer.write(batch)
            finished = True
        finally:
            try:
                if not finished:
                    self._recover(batch)
            finally:
                with self.lock:
                    self._tell_settled()
                while self._callbacks:
                    _call(self._callbacks.popleft())

    def _recover(self, batch: list[Pending]) -> None:
        """The writer was cut short: settle what is committed, the others are written again."""
        lost = [member for member in batch if not member.settled]
        recovered = False
        try:
            self._writer.recover(lost)
            recovered = True
        finally:
            if not recovered:
                for member in lost:
                    if not member.settled:
                        member.settle(_unknown())

    def _tell_settled(self) -> None:
        """Let those go whose result is known; the lock is held."""
        queue = self._queue
        while queue and queue[0].settled:
            member = queue[0]
            member.stage = _DONE
            if member.gate is not None and member.gate.locked():
                member.gate.release()
            if member.callbacks is not None:
                self._callbacks.extend(member.callbacks)
                member.callbacks = None
            queue.popleft()

    def _hand_over(self) -> None:
        """Choose the next leader; the lock is held."""
        self._tell_settled()
        queue = self._queue
        for member in queue:
            if member.stage != _TAKEN:
                break
            member.stage = _QUEUED
        if self._quiet_wanted:
            self._leader = _QUIET
            self._leaderless.notify_all()
        elif queue and queue[0].gate is not None:
            self._leader = first = queue[0]
            if first.gate.locked():
                first.gate.release()
        elif queue or self._callbacks:
            self._leader = _THREAD
            self._wake_thread()
        else:
            self._leader = None
            if self._closed is not None:
                self._leaderless.notify_all()

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
            while self._wait_for_turn(me):
                self._write(self._take())
                with self.lock:
                    if not self._queue or self._quiet_wanted:
                        self._hand_over()
        finally:
            with self.lock:
                if self._thread is me:
                    self._thread = None
                    if self._leader is _THREAD:
                        self._hand_over()

    def _wait_for_turn(self, me: threading.Thread) -> bool:
        with self.lock:
            while self._thread is me and self._leader is not _THREAD:
                if not self._thread_wanted.wait(_IDLE) and self._leader is not _THREAD:
                    return False
            return self._thread is me

    # -- waiting

    def _make_gate(self, me: Pending) -> None:
        gate = threading.Lock()
        gate.acquire()
        me.gate = gate

    def _look_after(self, me: Pending) -> None:
        """See to it that somebody leads."""
        with self.lock:
            if self._leader is None:
                self._leader = me
            elif self._thread_is_missing():
                self._hand_over()

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
        """Its owner goes on or unwinds: it does not lead, and is written by now or never."""
        if me.stage == _DONE and self._leader is not me:
            return
        deadline = monotonic() + _GRACE
        while not self._has_left(me) and monotonic() < deadline:
            me.gate.acquire(timeout=_LOOK)

    def _has_left(self, me: Pending) -> bool:
        with self.lock:
            if self._leader is me:
                me.leads = False
                self._forget(me)
                self._hand_over()
            elif me.stage == _QUEUED:
                self._forget(me)
            elif me.stage == _TAKEN:
                # Another leader is at it: that will soon be over, and its owner wants to know.
                if me.gate is None:
                    self._make_gate(me)
                return False
            return True

    def _forget(self, me: Pending) -> None:
        if not me.settled and me in self._queue:
            self._queue.remove(me)
            me.stage = _QUEUED  # nobody writes it any more


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
