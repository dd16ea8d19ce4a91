"""Locks on the runs of one folder, between the threads of this process and between processes.

A run's lock is one of 64 small files, chosen by a digest of its id, so a folder of a million runs
has no million locks; runs that share one only wait for each other. The system releases what a
process held when it dies. It knows nothing of what is locked.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from weakref import WeakSet, WeakValueDictionary

from abstractruntime.errors import StoreBusy
from abstractruntime.storage.durable_files import translated

if sys.platform != "win32":
    import fcntl

HIDDEN = ".abstractruntime"
"""The folder in a folder of runs for what is no run: locks and index. Others ignore dot names."""

SLOTS = 64
PATIENCE_S = 30.0
_LONGEST_PAUSE_S = 0.005
_HELD = {errno.EAGAIN, errno.EWOULDBLOCK}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EBADF}
_never = threading.Event()


def try_lock(descriptor: int, *, shared: bool = False, patience_s: float = 0.0) -> bool:
    """Lock the open file; False when somebody else held it for all that time. OSError."""
    if sys.platform == "win32":
        return True
    deadline = time.monotonic() + patience_s
    pause = 0.0001
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in _HELD:
                raise
        if time.monotonic() >= deadline:
            return False
        # Asked again and again: a lock that is waited for in the kernel has no deadline.
        _never.wait(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def unlock(descriptor: int) -> None:
    """Unlock and close. Unlocked first: a forked child may still hold a copy of the descriptor."""
    if sys.platform != "win32":
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


class _Slot:
    """One lock file as this process holds it: by one thread, `depth` times."""

    __slots__ = ("depth", "descriptor", "lock")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.depth = 0
        self.descriptor: int | None = None


class FolderLocks:
    """The locks of one folder; `of` gives the same object to all who name the same folder."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder, HIDDEN)
        self._slots = tuple(_Slot() for _ in range(SLOTS))
        self.between_processes = _has_locks(folder)
        """Whether other processes are excluded too: not on Windows, nor where no lock is had."""
        _all.add(self)

    @staticmethod
    def of(folder: Path) -> FolderLocks:
        """The locks of a folder that is there."""
        name = os.path.realpath(folder)
        with _guard:
            found = _shared.get(name)
            if found is None:
                found = _shared[name] = FolderLocks(name)
            return found

    @contextmanager
    def held(self, run_ids: Iterable[str]) -> Iterator[None]:
        """While entered, nobody else holds these runs; the same thread may enter again. StoreBusy.

        Whoever holds a run must not enter for further ones: all are named at once.
        """
        with ExitStack() as held:
            # In one order everywhere: no two wait for each other.
            for number in sorted({_slot_of(run_id) for run_id in run_ids}):
                if not self._enter(number, PATIENCE_S):
                    path = self._path(number)
                    raise StoreBusy(
                        f"{path} stayed locked for {PATIENCE_S:g} s",
                        fix="find the process that holds it: it may be stopped in mid-commit",
                        path=str(path),
                    )
                held.callback(self._leave, number)
            yield

    @contextmanager
    def tried(self, run_id: str) -> Iterator[bool]:
        """The same without waiting: whether the run is held now."""
        number = _slot_of(run_id)
        entered = self._enter(number, 0.0)
        try:
            yield entered
        finally:
            if entered:
                self._leave(number)

    def _path(self, number: int) -> Path:
        return self._folder / f"lock-{number:02}"

    def _enter(self, number: int, patience_s: float) -> bool:
        slot = self._slots[number]
        if not slot.lock.acquire(timeout=patience_s):
            return False
        entered = False
        try:
            entered = slot.depth > 0 or self._lock_file(slot, number, patience_s)
            slot.depth += entered
            return entered
        finally:
            if not entered:
                slot.lock.release()

    def _lock_file(self, slot: _Slot, number: int, patience_s: float) -> bool:
        if not self.between_processes:
            return True
        path = self._path(number)
        with translated(path):
            descriptor = _open(path)
            locked = False
            try:
                locked = try_lock(descriptor, patience_s=patience_s)
            finally:
                if locked:
                    slot.descriptor = descriptor
                else:
                    os.close(descriptor)
            return locked

    def _leave(self, number: int) -> None:
        slot = self._slots[number]
        slot.depth -= 1
        if slot.depth == 0 and slot.descriptor is not None:
            descriptor, slot.descriptor = slot.descriptor, None
            unlock(descriptor)
        slot.lock.release()

    def forget(self) -> None:
        """In a forked child: what the parent's threads held is the parent's alone."""
        for slot in self._slots:
            if slot.descriptor is not None:
                with suppress(OSError):
                    os.close(slot.descriptor)  # the parent's copy keeps the lock
        self._slots = tuple(_Slot() for _ in range(SLOTS))


def _slot_of(run_id: str) -> int:
    return zlib.crc32(run_id.encode(errors="replace")) % SLOTS


def _open(path: Path) -> int:
    """The lock file, made when missing; to read only where it is not ours to write."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY)


def _has_locks(folder: str) -> bool:
    """Whether the folder's file system has locks, and they can be made in it."""
    if sys.platform == "win32" or not os.access(folder, os.W_OK):
        return False
    with translated(Path(folder)):
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except PermissionError:
            return False
        try:
            try_lock(descriptor, shared=True)  # whether it is held is another question
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise  # a medium that fails has not said that it has none
            return False
        finally:
            os.close(descriptor)
    return True


_guard = threading.Lock()
_shared: WeakValueDictionary[str, FolderLocks] = WeakValueDictionary()
_all: WeakSet[FolderLocks] = WeakSet()


def _forget_all() -> None:
    global _guard  # noqa: PLW0603
    _guard = threading.Lock()
    for each in list(_all):
        each.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
