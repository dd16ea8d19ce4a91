"""The index of a folder of run files, as lines: who writes a run file says first what it will be.

A line carries the stamp of the very file it is of (inode, size, time), so whoever reads it can tell
whether it is true. Nothing here is truth and nothing is synced: a line lost is a file read again.
"""

from __future__ import annotations

import os
import secrets
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.models import RunStatus
from abstractruntime.core.times import normal
from abstractruntime.errors import InvalidTime, StoreBusy
from abstractruntime.storage.durable_files import read_at, translated, write_all
from abstractruntime.storage.folder_locks import HIDDEN, PATIENCE_S, try_lock, unlock
from abstractruntime.storage.plain_runs import Row

CHILD = "subworkflow:"
"""What the wait key of a run that waits for a child begins with; the child's id follows."""

SMALL = 1 << 20
"""Bytes below which the journal is left as it is."""

OLD_S = 3600.0
"""A line whose file is not there is kept so long: its writer may be about to make it."""

HEAD = 96
"""Bytes by which one file of lines is told from another."""

NOTHING = (0, 0, 0)

LIVE = (RunStatus.RUNNING.value, RunStatus.WAITING.value)


class Position(NamedTuple):
    """How far a file of lines was read: how it begins, and where to go on."""

    head: bytes = b""
    start: int = 0


class IndexRow(NamedTuple):
    """What listing asks about a run file; `inode`, `size` and `changed_ns` say of which state."""

    name: str
    inode: int
    size: int
    changed_ns: int
    run_id: str
    status: str
    workflow_id: str
    wait_reason: str | None
    until: str | None
    wake: str | None
    created_at: str
    updated_at: str
    parent_run_id: str | None
    child: str | None
    driven: bool

    @property
    def stamp(self) -> tuple[int, int, int]:
        """What the file's stamp is while the row is true."""
        return self[1:4]

    @classmethod
    def of(
        cls,
        run: Mapping[str, Any],
        name: str,
        stat: os.stat_result,
        checkpoint: object = None,
    ) -> IndexRow:
        """The row of a run in its JSON form; TypeError and its kin where it has another form.

        `checkpoint` is the one in it, for who has it as an object.
        """
        row = Row.of(run, None)
        if not isinstance(checkpoint, Checkpoint):
            checkpoint = Checkpoint.coerce(run.get("checkpoint") or {"revision": 0})
        live = row.status in LIVE
        wait_key = (run.get("waiting") or {}).get("wait_key")
        waits = row.status == RunStatus.WAITING.value and row.wait_reason == "subworkflow"
        awaited = str(wait_key).startswith(CHILD) and waits
        return cls(
            name,
            *stamp_of(stat),
            row.run_id,
            row.status,
            row.workflow_id,
            row.wait_reason,
            row.until,
            _wake(checkpoint, row.until) if live else None,
            row.created_at,
            row.updated_at,
            row.parent_run_id,
            str(wait_key).removeprefix(CHILD) if awaited else None,
            live and checkpoint.driver is not None,
        )


def _wake(checkpoint: Checkpoint, until: str | None) -> str | None:
    wake = checkpoint.wake_at(until)
    try:
        return None if wake is None else normal(wake)
    except InvalidTime:
        return until


def stamp_of(stat: os.stat_result) -> tuple[int, int, int]:
    """What tells one state of a file from another: a rename keeps it."""
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _is_text(row: IndexRow) -> bool:
    """Whether the name can be written: one that another program made need not be UTF-8."""
    return row.name.isascii() or row.name == row.name.encode(errors="replace").decode()


def _line(values: Iterable[Any]) -> bytes:
    text = orjson.dumps(list(values))
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _parsed(line: bytes) -> list[Any] | None:
    """The values on a line; None when a crash, or an editor, has been at it."""
    try:
        if int(line[:8], 16) == zlib.crc32(line[9:]):
            found = orjson.loads(line[9:])
            return found if isinstance(found, list) else None
    except ValueError:
        pass
    return None


