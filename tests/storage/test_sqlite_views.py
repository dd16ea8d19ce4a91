"""What others see of a SQLite store: the api's two stores, snapshots, and the public SQL views."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from abstractruntime.core.models import Effect, RunState, RunStatus, StepRecord, WaitReason
from abstractruntime.errors import RevisionConflict
from abstractruntime.storage.base import LedgerStore, QueryableRunStore, RunStore
from abstractruntime.storage.ledger_chain import verify_ledger_chain
from abstractruntime.storage.relational.shared import SharedStore
from abstractruntime.storage.sqlite import SqliteLedgerStore, SqliteRunStore, open_sqlite
from abstractruntime.testing.commits import Script, waiting_for


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SharedStore]:
    with open_sqlite(path) as store:
        yield store


def new_run(run_id: str = "r") -> RunState:
    run = RunState.new(workflow_id="flow", entry_node="first", vars={"n": 0})
    run.run_id = run_id
    return run


def record_of(run: RunState, text: str = "hello") -> StepRecord:
    effect = Effect("llm_call", {"prompt": text}, "answer")
    return StepRecord.start(run=run, node_id="first", effect=effect).finish_success({"said": text})


# ---- the api's stores


def test_the_two_views_of_a_file_are_views_of_one_store(path: Path, store: SharedStore) -> None:
    runs, ledger = SqliteRunStore(path), SqliteLedgerStore(path)
    assert isinstance(runs, RunStore)
    assert isinstance(runs, QueryableRunStore)
    assert isinstance(ledger, LedgerStore)
    assert runs.store is ledger.store is store
    assert store.run_store.store is store
    assert store.ledger_store.store is store


def test_a_host_saves_loads_changes_and_saves_again(path: Path) -> None:
    runs = SqliteRunStore(path)
    run = new_run()
    runs.save(run)
    loaded = runs.load("r")
    assert loaded is not None
    for n in (1, 2):
        loaded.vars["n"] = n
        loaded.current_node = f"node-{n}"
        runs.save(loaded)
    again = runs.load("r")
    assert again is not None
    assert (again.vars, again.current_node) == ({"n": 2}, "node-2")
    kinds = [record["result"]["kind"] for record in SqliteLedgerStore(path).list("r")]
    assert kinds == ["edited", "edited"]


def test_an_object_older_than_what_is_stored_is_refused(path: Path) -> None:
    runs = SqliteRunStore(path)
    runs.save(new_run())
    old, new = runs.load("r"), runs.load("r")
    assert old is not None
    assert new is not None
    new.vars["n"] = 1
    runs.save(new)
    old.vars["n"] = 2
    with pytest.raises(RevisionConflict) as caught:
        runs.save(old)
    assert (caught.value.where["expected"], caught.value.where["found"]) == (1, 2)
    old.checkpoint = None  # without a revision it overwrites
    runs.save(old)
    assert runs.load("r").vars == {"n": 2}  # type: ignore[union-attr]


def test_the_query_verbs_answer_as_the_api_says(path: Path) -> None:
    runs = SqliteRunStore(path)
    runs.save(new_run("child"))
    waiting = new_run("parent")
    waiting.status = RunStatus.WAITING
    waiting.waiting = waiting_for("k", until="2026-01-01T00:00:05+00:00", reason=WaitReason.UNTIL)
    runs.save(waiting)
    assert [run.run_id for run in runs.list_runs(wait_reason=WaitReason.UNTIL)] == ["parent"]
    assert [run.run_id for run in runs.list_runs(limit=1)] == ["parent"]
    due = runs.list_due_wait_until(now_iso="2026-01-01T00:00:05+00:00")
    assert [run.run_id for run in due] == ["parent"]
    assert runs.list_due_wait_until(now_iso="2026-01-01T00:00:04+00:00") == []


# ---- ledgers


def test_an_appended_record_is_a_commit_of_its_own(path: Path) -> None:
    runs, ledger = SqliteRunStore(path), SqliteLedgerStore(path)
    run = new_run()
    runs.save(run)
    for n in range(3):
        ledger.append(record_of(run, f"line {n}"))
    lines = ledger.list("r")
    assert [line["result"] for line in lines] == [{"said": f"line {n}"} for n in range(3)]
    assert [line["revision"] for line in lines] == [2, 3, 4]
    assert verify_ledger_chain(lines)["ok"]
    assert runs.load("r").checkpoint.chain_head == lines[-1]["record_hash"]  # type: ignore[union-attr]


def test_a_ledger_keeps_records_of_runs_that_are_elsewhere(path: Path) -> None:
    ledger = SqliteLedgerStore(path)
    elsewhere = new_run("elsewhere")
    for n in range(3):
        ledger.append(record_of(elsewhere, f"line {n}"))
    lines = ledger.list("elsewhere")
    assert [line["effect"]["payload"] for line in lines] == [
        {"prompt": f"line {n}"} for n in range(3)
    ]
    assert [line["revision"] for line in lines] == [0, 0, 0]
    assert ledger.list("unknown") == []


def test_records_from_before_a_run_came_here_stay_ahead_of_its_own(path: Path) -> None:
    runs, ledger = SqliteRunStore(path), SqliteLedgerStore(path)
    run = new_run()
    ledger.append(record_of(run, "before"))
    runs.save(run)
    ledger.append(record_of(run, "after"))
    assert [line["result"]["said"] for line in ledger.list("r")] == ["before", "after"]
    assert [line["revision"] for line in ledger.store.list_records("r", after=1)] == [2]


def test_a_record_that_meets_the_creation_of_its_run_goes_to_the_run(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run()
    keep = store.keep_stray

    def created_meanwhile(record: StepRecord) -> None:
        monkeypatch.setattr(store, "keep_stray", keep)
        store.run_store.save(run)
        keep(record)

    monkeypatch.setattr(store, "keep_stray", created_meanwhile)
    store.ledger_store.append(record_of(run))
    assert [line["revision"] for line in store.list_records("r")] == [2]


# ---- evidence and mail of runs that come later


def test_evidence_kept_before_its_run_is_counted(store: SharedStore) -> None:
    from abstractruntime.testing.commits import evidence_of

    for _ in range(2):
        store.keep_evidence(evidence_of("r", 1))
    store.commit(Script("r").commit())
    store.keep_evidence(evidence_of("r", 2))
    loaded = store.load("r")
    assert loaded is not None
    assert loaded.run.checkpoint is not None
    assert loaded.run.checkpoint.evidence == 2
    assert loaded.run.checkpoint.revision == 1


# ---- the public views


def test_the_public_views_are_readable_with_nothing_but_sqlite(path: Path) -> None:
    if sqlite3.sqlite_version_info < (3, 38):
        pytest.skip("the stdlib's SQLite is too old to read JSON")
    with open_sqlite(path) as store:
        script = Script("r", vars={"n": 1})
        store.commit(script.commit())
        store.commit(script.begin({"prompt": "é"}))
        store.commit(script.finish({"answer": 42}))
        store.commit(script.commit(records=[script.note("moved", to="second")]))
        store.commit(script.commit(status=RunStatus.FAILED, error="it broke"))
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        (run,) = connection.execute("SELECT * FROM public_runs_v1").fetchall()
        lines = connection.execute(
            "SELECT * FROM public_ledger_v1 WHERE run_id = 'r' ORDER BY revision, line"
        ).fetchall()
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT * FROM public_ledger_v1 WHERE run_id = 'r'"
        ).fetchall()
    finally:
        connection.close()
    assert (run["status"], run["error"], run["revision"]) == ("failed", "it broke", 5)
    assert json.loads(run["vars"])["n"] == 1
    assert [(*tuple(line)[:2], line["status"]) for line in lines] == [
        ("r", 2, "started"),
        ("r", 3, "completed"),
        ("r", 4, "completed"),
    ]
    assert [line["effect_type"] for line in lines] == ["llm_call", "llm_call", None]
    assert [line["kind"] for line in lines] == [None, None, "moved"]
    assert json.loads(lines[1]["result"]) == {"answer": 42}
    assert all("SCAN log" not in str(step["detail"]) for step in plan)
