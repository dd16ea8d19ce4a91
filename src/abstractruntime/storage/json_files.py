"""Runs and ledgers as files that people can read: one JSON object per run, one line per record.

The folder's format is the public API. What stands in `.abstractruntime` is no part of it: locks,
and an index that can be deleted at any time.
"""

from __future__ import annotations

import builtins
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from hashlib import sha256
from io import FileIO
from pathlib import Path
from typing import Any

import orjson

from abstractruntime.core.canonical import decode
from abstractruntime.core.models import (
    RunState,
    RunStatus,
    StepRecord,
    WaitReason,
    record_to_dict,
    run_from_dict,
)
from abstractruntime.errors import StoreCorrupt
from abstractruntime.storage.base import LedgerStore, RunStore
from abstractruntime.storage.durable_files import (
    appending,
    check_identifier,
    file_name,
    make_folder,
    read_at,
    read_whole,
    translated,
    write_all,
    write_whole,
)
from abstractruntime.storage.folder_locks import FolderLocks
from abstractruntime.storage.json_index import FolderIndex
from abstractruntime.storage.json_lines import (
    TORN,
    Gap,
    gap_at_end,
    last_line,
    record_on,
    without_torn_line,
)
from abstractruntime.storage.json_rows import IndexRow
from abstractruntime.storage.plain_runs import (
    revision_in,
    select_children,
    select_due,
    select_runs,
    to_save,
    took,
    whole,
)

_RUN_FIELDS = frozenset(RunState.__dataclass_fields__)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^"\[\]{},:]+')
_OPENING = (b"[", b"{")
_CLOSING = (b"]", b"}")


class JsonFileRunStore(RunStore):
    """Runs as `run_{run_id}.json` in a folder, listable by reading all of them.

    `save` is durable on return; a crash leaves the file as it was or as it is to be.
    """

    def __init__(self, base_dir: str | os.PathLike[str]) -> None:
        self._base = make_folder(base_dir)
        self.locks = FolderLocks.of(self._base)
        self._indexes: dict[int, FolderIndex] = {}

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self._base

    @property
    def index(self) -> FolderIndex:
        """What this process knows of all runs; a forked child begins anew."""
        pid = os.getpid()
        found = self._indexes.get(pid)
        if found is None:
            found = self._indexes.setdefault(pid, FolderIndex(self._base, self.locks, _read))
        return found

    def save(self, run: RunState) -> None:
        """Write `run`, keeping keys of its file that this version does not know.

        NotJson, InvalidIdentifier, StoreFull and its kin; RevisionConflict when it is older than
        what is stored; StoreBusy.
        """
        self.save_marked(run)

    def save_marked(self, run: RunState) -> bytes:
        """The same; the mark that its file then has."""
        path = self._path(run.run_id)
        with self.locks.held([run.run_id]):
            found = _text_of(path)
            stored = {} if found is None else _run_in(path, found[0], run.run_id)
            data, at = to_save(run, lambda: stored.get("checkpoint"), found=revision_in(stored))
            checkpoint = data.pop("checkpoint", None)
            data.update((key, stored[key]) for key in stored if key not in _RUN_FIELDS)
            if checkpoint is not None:
                data["checkpoint"] = checkpoint
            text = readable(data)

            def ready(stat: os.stat_result) -> None:
                self.index.journal.add([IndexRow.of(data, path.name, stat, at)])

            write_whole(path, text, ready=ready)
            took(run, at)
            return sha256(text).digest()

    def load(self, run_id: str) -> RunState | None:
        """The run as last saved; None when unknown. StoreCorrupt names a file it cannot read."""
        return self.load_marked(run_id)[0]

    def load_marked(self, run_id: str) -> tuple[RunState | None, bytes]:
        """The run, and the mark of its file."""
        path = self._path(run_id)
        found = _text_of(path)
        if found is None:
            return None, b""
        return run_from_dict(_run_in(path, found[0], run_id)), sha256(found[0]).digest()

    def mark(self, run_id: str) -> bytes:
        """The mark of the run's file: another one when its text is another."""
        # Not its times: a file system keeps them so coarsely that two saves may have the same.
        found = _text_of(self._path(run_id))
        return b"" if found is None else sha256(found[0]).digest()

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        """Runs that match all given, newest updated_at first."""
        found = self.index.select(
            lambda rows: select_runs(
                rows,
                status=status,
                wait_reason=wait_reason,
                workflow_id=workflow_id,
                limit=limit,
            )
        )
        return [run_from_dict(data) for data in found]

    def list_due_wait_until(self, *, now_iso: str, limit: int = 100) -> list[RunState]:
        """Waiting runs whose `until` is at or before `now_iso`, earliest first."""
        found = self.index.select(lambda rows: select_due(rows, now_iso=now_iso, limit=limit))
        return [run_from_dict(data) for data in found]

    def list_children(
        self, *, parent_run_id: str, status: RunStatus | None = None
    ) -> list[RunState]:
        """Runs started by `parent_run_id`, oldest first."""
        found = self.index.select(
            lambda rows: select_children(rows, parent_run_id=parent_run_id, status=status),
            parent=parent_run_id,
        )
        return [run_from_dict(data) for data in found]

    def changes(self) -> int:
        """A number that changes when anybody, other processes too, may have saved a run."""
        with translated(self._base):
            folder = os.stat(self._base)
        return hash((folder.st_mtime_ns, self.index.journal.state()))

    def _path(self, run_id: str) -> Path:
        check_identifier(run_id)
        return _path_of(self._base, "run_", run_id, ".json")


