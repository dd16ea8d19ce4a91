"""Opening a SQLite store: what is in force, what is refused and why, and who shares it."""

import gc
import os
import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest

from abstractruntime.errors import (
    InvalidInput,
    InvalidStoreUrl,
    StoreClosed,
    StoreCorrupt,
    StoreTooNew,
    StoreUnavailable,
)
from abstractruntime.storage import sqlite_file
from abstractruntime.storage.open import open_store
from abstractruntime.storage.sqlite import SqliteLedgerStore, SqliteRunStore, open_sqlite
from abstractruntime.testing.commits import Script
from tests.storage.sqlite_ground import python, rows, said


def test_importing_the_package_does_not_import_apsw() -> None:
    program = "import sys, abstractruntime, abstractruntime.storage; print('apsw' in sys.modules)"
    assert said(python(program)).strip() == "False"


@pytest.mark.parametrize(("durability", "level"), [("power", 2), ("process", 1)])
def test_the_pragmas_that_make_it_durable_are_in_force(
    tmp_path: Path, durability: str, level: int
) -> None:
    with open_sqlite(tmp_path / "runs.db", durability=durability) as store:
        unused = store.facts()
        store.commit(Script("r").commit())
        facts = store.facts()
    assert unused == facts
    assert facts["journal_mode"] == "wal"
    assert facts["synchronous"] == level
    assert facts["busy_timeout"] == 30_000
    assert facts["durability"] == durability
    assert facts["application_id"] == sqlite_file.APPLICATION_ID


def test_a_pragma_that_is_not_in_force_is_refused(tmp_path: Path) -> None:
    class Deaf(apsw.Connection):
        def pragma(self, name: str, *value: Any) -> Any:  # type: ignore[override]
            return super().pragma(name, *(() if name == "synchronous" else value))

    store = open_sqlite(tmp_path / "runs.db", durability="process")
    original = apsw.Connection
    apsw.Connection = Deaf  # type: ignore[misc]
    try:
        with pytest.raises(StoreUnavailable, match="PRAGMA synchronous is 2, though 1 was asked"):
            store.commit(Script("r").commit())
    finally:
        apsw.Connection = original  # type: ignore[misc]
        store.close()


def test_an_sqlite_that_can_lose_commits_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(StoreUnavailable, match=r"3\.51\.2.*3\.51\.3 or newer"):
        open_sqlite(tmp_path / "runs.db")
    assert not (tmp_path / "runs.db").exists()


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path}/data/of/mine/runs.db") as store:
        store.commit(Script("r").commit())
    assert (tmp_path / "data/of/mine/runs.db").is_file()


def test_after_closing_one_file_is_left(tmp_path: Path) -> None:
    with open_sqlite(tmp_path / "runs.db") as store:
        store.commit(Script("r").commit())
        store.load("r")
        store.changes()
    assert [path.name for path in tmp_path.iterdir()] == ["runs.db"]


# ---- what is no store of ours


def test_a_file_that_is_no_database_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(b"all sorts of things, none of them a database" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match=r"is no SQLite database, 4400 bytes \(SQLITE_NOTADB"):
        open_sqlite(path)
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with apsw.Connection(str(path)) as other:
        other.execute("CREATE TABLE recipes (name TEXT); PRAGMA user_version = 7")
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match=r"application_id 0x0, user_version 7, tables recipes"):
        open_sqlite(path)
    assert path.read_bytes() == before


def test_tables_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    open_sqlite(path).close()
    rows(path, "PRAGMA user_version = 99")
    with pytest.raises(StoreTooNew, match="tables of version 99") as caught:
        open_sqlite(path)
    assert caught.value.where["recorded"] == 99


def test_a_damaged_page_is_reported_and_nothing_is_written_after(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with open_sqlite(path) as store:
        for n in range(50):
            store.commit(Script(f"r{n}", vars={"text": "x" * 3000}).commit())
    with path.open("r+b") as file:
        half = path.stat().st_size // 8192 * 4096  # the schema stands before, the runs behind
        file.seek(half)
        file.write(b"\xff" * half)
    store = open_sqlite(path)
    try:
        with pytest.raises(StoreCorrupt, match="damaged"):
            store.load("r49")
        with pytest.raises(StoreCorrupt, match="damaged"):
            store.commit(Script("new").commit())
    finally:
        store.close()


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="SQLITE_CANTOPEN"):
        open_sqlite(tmp_path)


# ---- read-only

AS_NOBODY = """
import os, sys, apsw
from abstractruntime.errors import RuntimeFault
from abstractruntime.storage.migrate import newest
from abstractruntime.storage.sqlite import open_sqlite
newest("sqlite")  # what lies in files is read while it can be
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    open_sqlite(sys.argv[1])
except RuntimeFault as fault:
    print(type(fault).__name__, fault)
"""


