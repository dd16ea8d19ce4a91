"""Rows from before there were checksums, and processes of that version that are still there."""

from __future__ import annotations

import gzip
import re
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner

from abstractruntime.cli.root import root
from abstractruntime.errors import StoreCorrupt
from abstractruntime.inspect.doctor import examine
from abstractruntime.inspect.verify import verify_run
from abstractruntime.storage.sqlite import open_sqlite
from abstractruntime.testing.commits import Script
from tests.migrations.golden.make import HERE
from tests.migrations.test_golden import host_on
from tests.storage.sqlite_ground import rows

NOW = "2026-06-01T00:00:00+00:00"
# As the first version had them in its queries.
ADD_LOG = (
    "INSERT INTO log (place, head, delta, vars, records) VALUES (?1 << 32 | ?2, ?3, ?4, ?5, ?6)"
)
MOVE_RUN = """
UPDATE runs SET
    revision = ?3, updated_at = ?4, current_node = ?5,
    base = ?6, weight = ?7, payloads = ?8, head = ?9, vars = ?10
WHERE number = ?1 AND revision = ?3 - 1 AND run_id = ?2
"""
CHAIN = "SELECT head, delta, vars FROM log WHERE place BETWEEN (?1 << 32 | ?2) AND (?1 << 32 | ?3)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    path.write_bytes(gzip.decompress((HERE / "v1" / "runs.db.gz").read_bytes()))
    return path


def without_sum(path: Path) -> int:
    ((found,),) = rows(
        path,
        "SELECT (SELECT count(*) FROM runs WHERE sum IS NULL) + "
        "(SELECT count(*) FROM commits WHERE state_sum IS NULL OR records_sum IS NULL)",
    )
    assert isinstance(found, int)
    return found


def test_rows_from_before_are_counted_and_new_ones_have_sums(path: Path) -> None:
    with open_sqlite(path) as store:
        old = without_sum(path)
        ((number,),) = rows(path, "SELECT (SELECT count(*) FROM runs) + count(*) FROM commits")
        assert old == number
        health = examine(store, now=NOW)
        assert health.ok
        assert health.to_dict()["without_sum"] == old
        told = CliRunner().invoke(root, ["verify", "--store", store.url])
        assert (told.exit_code, "without a checksum" in told.stdout) == (0, True), told.stdout
        waiting = next(run for run in store.list_runs() if run.actor_id == "waits for an event")
        before = verify_run(store, waiting.run_id)
        assert before.without_sum == before.revision + 1
        host_on(store).finish(waiting.run_id)
        after = verify_run(store, waiting.run_id)
        assert after.ok
        assert after.without_sum == before.revision < after.revision
        print(f"{old} rows without a checksum, {without_sum(path)} when one run has gone on")


def test_a_run_from_before_that_goes_on_is_bound_from_then_on(path: Path) -> None:
    with open_sqlite(path) as store:
        waiting = next(run for run in store.list_runs() if run.actor_id == "waits for an event")
        host_on(store).finish(waiting.run_id)
    rows(path, "UPDATE runs SET workflow_id = 'other' WHERE run_id = ?", waiting.run_id)
    with open_sqlite(path) as store, pytest.raises(StoreCorrupt, match="its checksum is"):
        store.load(waiting.run_id)


@pytest.mark.parametrize(
    ("table", "column"), [("runs", "sum"), ("commits", "state_sum"), ("commits", "records_sum")]
)
def test_a_sum_that_was_lost_is_found(table: str, column: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    script = Script("r", vars={"text": "x" * 5000})
    with open_sqlite(path) as store:
        for _ in range(3):
            store.commit(script.commit(vars={**script.state.vars, "n": script.revision}))
        last = f"(SELECT max(rowid) FROM {table})"
        rows(path, f"UPDATE {table} SET {column} = NULL WHERE rowid = {last}")
        verdict = verify_run(store, "r")
        assert not verdict.ok
        assert "lost its checksum" in " ".join(verdict.faults)


# ---- a process of the first version that has the file open


def test_the_version_before_writes_nothing_any_more_and_may_read_on(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as theirs:
        ask = theirs.cursor().execute
        number, run_id, revision, *state = ask(
            "SELECT number, run_id, revision, updated_at, current_node, base, weight, payloads, "
            "head, vars FROM runs WHERE status = 'waiting' ORDER BY number LIMIT 1"
        ).fetchall()[0]
        before = ask(CHAIN, (number, 1, revision)).fetchall()
        ((head, records),) = ask(
            "SELECT head, records FROM log WHERE place = ?1 << 32 | ?2", (number, revision)
        )
        row = (number, revision + 1, head, None, None, records)
        ask("BEGIN IMMEDIATE")
        ask(ADD_LOG, row)  # it could, and both statements are prepared
        ask(MOVE_RUN, (number, run_id, revision + 1, *state))
        ask("ROLLBACK")
        open_sqlite(path).close()
        ask("BEGIN IMMEDIATE")
        ask(MOVE_RUN, (number, run_id, revision + 1, *state))
        with pytest.raises(apsw.ConstraintError, match="upgrade this process"):
            ask(ADD_LOG, row)
        ask("ROLLBACK")
        assert ask(CHAIN, (number, 1, revision)).fetchall() == before
    with open_sqlite(path) as store:
        verdict = verify_run(store, run_id)
        assert (verdict.ok, verdict.revision) == (True, revision)


def test_no_commit_of_the_version_before_does_without_the_log() -> None:
    """Its statements that write to `runs`: all but the count of evidence go with one to `log`."""
    from abstractruntime.storage.sql import queries

    writing = {
        name
        for name, text in queries("sqlite").items()
        if re.match(r"(UPDATE|INSERT INTO) runs\b", text)
    }
    assert writing == {
        "create_run", "move_run", "hand_run", "turn_run", "rename_run", "count_evidence",
    }  # fmt: skip
    assert columns_set_by("count_evidence") == {"evidence"}


def columns_set_by(name: str) -> set[str]:
    """The columns that a statement sets."""
    from abstractruntime.storage.sql import queries

    assignments = queries("sqlite")[name].partition(" SET ")[2].partition(" WHERE ")[0]
    return {part.partition("=")[0].strip() for part in assignments.split(",")}