@lru_cache(1024)
def _path_of(folder: Path, prefix: str, run_id: str, suffix: str) -> Path:
    return folder / file_name(prefix, run_id, suffix)


def _read(path: Path) -> tuple[dict[str, Any], os.stat_result] | None:
    """The object in a run's file, and the stat of the file that was read; None when there is none.

    StoreCorrupt when it is no run.
    """
    found = _text_of(path)
    return None if found is None else (_run_in(path, found[0]), found[1])


def _text_of(path: Path) -> tuple[bytes, os.stat_result] | None:
    with translated(path):
        try:
            with FileIO(path) as file:
                return file.readall(), os.fstat(file.fileno())
        except (FileNotFoundError, IsADirectoryError):
            return None


def _run_in(path: Path, text: bytes, run_id: str | None = None) -> dict[str, Any]:
    """The run that the text of its file is of."""
    try:
        data = decode(text)
    except ValueError as error:
        raise StoreCorrupt(f"{path} is not JSON: {error}", path=str(path)) from error
    if not isinstance(data, dict):
        raise StoreCorrupt(f"{path} holds no run", path=str(path))
    missing = [
        key for key in ("run_id", "workflow_id", "status", "current_node") if key not in data
    ]
    if missing:
        raise StoreCorrupt(f"{path} holds no run: it lacks {', '.join(missing)}", path=str(path))
    # File systems that ignore case hold two ids in one file.
    if run_id is not None and data["run_id"] != run_id:
        raise StoreCorrupt(
            f"{path} holds the run '{data['run_id']}', not '{run_id}'", path=str(path)
        )
    return data


def readable(value: dict[str, Any]) -> bytes:
    """The text of `json.dumps(value, indent=2, ensure_ascii=False)`, refusing what is NotJson."""
    compact = whole(value)
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2)
    except orjson.JSONEncodeError:  # an integer of more than 64 bits
        return b"".join(_indented(compact))


def _indented(compact: bytes) -> Iterator[bytes]:
    """The same tokens, indented: numbers stay exact whatever their size."""
    depth, previous = 0, b""
    for token in _TOKEN.findall(compact):
        if token in _CLOSING:
            depth -= 1
        if (previous in _OPENING or previous == b",") != (token in _CLOSING):
            yield b"\n" + b"  " * depth
        yield token
        if token == b":":
            yield b" "
        depth += token in _OPENING
        previous = token


