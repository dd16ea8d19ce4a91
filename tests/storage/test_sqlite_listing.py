"""Listing runs: right order while runs move, and by an index where there are many."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.checkpoint import Driver
from abstractruntime.core.models import RunStatus, WaitReason
from abstractruntime.storage.relational.store import RelationalStore
from abstractruntime.storage.sql import queries
from abstractruntime.storage.sqlite_file import SqliteFile
from abstractruntime.testing.commits import Script, message_to, time_at, waiting_for
from tests.storage.sqlite_ground import rows

ALIVE = Driver("host", "boot", 1, "start", "token")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[RelationalStore]:
    with RelationalStore(SqliteFile(str(path), durability="process")) as store:
        yield store


def ids(runs: list[Any]) -> list[str]:
    return [run.run_id for run in runs]


def test_runs_are_listed_newest_first_whatever_they_do_between(store: RelationalStore) -> None:
    scripts = {name: Script(name, start=10.0 * n) for n, name in enumerate("abcdef")}
    for script in scripts.values():
        store.commit(script.commit())
    moves: list[tuple[str, dict[str, Any]]] = [
        ("a", {}),  # a running one moves: no index knows
        ("b", {"status": RunStatus.WAITING, "waiting": waiting_for("k")}),
        ("c", {"status": RunStatus.COMPLETED}),
        ("b", {}),  # edited while it waits
        ("a", {"status": RunStatus.FAILED, "error": "no"}),
        ("d", {}),
        ("a", {"status": RunStatus.RUNNING, "error": None}),
        ("a", {}),
        ("e", {"status": RunStatus.CANCELLED}),
    ]
    for n, (name, fields) in enumerate(moves):
        scripts[name].clock = 100.0 + n
        store.commit(scripts[name].commit(**fields))
        newest = sorted(scripts.values(), key=lambda s: s.state.updated_at, reverse=True)
        assert ids(store.list_runs()) == [script.run_id for script in newest]
        assert ids(store.list_runs(limit=2)) == [script.run_id for script in newest[:2]]
        for status in RunStatus:
            expected = [s.run_id for s in newest if s.state.status is status]
            assert ids(store.list_runs(status=status)) == expected


def test_wake_times_count_for_live_runs_only(store: RelationalStore) -> None:
    sleeper = Script("sleeper")
    store.commit(sleeper.commit())
    wait = waiting_for(None, until="2026-01-01T12:00:00+02:00", reason=WaitReason.UNTIL)  # type: ignore[arg-type]
    store.commit(sleeper.commit(status=RunStatus.WAITING, waiting=wait))
    queued = Script("queued")
    store.commit(queued.commit(kernel={"queued_at": time_at(5)}))
    assert store.next_wake() == time_at(5)
    assert store.list_due("2026-01-01T09:59:59+00:00") == ["queued"]
    assert store.list_due("2026-01-01T11:00:00+01:00") == ["queued", "sleeper"]
    due = store.run_store.list_due_wait_until(now_iso="2026-01-01T10:00:00+00:00")  # type: ignore[attr-defined]
    assert ids(due) == ["sleeper"]
    store.commit(queued.commit(status=RunStatus.COMPLETED))
    store.commit(sleeper.commit(status=RunStatus.CANCELLED, waiting=None))
    assert store.next_wake() is None
    assert store.list_due("2030-01-01T00:00:00+00:00") == []


def test_driven_runs_are_found_without_their_vars(store: RelationalStore) -> None:
    script = Script("r", vars={"text": "x" * 9000})
    store.commit(script.commit())
    assert store.list_driven() == []
    store.commit(script.begin(vars={"text": "y" * 9000}))
    store.commit(script.commit(kernel={"driver": ALIVE}))
    (found,) = store.list_driven()
    assert found.checkpoint is not None
    assert found.checkpoint.driver == ALIVE
    assert found.vars == {}
    store.commit(script.commit(status=RunStatus.FAILED))
    assert store.list_driven() == []


def test_a_prefix_finds_ids_that_begin_so_and_no_others(store: RelationalStore) -> None:
    for name in ("ab", "abc", "abd", "aB", "a%", "a_", "b", "ā"):
        store.commit(Script(name).commit())
    assert store.find_prefix("ab", limit=10) == ["ab", "abc", "abd"]
    assert store.find_prefix("ab") == ["ab", "abc"]
    assert store.find_prefix("a%") == ["a%"]
    assert store.find_prefix("c") == []


def test_fields_that_a_host_edits_are_listed_as_edited(store: RelationalStore) -> None:
    script = Script("r", parent_run_id="p")
    store.commit(script.commit())
    for status in (RunStatus.RUNNING, RunStatus.WAITING):
        fields = {"workflow_id": f"flow-{status.value}", "parent_run_id": f"p-{status.value}"}
        waiting = waiting_for("k") if status is RunStatus.WAITING else None
        store.commit(script.commit(status=status, waiting=waiting, session_id=None, **fields))
        assert ids(store.list_runs(workflow_id=f"flow-{status.value}")) == ["r"]
        assert ids(store.list_children(parent_run_id=f"p-{status.value}")) == ["r"]
        assert store.load("r").run.session_id is None  # type: ignore[union-attr]
    assert store.list_runs(workflow_id="flow") == []


def test_others_writes_are_noticed(store: RelationalStore, path: Path) -> None:
    seen = store.changes()
    assert store.changes() == seen
    store.commit(Script("r").commit())
    assert store.changes() > seen
    seen = store.changes()
    rows(path, "INSERT INTO message_keys VALUES ('r', 'k')")
    assert store.changes() > seen


def test_a_reader_does_not_wait_for_a_writer(store: RelationalStore) -> None:
    store.commit(Script("r").commit())
    session: Any = store._database.session
    session.begin(urgent=False)  # a transaction that takes its time
    try:
        done = threading.Thread(target=store.load, args=("r",))
        done.start()
        done.join(5)
        assert not done.is_alive()
        assert store.list_runs() != []
    finally:
        session.rollback()


def test_more_threads_than_connections_may_read(store: RelationalStore) -> None:
    store.commit(Script("r", vars={"text": "x" * 100_000}).commit())
    found: list[bool] = []

    def read() -> None:
        for _ in range(20):
            found.append(store.load("r") is not None)

    threads = [threading.Thread(target=read) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 400


# ---- plans: what must not read every run

PLANS = {
    "runs_at_rest": (("waiting", None, None, 10), "runs_by_status (status=?)"),
    "runs_in_motion": (("running", None, None, 10), "runs_by_status (status=?)"),
    "runs_waiting_until": ((time_at(0), 10), "runs_to_wake (wake_at<?)"),
    "runs_driven": ((10,), "runs_driven (driven=?)"),
    "runs_of_parent": (("p", None), "runs_by_parent (parent_run_id=?)"),
    "due": ((time_at(0), 10), "runs_to_wake (wake_at<?)"),
    "next_wake": ((), "runs_to_wake"),
    "answered": ((None, 10), "SCAN messages USING COVERING INDEX messages_to"),
    "awaiting": (("k", 10), "awaited_by_key (key=?)"),
    "next_messages": (("r", "k", time_at(0), 10), "messages_to (run_id=? AND name=?)"),
    "prefix": (("a", 2), "sqlite_autoindex_runs_1 (run_id>?)"),
    "run": (("r",), "sqlite_autoindex_runs_1 (run_id=?)"),
    "chain": ((1, 1, 9), "commits USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
    "base_at": ((1, 9), "commits USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
    "records": ((1, 0, 9), "commits USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
    "messages_named": (("r", "k"), "messages_to (run_id=? AND name=?)"),
    "consume_message": (("r", "m"), "sqlite_autoindex_messages_1 (run_id=? AND message_id=?)"),
    "evidence": (("r",), "evidence_of (run_id=?)"),
    "move_run": ((None,) * 11, "runs USING INTEGER PRIMARY KEY (rowid=?)"),
    "turn_run": ((None,) * 17, "runs USING INTEGER PRIMARY KEY (rowid=?)"),
}


@pytest.mark.parametrize("query", PLANS)
def test_a_query_goes_by_its_index(store: RelationalStore, path: Path, query: str) -> None:
    values, index = PLANS[query]
    for n in range(3):
        store.commit(Script(f"r{n}").commit(sent=[message_to("r0", "k", message_id=f"m{n}")]))
    store.close()
    plan = rows(path, "EXPLAIN QUERY PLAN " + queries("sqlite")[query], *values)
    steps = " | ".join(str(row[3]) for row in plan)
    assert index in steps
    if query not in ("answered", "runs_in_motion", "runs_waiting_until"):
        assert "TEMP B-TREE" not in steps