@pytest.fixture
def public_folder(tmp_path: Path) -> Path:
    """A folder that another user can reach."""
    path = tmp_path
    while path != path.parent and path.stat().st_uid == os.getuid() and path != Path("/tmp"):
        path.chmod(0o755)
        path = path.parent
    return tmp_path


def test_a_read_only_file_is_refused(public_folder: Path) -> None:
    path = public_folder / "runs.db"
    open_sqlite(path).close()
    path.chmod(0o444)
    assert said(python(AS_NOBODY, str(path))).startswith("StoreReadOnly")


def test_a_read_only_folder_is_refused(public_folder: Path) -> None:
    public_folder.chmod(0o555)
    try:
        assert said(python(AS_NOBODY, f"{public_folder}/runs.db")).startswith("StoreReadOnly")
        assert said(python(AS_NOBODY, f"{public_folder}/in/runs.db")).startswith("StoreReadOnly")
    finally:
        public_folder.chmod(0o755)


# ---- one store per file


def test_whoever_opens_a_file_gets_the_same_store(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("runs.db")
    first = open_sqlite(tmp_path / "runs.db")
    second = open_store(f"sqlite:///{tmp_path}/link.db")
    os.link(tmp_path / "runs.db", tmp_path / "hard.db")
    third = open_sqlite(tmp_path / "hard.db")
    runs, ledger = SqliteRunStore(tmp_path / "runs.db"), SqliteLedgerStore(tmp_path / "runs.db")
    assert first is second is third is runs.store is ledger.store
    for _ in range(5):
        first.commit(Script(f"r{_}").commit())  # open until the last holder closes
        first.close()
    with pytest.raises(StoreClosed):
        first.load("r1")
    with pytest.raises(StoreClosed):
        first.commit(Script("late").commit())
    with open_sqlite(tmp_path / "runs.db") as again:
        assert again is not first
        assert again.load("r4") is not None


def test_other_options_for_an_open_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with open_sqlite(path, durability="process"):
        with pytest.raises(InvalidInput, match=r"durability='process'.*durability='power'"):
            open_sqlite(path, durability="power")
        with pytest.raises(InvalidInput, match="hash_chain=True"):
            open_sqlite(path, hash_chain=False)
        open_sqlite(path).close()  # no option given: whatever it is open with
        open_sqlite(path, durability="process").close()


def test_a_file_put_in_place_of_another_is_another_store(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with open_sqlite(path) as old:
        old.commit(Script("old").commit())
        shutil.move(path, tmp_path / "moved.db")
        for suffix in ("-wal", "-shm"):
            (tmp_path / f"runs.db{suffix}").unlink()
        with open_sqlite(path) as new:
            assert new is not old
            assert new.load("old") is None


def test_a_store_nobody_holds_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    SqliteRunStore(path).save(Script("r").commit().run)
    gc.collect()
    with open_sqlite(path, durability="process") as store:  # else: open with other options
        assert store.load("r") is not None


@pytest.mark.parametrize(("given", "kept"), [(None, 2), (True, 2), (False, None)])
def test_the_chain_is_on_unless_it_is_switched_off(
    tmp_path: Path, given: bool | None, kept: int | None
) -> None:
    with open_sqlite(tmp_path / "runs.db", hash_chain=given) as store:
        assert store.hash_chain == kept


# ---- URLs


@pytest.mark.parametrize(
    "url",
    [
        "",
        "runs.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://host/runs.db",
        "sqlite:///runs.db#part",
        "mysql:///runs",
        "memory://x",
        "memory:///x",
        "files:///",
        "sqlite:///r.db?durability=perfect",
        "sqlite:///r.db?busy_timeout=soon",
        "sqlite:///r.db?busy_timeout=-1",
        "sqlite:///r.db?hash_chain=perhaps",
        "sqlite:///r.db?clock=now",
        "sqlite:///r.db?colour=red",
        "memory://?durability=power",
    ],
)
def test_what_names_no_store_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput) as caught:
        open_store(url)
    assert caught.value.how_to_fix
    assert list(tmp_path.iterdir()) == []


def test_the_refusal_of_a_url_lists_what_there_is() -> None:
    with pytest.raises(InvalidStoreUrl) as caught:
        open_store("redis://localhost")
    for known in ("memory://", "sqlite:///", "sqlite:////", "files:///"):
        assert known in caught.value.how_to_fix


def test_paths_and_options_of_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///a%20b.db?durability=process&hash_chain=false&busy_timeout=2.5") as s:
        assert s.url == f"sqlite:///{tmp_path}/a b.db"
        assert s.hash_chain is None
        assert s.facts()["durability"] == "process"
    with open_store("sqlite:///rel.db", busy_timeout=1.0) as s:
        assert (tmp_path / "rel.db").exists()
    with open_store(f"sqlite:///{tmp_path}/abs.db", clock=lambda: "now") as s:
        assert s.url == f"sqlite:///{tmp_path}/abs.db"
    with open_store("files:///folder") as s:
        assert s.hash_chain == 2
    with open_store("memory://?hash_chain=0") as s:
        assert s.hash_chain is None
