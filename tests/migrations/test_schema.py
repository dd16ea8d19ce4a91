"""The tables: a fresh database equals a migrated one, and racing processes make them once."""

import re
from pathlib import Path

import apsw
import pytest

from abstractruntime.storage import migrate, sql
from abstractruntime.storage.migrate import bring_up_to_date, migrations, newest
from abstractruntime.storage.sqlite import open_sqlite
from abstractruntime.storage.sqlite_file import APPLICATION_ID
from abstractruntime.testing.commits import Script
from tests.storage.sqlite_ground import python, rows, said


class Tables:
    """A database as migrations see it."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        self.at = 0

    def version(self) -> int:
        return self.at

    def apply(self, text: str, version: int) -> None:
        for _ in self.connection.execute(text):
            pass
        self.at = version

    def schema(self) -> dict[str, str]:
        """Every statement by its object's name, without comments and blanks."""
        found = self.connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql NOT NULL")
        return {name: plain(text) for name, text in found}


def plain(text: str) -> str:
    lines = [line.partition("--")[0] for line in text.splitlines()]
    return " ".join(" ".join(lines).split())


def test_the_schema_is_the_sum_of_its_migrations() -> None:
    fresh, migrated = Tables(), Tables()
    bring_up_to_date(fresh, "sqlite", "fresh")
    for each in migrations("sqlite"):
        migrated.apply(each.text, each.number)
    assert fresh.schema() == migrated.schema()
    assert fresh.at == migrated.at == newest("sqlite")


def test_only_what_is_missing_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    last = newest("sqlite")
    steps = (
        *migrations("sqlite"),
        migrate.Migration(last + 1, "more", "CREATE TABLE more (id INTEGER)"),
        migrate.Migration(last + 2, "most", "CREATE TABLE most (id INTEGER)"),
    )
    monkeypatch.setattr(migrate, "migrations", lambda dialect: steps)
    tables = Tables()
    for step in steps[:-1]:
        tables.apply(step.text, step.number)
    bring_up_to_date(tables, "sqlite", "here")
    assert tables.at == last + 2
    assert "most" in tables.schema()
    bring_up_to_date(tables, "sqlite", "here")
    assert tables.at == last + 2


def test_an_older_file_is_migrated_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs.db"
    with open_sqlite(path) as store:
        store.commit(Script("r").commit())
    last = newest("sqlite")
    more = migrate.Migration(last + 1, "more", "CREATE TABLE more (id INTEGER)")
    steps = (*migrations("sqlite"), more)
    monkeypatch.setattr(migrate, "migrations", lambda dialect: steps)
    with open_sqlite(path) as store:
        assert store.load("r") is not None
    assert rows(path, "PRAGMA user_version") == [(last + 1,)]
    assert rows(path, "SELECT count(*) FROM more") == [(0,)]


def test_a_migration_that_fails_leaves_the_old_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs.db"
    with open_sqlite(path) as store:
        store.commit(Script("r").commit())
    bad = "CREATE TABLE half (id INTEGER); CREATE TABLE runs (x)"
    broken = migrate.Migration(newest("sqlite") + 1, "bad", bad)
    steps = (*migrations("sqlite"), broken)
    monkeypatch.setattr(migrate, "migrations", lambda dialect: steps)
    with pytest.raises(Exception, match="already exists"):
        open_sqlite(path)
    monkeypatch.undo()
    assert rows(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'") == [(0,)]
    with open_sqlite(path) as store:
        assert store.load("r") is not None


OPEN_AND_COMMIT = """
import sys
from abstractruntime.storage.sqlite import open_sqlite
from abstractruntime.testing.commits import Script
sys.stdin.readline()
with open_sqlite(sys.argv[1]) as store:
    store.commit(Script(sys.argv[2]).commit())
"""


def test_processes_that_race_to_make_a_database_all_get_it(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a" / "folder" / "runs.db"
    racers = [python(OPEN_AND_COMMIT, str(path), f"r{n}") for n in range(6)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        said(racer)
    assert rows(path, "SELECT count(*) FROM runs") == [(6,)]
    assert rows(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_every_table_is_strict_and_every_query_compiles() -> None:
    tables = Tables()
    bring_up_to_date(tables, "sqlite", "here")
    loose = tables.connection.execute(
        "SELECT name FROM pragma_table_list WHERE type = 'table' AND NOT strict"
    )
    assert [name for (name,) in loose if not name.startswith("sqlite_")] == []
    for name, text in sql.queries("sqlite").items():
        if name not in ("mark", "undo", "unmark"):
            numbers = [int(number) for number in re.findall(r"\?(\d+)", text)]
            values = [None] * max(numbers, default=0)
            assert tables.connection.execute(f"EXPLAIN {text}", values).fetchall(), name