class Journal:
    """The file of the lines, appended to by every process that writes runs to the folder."""

    def __init__(self, folder: Path, *, used: bool) -> None:
        # Another form of line gets another number: whoever knows this one only goes on with it.
        self.path = folder / HIDDEN / "index-1"
        self.used = used
        """Where there are no locks between processes nobody writes rows: files are looked at."""

    def add(self, rows: Iterable[IndexRow]) -> None:
        """Append the rows by one write, not synced. StoreBusy, StoreFull and its kin."""
        if not self.used:
            return
        # A line that a crash cut short must not take the next one with it: a break comes first.
        lines = b"\n" + b"".join(map(_line, filter(_is_text, rows)))
        with translated(self.path), self._opened() as descriptor:
            write_all(descriptor, lines)
            size = os.fstat(descriptor).st_size
            compact = size > SMALL and size > 2 * _base(descriptor)
        if compact:
            self.compact()

    def state(self) -> tuple[int, int, int]:
        """Another value whenever somebody has written."""
        try:
            return stamp_of(os.stat(self.path)) if self.used else NOTHING
        except OSError:
            return NOTHING

    def read(self, position: Position) -> tuple[list[IndexRow], Position, bool]:
        """The rows from a position on (all, when the file is another one), and where they end.

        The last value is whether lines may be missing: some could not be read, or were replaced.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError:  # none, or not for us: then files are all there is to go by
            return [], Position(), position.start > 0
        try:
            with translated(self.path):
                # An inode may come again. How a file begins does not: a row, or a token.
                head = read_at(descriptor, 0, HEAD)
                size = os.fstat(descriptor).st_size
                same = head.startswith(position.head) and size >= position.start
                start = position.start if same else 0
                text = read_at(descriptor, start, size - start)
        finally:
            os.close(descriptor)
        whole = text[: text.rfind(b"\n") + 1]
        rows, broken = _rows(whole)
        end = start + len(whole)
        return rows, Position(head[:end], end), broken or not same

    def compact(self) -> None:
        """Keep the last line of each file only. Left for later when somebody is writing."""
        with translated(self.path):
            try:
                descriptor = os.open(self.path, os.O_RDWR)
            except FileNotFoundError:
                return
            temp = self.path.with_name(self.path.name + f".{os.getpid()}.tmp")
            try:
                if not try_lock(descriptor) or not self._is_current(descriptor):
                    return
                temp.write_bytes(self._compacted(descriptor))
                os.replace(temp, self.path)
            finally:
                unlock(descriptor)
                with suppress(OSError):
                    temp.unlink()

    def _compacted(self, descriptor: int) -> bytes:
        rows, broken = _rows(read_at(descriptor, 0, os.fstat(descriptor).st_size))
        last = {row.name: row for row in rows}
        names = set(os.listdir(self.path.parent.parent))
        since = (time.time() - OLD_S) * 1e9
        kept = b"".join(
            _line(row) for row in last.values() if row.name in names or row.changed_ns > since
        )
        # Nobody knows which file a line was of that cannot be read: readers look at all once more.
        head = _line(["index", len(kept), secrets.token_hex(8)])
        return head + (b"unreadable\n" if broken else b"") + kept

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The journal open to append, and not being compacted meanwhile."""
        while True:
            descriptor = _open(self.path)
            try:
                if not try_lock(descriptor, shared=True, patience_s=PATIENCE_S):
                    raise StoreBusy(
                        f"{self.path} stayed locked for {PATIENCE_S:g} s",
                        fix="find the process that holds it: it may be stopped",
                        path=str(self.path),
                    )
                if self._is_current(descriptor):
                    yield descriptor
                    return
            finally:
                unlock(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        """Whether the file is still the one of that name: not replaced by a compacted one."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(descriptor))
        except FileNotFoundError:
            return False


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(exist_ok=True)
        return os.open(path, flags, 0o666)


def _rows(text: bytes) -> tuple[list[IndexRow], bool]:
    rows, broken = [], False
    for line in text.split(b"\n"):
        if line:
            values = _parsed(line)
            if values is None:
                broken = True
            elif len(values) == len(IndexRow._fields):
                rows.append(IndexRow._make(values))
    return rows, broken


def _base(descriptor: int) -> int:
    """How large the journal was when it was last compacted."""
    values = _parsed(read_at(descriptor, 0, HEAD).split(b"\n")[0])
    return values[1] if values is not None and len(values) == 3 else 0
