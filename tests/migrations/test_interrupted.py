"""Processes killed at each statement and write of a migration; processes that race to make one."""

from __future__ import annotations

import gzip
import os
import signal
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from abstractruntime.errors import StoreTooNew
from abstractruntime.storage import migrate
from abstractruntime.storage.migrate import Migration, migrations
from abstractruntime.storage.relational.store import RelationalStore
from abstractruntime.storage.sqlite import open_sqlite
from abstractruntime.storage.sqlite_file import SqliteFile
from tests.migrations.golden.make import HERE
from tests.storage.sqlite_ground import Medium, rows

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="these processes are forked")

GOLDEN = HERE / "v1" / "runs.db.gz"
NEXT = """
CREATE TABLE marks (number INTEGER PRIMARY KEY, run_id TEXT NOT NULL) STRICT;
INSERT INTO marks (run_id) SELECT run_id FROM runs ORDER BY number;
ALTER TABLE runs ADD COLUMN mark INTEGER;
UPDATE runs SET mark = (SELECT number FROM marks WHERE marks.run_id = runs.run_id);
CREATE INDEX runs_by_mark ON runs (mark);
CREATE VIEW marked AS SELECT run_id, mark FROM runs;
"""
"""A migration that some later version might bring: it makes, fills, changes and indexes tables."""
LAST = len(migrations("sqlite")) + 1
RACERS = 8


def with_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the version that brings `NEXT`."""
    steps = (*migrations("sqlite"), Migration(LAST, "marks", NEXT))
    monkeypatch.setattr(migrate, "migrations", lambda dialect: steps)


def golden(folder: Path) -> Path:
    path = folder / "runs.db"
    path.write_bytes(gzip.decompress(GOLDEN.read_bytes()))
    return path


def forked(work: Callable[[], None]) -> int:
    """Do it in a process of its own; its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def opening(path: Path, *, dies_at: int | None = None) -> Callable[[], None]:
    """Open the store as a process that dies before its n-th statement, if that is given."""

    def work() -> None:
        seen = 0

        def trace(cursor: object, statement: str, bindings: object) -> bool:
            nonlocal seen
            seen += 1
            if seen == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return True

        apsw.connection_hooks.append(lambda connection: connection.set_exec_trace(trace))
        open_sqlite(path).close()

    return work


class Deadly(Medium):
    """A file system on which a process dies before its n-th write or sync."""

    dies_at: int | None = None
    seen = 0

    def pass_or_fail(self, verb: str) -> None:
        self.seen += verb != "read"
        if self.seen == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)


def writing(path: Path, *, dies_at: int) -> Callable[[], None]:
    """As `opening`; the process dies before its n-th write or sync."""

    def work() -> None:
        medium = Deadly()
        medium.dies_at = dies_at
        RelationalStore(SqliteFile(str(path), vfs=medium.name), patience=5.0).close()

    return work


def schema(path: Path) -> list[tuple[str, str]]:
    found = rows(path, "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")
    return sorted(found)


def kill_everywhere(
    opens: Callable[..., Callable[[], None]],
    make: Callable[[int], Path],
    check: Callable[[Path], None],
) -> int:
    """Until a process outlives its opening; how many were killed. `check` looks at what is left."""
    number = 0
    while True:
        number += 1
        path = make(number)
        status = forked(opens(path, dies_at=number))
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            return number - 1
        assert os.WTERMSIG(status) == signal.SIGKILL
        check(path)


WAYS = pytest.mark.parametrize("opens", [opening, writing], ids=["statements", "writes"])


@WAYS
def test_a_kill_anywhere_in_a_migration_leaves_a_store_that_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opens: Callable[..., Callable[[], None]]
) -> None:
    before = golden(tmp_path)
    runs, old = rows(before, "SELECT run_id FROM runs ORDER BY number"), schema(before)
    left: list[int] = []

    def make(number: int) -> Path:
        folder = tmp_path / str(number)
        folder.mkdir()
        return golden(folder)

    def check(path: Path) -> None:
        """The old version still opens what was not migrated, the new one brings all up to date."""
        ((version,),) = rows(path, "PRAGMA user_version")
        left.append(version)
        with monkeypatch.context() as as_before:
            as_before.setattr(migrate, "migrations", lambda dialect: migrations(dialect)[:1])
            if version == 1:
                assert schema(path) == old
                open_sqlite(path).close()
            else:
                with pytest.raises(StoreTooNew):
                    open_sqlite(path)
        with open_sqlite(path) as store:
            assert {(run.run_id,) for run in store.list_runs(limit=100)} == set(runs)
        assert rows(path, "SELECT run_id FROM marked ORDER BY mark") == runs
        assert rows(path, "PRAGMA integrity_check") == [("ok",)]
        assert rows(path, "PRAGMA user_version") == [(LAST,)]

    with_next(monkeypatch)
    killed = kill_everywhere(opens, make, check)
    assert killed >= 10
    print(
        f"{opens.__name__}: killed at {killed} places, {left.count(1)} stores were not migrated, "
        f"{left.count(LAST)} were"
    )


@WAYS
def test_a_kill_anywhere_while_a_store_is_made_leaves_one_that_opens(
    tmp_path: Path, opens: Callable[..., Callable[[], None]]
) -> None:
    open_sqlite(tmp_path / "whole.db").close()
    whole = schema(tmp_path / "whole.db")
    left: list[int] = []

    def check(path: Path) -> None:
        ((version,),) = rows(path, "PRAGMA user_version")
        left.append(version)
        assert schema(path) == ([] if version == 0 else whole)
        with open_sqlite(path) as store:
            assert store.list_runs() == []
        assert schema(path) == whole

    killed = kill_everywhere(opens, lambda number: tmp_path / f"{number}.db", check)
    assert killed >= 10
    print(
        f"{opens.__name__}: killed at {killed} places, {left.count(0)} stores were empty, "
        f"{left.count(1)} were made"
    )


def race(work: Callable[[], None]) -> list[int]:
    """So many processes begin at once; how each ended."""
    here, there = os.pipe()
    pids = []
    for _ in range(RACERS):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(there)
                os.read(here, 1)  # until the last writer has closed it
                work()
                code = 0
            except BaseException as error:
                os.write(2, f"{error!r}\n".encode())
            finally:
                os._exit(code)
        pids.append(pid)
    os.close(here)
    os.close(there)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def test_processes_that_race_to_migrate_a_store_all_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = golden(tmp_path)
    runs = rows(path, "SELECT run_id FROM runs ORDER BY number")
    with_next(monkeypatch)

    def work() -> None:
        with open_sqlite(path) as store:
            assert len(store.list_runs(limit=100)) == len(runs)

    assert race(work) == [0] * RACERS
    assert rows(path, "SELECT run_id FROM marked ORDER BY mark") == runs
    assert rows(path, "SELECT count(*) FROM marks") == [(len(runs),)]
    assert rows(path, "PRAGMA user_version") == [(LAST,)]
    print(f"{RACERS} processes raced, {len(runs)} runs were marked once")


def test_processes_that_race_to_make_a_store_all_get_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    open_sqlite(tmp_path / "whole.db").close()
    assert race(lambda: open_sqlite(path).close()) == [0] * RACERS
    assert schema(path) == schema(tmp_path / "whole.db")
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    print(f"{RACERS} processes raced, {len(schema(path))} objects were made once")