class JsonlLedgerStore(LedgerStore):
    """Ledgers as `ledger_{run_id}.jsonl` in a folder, one record a line; may share runs' folder.

    `append` is durable on return. A line that a crash cut short was never acknowledged: it is not
    listed, and the next append moves its bytes to `ledger_{run_id}.jsonl.torn`.
    """

    keeps_every_field = True

    def __init__(self, base_dir: str | os.PathLike[str]) -> None:
        self._base = make_folder(base_dir)

    def append(self, record: StepRecord) -> None:
        """Add one record at the end of its run's ledger; NotJson, StoreFull and its kin."""
        self.append_many([record])

    def append_many(self, records: Sequence[StepRecord]) -> None:
        """Add records of one run, in order, by one write; on an error none of them is there."""
        if not records:
            return
        run_id = records[0].run_id
        if any(record.run_id != run_id for record in records):
            raise ValueError("append_many takes the records of one run")
        path = self.path(run_id)
        lines = b"".join(whole(record_to_dict(record)) + b"\n" for record in records)
        with appending(path) as descriptor, translated(path):
            size = without_torn_line(descriptor, path)
            try:
                write_all(descriptor, lines)
                os.fsync(descriptor)
            except OSError:
                # What the caller is told was refused must not appear later.
                os.ftruncate(descriptor, size)
                raise

    def list(self, run_id: str) -> builtins.list[dict[str, Any]]:
        """All records of a run in order; empty when unknown. StoreCorrupt names file and line."""
        path = self.path(run_id)
        text = read_whole(path) or b""
        # What follows the last line break is a line cut short, or nothing.
        lines = text.split(b"\n")[:-1]
        return [
            record_on(path, number, line) for number, line in enumerate(lines, 1) if line.strip()
        ]

    def last(self, run_id: str) -> dict[str, Any] | None:
        """The run's last record, reading only the end of its file; None when it has none."""
        path = self.path(run_id)
        with translated(path):
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                return None
            try:
                line = last_line(descriptor)
            finally:
                os.close(descriptor)
        return None if line is None else record_on(path, None, line)

    def exclusive(self, run_id: str) -> AbstractContextManager[object]:
        """While entered, nobody else appends to this run's ledger."""
        return appending(self.path(run_id))

    def mark(self, run_id: str) -> tuple[int, int]:
        """The ledger's inode and size: another pair whenever somebody has appended to it."""
        path = self.path(run_id)
        with translated(path):
            try:
                stat = os.stat(path)
            except FileNotFoundError:
                return 0, 0
        return stat.st_ino, stat.st_size

    def gap(self, run_id: str) -> Gap | None:
        """A line of the last commit in which a sector is missing; None when there is none.

        Whether that commit was acknowledged, the ledger alone cannot say.
        """
        path = self.path(run_id)
        with translated(path):
            try:
                with FileIO(path) as file:
                    return gap_at_end(file.fileno(), path)
            except FileNotFoundError:
                return None

    def set_torn_aside(self, run_id: str, *, start: int | None = None) -> tuple[str, int] | None:
        """Move a line that a crash cut short to its `*.torn`: that file's name, and how many bytes.

        Given `start`, all from there on. None when there is none; nothing is written then.
        """
        path = self.path(run_id)
        size = self.mark(run_id)[1]
        with translated(path):
            if size == 0:
                return None
            if start is None:
                with FileIO(path) as file:
                    if read_at(file.fileno(), size - 1, 1) == b"\n":
                        return None
            with appending(path) as descriptor:
                size = os.fstat(descriptor).st_size
                count = size - without_torn_line(descriptor, path, start)
        return (path.name + TORN, count) if count else None

    def path(self, run_id: str) -> Path:
        """The file of the run's ledger."""
        check_identifier(run_id)
        return _path_of(self._base, "ledger_", run_id, ".jsonl")
