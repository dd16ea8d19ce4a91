"""How bytes reach a disk so that a crash leaves the old file or the new one, never a mixture.

It owns names, locks, temp files and fsync; it knows nothing of what the bytes mean.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from abstractruntime.errors import (
    InvalidIdentifier,
    StoreFault,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)

MAX_IDENTIFIER = 256
# File systems take 255 bytes; a file set aside beside this one gets a longer suffix.
_MAX_FILE_NAME = 240
_DIGEST_AT_END = re.compile("~[0-9a-fA-F]{64}$")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BINARY = getattr(os, "O_BINARY", 0)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
# In temp names beside the pid: two hosts or containers that share a folder may share pids.
_PROCESS = secrets.token_hex(4)

# One lock per path would grow with every run ever seen; paths that share one only wait longer.
_LOCKS = tuple(threading.RLock() for _ in range(64))
_open_exclusively: dict[str, int] = {}


def check_identifier(identifier: str, *, what: str = "run_id") -> str:
    """`identifier` when it may become part of a file name; InvalidIdentifier with the reason.

    1..256 characters, no separator, no "..", no control character, no leading dot.
    """
    if not isinstance(identifier, str):
        reason = f"must be text, found {type(identifier).__name__}"
    elif not identifier:
        reason = "is empty"
    elif len(identifier) > MAX_IDENTIFIER:
        reason = f"is longer than {MAX_IDENTIFIER} characters"
    elif "/" in identifier or "\\" in identifier:
        reason = "holds a path separator"
    elif ".." in identifier:
        reason = "holds '..'"
    elif identifier.startswith("."):
        reason = "begins with a dot"
    elif _CONTROL.search(identifier):
        reason = "holds a control character"
    elif _SURROGATE.search(identifier):
        reason = "holds a lone surrogate"
    else:
        return identifier
    raise InvalidIdentifier(
        f"{what} {reason}: {str(identifier)[:80]!r}",
        fix="use letters, digits, '-' and '_'; a UUID always passes",
    )


def file_name(prefix: str, identifier: str, suffix: str) -> str:
    """The file an identifier lives in: prefix, identifier, suffix.

    Where that is longer than file systems take, the identifier's end gives way to a digest of it;
    and where it ends as if it had, so that no two identifiers have one file.
    """
    name = f"{prefix}{identifier}{suffix}"
    if len(name.encode()) <= _MAX_FILE_NAME and not _DIGEST_AT_END.search(identifier):
        return name
    digest = "~" + hashlib.sha256(identifier.encode()).hexdigest()
    room = _MAX_FILE_NAME - len((prefix + digest + suffix).encode())
    start = identifier.encode()[:room].decode(errors="ignore")
    return f"{prefix}{start}{digest}{suffix}"


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder as an absolute path, made with its parents when it is not there, each durable."""
    path = Path(folder).absolute()
    with translated(path):
        missing = [each for each in (path, *path.parents) if not each.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for each in missing:
            sync_folder(each.parent)
    return path


def lock_of(path: Path) -> threading.RLock:
    """The lock that excludes this process's other threads from a file, whatever store they use.

    Paths share locks: whoever holds one must not wait for that of another path.
    """
    return _LOCKS[hash(_real(path)) % len(_LOCKS)]


def _real(path: Path) -> str:
    """One name for a file, whatever way its folder is named."""
    folder, name = os.path.split(path)
    return f"{_real_folder(folder)}/{name}"


@lru_cache(64)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def read_whole(path: Path) -> bytes | None:
    """What the file holds; None when there is none."""
    with translated(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def write_whole(
    path: Path, data: bytes, *, ready: Callable[[os.stat_result], None] | None = None
) -> None:
    """Replace the file by `data`: durable on return, and on any error the old file stands whole.

    `ready` is called with the stat of what is about to get the name, when all but that is done.
    """
    digest = hashlib.sha256(path.name.encode()).hexdigest()[:16]
    writer = f"{os.getpid()}-{threading.get_ident()}-{_PROCESS}"
    temp = path.parent / f".{digest}-{writer}.tmp"
    replaced = False
    with translated(path):
        try:
            descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o666)
            try:
                write_all(descriptor, data)
                os.fsync(descriptor)
                stat = os.fstat(descriptor)
            finally:
                os.close(descriptor)
            if ready is not None:
                ready(stat)
            os.replace(temp, path)
            replaced = True
        finally:
            if not replaced:
                with suppress(OSError):
                    os.unlink(temp)
        sync_folder(path.parent)


def append_whole(path: Path, data: bytes) -> None:
    """Add `data` at the end of the file, made when missing; durable on return. Excludes nobody."""
    with translated(path):
        descriptor = _open_for_appending(path)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove(path: Path) -> bool:
    """Remove the file; whether it was there. Durable on return."""
    with translated(path):
        try:
            os.unlink(path)
        except FileNotFoundError:
            return False
        sync_folder(path.parent)
        return True


def write_all(descriptor: int, data: bytes) -> None:
    """Write `data`; one system call unless the medium takes less at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def read_at(descriptor: int, start: int, count: int) -> bytes:
    """`count` bytes from `start` on, fewer at the end of the file."""
    os.lseek(descriptor, start, os.SEEK_SET)
    parts = []
    while count > 0 and (part := os.read(descriptor, count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def sync_folder(folder: Path) -> None:
    """Make the folder's list of names durable; Windows does so by itself."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def appending(path: Path) -> Iterator[int]:
    """The file open for reading and appending, made when missing; nobody else appends meanwhile.

    Other threads wait, other processes too where the file system has locks. It may be entered
    again by the same thread, which then gets the same descriptor.
    """
    name = _real(path)
    with lock_of(path):
        if name in _open_exclusively:
            yield _open_exclusively[name]
            return
        with translated(path):
            descriptor = _open_for_appending(path)
        try:
            _lock_between_processes(descriptor)
            _open_exclusively[name] = descriptor
            try:
                yield descriptor
            finally:
                del _open_exclusively[name]
        finally:
            os.close(descriptor)


def _open_for_appending(path: Path) -> int:
    flags = os.O_RDWR | os.O_APPEND | _BINARY
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
        sync_folder(path.parent)
        return descriptor


def _lock_between_processes(descriptor: int) -> None:
    """Closing the descriptor releases it. A file system without locks leaves it to the host."""
    if sys.platform == "win32":
        return
    import fcntl

    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _forget_locks() -> None:
    """In a forked child: what other threads of the parent held, nobody here will release."""
    global _LOCKS  # noqa: PLW0603
    _LOCKS = tuple(threading.RLock() for _ in range(64))
    for descriptor in _open_exclusively.values():
        with suppress(OSError):
            os.close(descriptor)
    _open_exclusively.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of the operating system as StoreFull, StoreReadOnly or StoreUnavailable."""
    try:
        yield
    except OSError as error:
        raise _fault(error)(
            f"{path}: {error.strerror or error}",
            fix=_FIXES.get(error.errno or 0),
            path=str(path),
            errno=error.errno,
        ) from error


def _fault(error: OSError) -> type[StoreFault]:
    if error.errno in _FULL:
        return StoreFull
    if error.errno in _READ_ONLY:
        return StoreReadOnly
    return StoreUnavailable


_TOO_MANY_FILES = "close files or raise the limit on open files (ulimit -n), then call again"
_NO_ACCESS = "let this user read and write the file and its folder, or open another store"
# What a fault's name does not say. A commit that failed is gone: it may be tried again.
_FIXES = {
    errno.EIO: "the medium fails: look at it and at the system's log, then call again",
    errno.EROFS: "mount the medium for writing, or open another store",
    errno.EACCES: _NO_ACCESS,
    errno.EPERM: _NO_ACCESS,
    errno.EDQUOT: "free space or raise this user's quota, then call again",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), then call again",
    errno.EMFILE: _TOO_MANY_FILES,
    errno.ENFILE: _TOO_MANY_FILES,
    errno.ENOENT: "put the file or folder back, which somebody removed, then call again",
    errno.ENOTDIR: "move away the file that stands where a folder must be",
}
