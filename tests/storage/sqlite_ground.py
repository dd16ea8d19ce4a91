"""What the SQLite tests share: a store over a file system that counts and fails on demand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import apsw

from abstractruntime.core.commit import Commit
from abstractruntime.storage.relational.group import Pending
from abstractruntime.storage.relational.store import RelationalStore
from abstractruntime.storage.sqlite_file import SqliteFile

ROOT = Path(__file__).resolve().parents[2]
_names = count()


class Medium(apsw.VFS):
    """A file system that counts syncs of the log, and raises `fault` on a verb when told to."""

    def __init__(self) -> None:
        self.name = f"medium-{next(_names)}"
        self.syncs = 0
        self.verb: str | None = None
        self.fault: type[apsw.Error] | None = None
        self.after = 0
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _File(self, name, flags)

    def fail(self, verb: str, fault: type[apsw.Error], *, after: int = 0) -> None:
        """From the call of `verb` on that follows `after` others, raise `fault`."""
        self.verb, self.fault, self.after = verb, fault, after

    def mend(self) -> None:
        self.verb = self.fault = None

    def pass_or_fail(self, verb: str) -> None:
        if verb == self.verb and self.fault is not None:
            self.after -= 1
            if self.after < 0:
                raise self.fault("injected")


class _File(apsw.VFSFile):
    def __init__(self, medium: Medium, name: Any, flags: list[int]) -> None:
        self.medium = medium
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.is_log = str(path).endswith("-wal")
        super().__init__("", name, flags)

    def xSync(self, flags: int) -> None:
        self.medium.pass_or_fail("sync")
        self.medium.syncs += self.is_log
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.medium.pass_or_fail("write")
        super().xWrite(data, offset)

    def xRead(self, amount: int, offset: int) -> bytes:
        self.medium.pass_or_fail("read")
        return super().xRead(amount, offset)


@contextmanager
def on_medium(
    path: Path, *, durability: str = "power", busy_timeout: float = 5.0
) -> Iterator[tuple[RelationalStore, Medium]]:
    """A store of its own on a medium that can be told to fail."""
    medium = Medium()
    file = SqliteFile(str(path), durability=durability, busy_timeout=busy_timeout, vfs=medium.name)
    store = RelationalStore(file, patience=busy_timeout)
    try:
        yield store, medium
    finally:
        medium.mend()
        store.close()
        medium.unregister()


def rows(path: Path, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """What the tables hold, asked behind the store's back."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


def python(program: str, *arguments: str, user: int | None = None) -> subprocess.Popen[str]:
    """Another process that runs `program`, its output piped."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        user=user,
    )


def said(process: subprocess.Popen[str]) -> str:
    """All a process said, when it has ended well."""
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    return out


class Wiretap:
    """Calls `before(verb, query)` ahead of each statement of the writing session."""

    def __init__(self, store: RelationalStore, before: Callable[[str, str], None]) -> None:
        self._session: Any = store._database.session
        self._before = before
        self.transactions = 0
        store._group._writer.session = self  # type: ignore[attr-defined]

    def begin(self, *, urgent: bool) -> None:
        self._before("begin", "")
        self.transactions += 1
        self._session.begin(urgent=urgent)

    def commit(self) -> None:
        self._before("commit", "")
        self._session.commit()
        self._before("committed", "")

    def rollback(self) -> None:
        self._before("rollback", "")
        self._session.rollback()

    def run(self, query: str, values: Sequence[Any] = ()) -> int:
        self._before("run", query)
        return int(self._session.run(query, values))

    def insert(self, query: str, values: Sequence[Any]) -> int | None:
        self._before("run", query)
        found: int | None = self._session.insert(query, values)
        return found

    def rows(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        self._before("rows", query)
        found: list[tuple[Any, ...]] = self._session.rows(query, values)
        return found


class Once:
    """Raises `error` the first time it is told of this verb and query."""

    def __init__(self, verb: str, query: str, error: BaseException) -> None:
        self.wanted = (verb, query)
        self.error: BaseException | None = error

    def __call__(self, verb: str, query: str) -> None:
        if (verb, query) == self.wanted and self.error is not None:
            error, self.error = self.error, None
            raise error


def revision(store: RelationalStore, run_id: str) -> int:
    loaded = store.load(run_id)
    assert loaded is not None
    assert loaded.run.checkpoint is not None
    return loaded.run.checkpoint.revision


def outcome(call: Callable[[], None]) -> type[BaseException] | None:
    try:
        call()
    except BaseException as error:
        return type(error)
    return None


def queued(store: RelationalStore, commits: Sequence[Commit]) -> list[Pending]:
    """The commits in the queue, nobody leading until `resume`."""
    assert store._group.quiet(timeout=5)
    return [store.submit(commit) for commit in commits]
