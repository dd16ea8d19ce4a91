"""A medium that fails, fills up or is taken: what callers hear, and what stands afterwards."""

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from abstractruntime.core.commit import Commit
from abstractruntime.errors import (
    RevisionConflict,
    StoreBusy,
    StoreFault,
    StoreFull,
    StoreUnavailable,
)
from abstractruntime.storage.relational.store import RelationalStore
from abstractruntime.storage.sqlite import open_sqlite
from abstractruntime.testing.commits import Script, evidence_of
from tests.storage.sqlite_ground import on_medium, python, rows, said

# ---- what is synced


def test_at_power_every_commit_is_synced_before_it_is_acknowledged(tmp_path: Path) -> None:
    with on_medium(tmp_path / "runs.db") as (store, medium):
        script = Script("r")
        store.commit(script.commit())  # it also makes the log file
        for _ in range(5):
            before = medium.syncs
            store.commit(script.commit())
            assert medium.syncs == before + 1


def test_at_process_only_urgent_commits_are_synced(tmp_path: Path) -> None:
    with on_medium(tmp_path / "runs.db", durability="process") as (store, medium):
        script = Script("r")
        store.commit(script.commit())
        before = medium.syncs
        store.commit(script.commit())
        assert medium.syncs == before
        store.commit(replace(script.commit(), urgent=True))
        assert medium.syncs == before + 1
        assert store.facts()["synchronous"] == 2
        store.commit(script.commit())
        assert medium.syncs == before + 1
        assert store.facts()["synchronous"] == 1


def test_evidence_and_snapshots_are_synced_at_any_durability(tmp_path: Path) -> None:
    with on_medium(tmp_path / "runs.db", durability="process") as (store, medium):
        store.commit(Script("r").commit())
        before = medium.syncs
        store.keep_evidence(evidence_of("r", 1))
        store.save_row(snapshot_id="s", run_id="r", created_at="t", text="{}")
        assert medium.syncs == before + 2


# ---- errors of the medium


def test_after_a_failed_sync_nothing_is_believed_until_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with on_medium(path) as (store, medium):
        script = Script("r")
        store.commit(script.commit())
        medium.fail("sync", apsw.IOError)
        with pytest.raises(StoreUnavailable, match="failed") as caught:
            store.commit(script.commit())
        assert "open it again" in caught.value.how_to_fix
        medium.mend()
        for use in (lambda: store.load("r"), lambda: store.commit(Script("other").commit())):
            with pytest.raises(StoreUnavailable):
                use()
    with open_sqlite(path) as again:
        loaded = again.load("r")
        assert loaded is not None
        revision = loaded.run.checkpoint.revision  # type: ignore[union-attr]
        assert revision in (1, 2)  # it was not acknowledged: either is right
        assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_failed_store_is_opened_anew_beside_those_who_still_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs.db"
    with open_sqlite(path) as failed:
        failed.commit(Script("r").commit())
        failed._database.fail(StoreUnavailable("the disk came off"))
        with open_sqlite(path) as fresh:
            assert fresh is not failed
            assert fresh.load("r") is not None
        with pytest.raises(StoreUnavailable, match="came off"):
            failed.load("r")


def test_a_full_medium_refuses_what_does_not_fit_and_goes_on_when_it_has_space(
    tmp_path: Path,
) -> None:
    with on_medium(tmp_path / "runs.db") as (store, medium):
        script = Script("r")
        store.commit(script.commit())
        medium.fail("write", apsw.FullError)
        lost = script.fork()
        with pytest.raises(StoreFull, match="no space left"):
            store.commit(lost.begin())
        assert store.load("r") is not None
        medium.mend()
        store.commit(script.begin())
        assert len(store.list_records("r")) == 1


def test_of_a_batch_that_does_not_fit_each_member_hears_its_own_result(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with on_medium(path) as (store, _):
        for n in range(4):
            store.commit(Script(f"r{n}").commit())
        limit(store, pages=rows(path, "PRAGMA page_count")[0][0] + 30)
        scripts = [Script.of(loaded(store, f"r{n}")) for n in range(4)]
        sizes = [10, 400_000, 10, 400_000]
        commits = [
            script.commit(vars={"text": "x" * size})
            for script, size in zip(scripts, sizes, strict=True)
        ]
        results = together(store, commits)
        assert [type(result) for result in results] == [type(None), StoreFull] * 2
        assert [revision(store, f"r{n}") for n in range(4)] == [2, 1, 2, 1]


def limit(store: RelationalStore, *, pages: int) -> None:
    """From now on the database has room for so many pages."""
    session = store._database.session
    session._ready().pragma("max_page_count", pages)  # type: ignore[attr-defined]


def loaded(store: RelationalStore, run_id: str):  # type: ignore[no-untyped-def]
    found = store.load(run_id)
    assert found is not None
    return found


def revision(store: RelationalStore, run_id: str) -> int:
    checkpoint = loaded(store, run_id).run.checkpoint
    return int(checkpoint.revision)


def together(store: RelationalStore, commits: list[Commit]) -> list[Exception | None]:
    """The results of commits that share one transaction."""
    assert store._group.quiet(timeout=5)
    handles = [store.submit(commit) for commit in commits]
    store._group.resume()
    results: list[Exception | None] = []
    for handle in handles:
        try:
            handle.result()
            results.append(None)
        except StoreFault as fault:
            results.append(fault)
    return results


# ---- other processes

HOLD = """
import sys, apsw
connection = apsw.Connection(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


def test_a_lock_that_another_process_keeps_is_waited_for_and_then_reported(
    tmp_path: Path,
) -> None:
    path = tmp_path / "runs.db"
    with open_sqlite(path, busy_timeout=0.2) as store:
        script = Script("r")
        store.commit(script.commit())
        holder = python(HOLD, str(path))
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreBusy, match=r"locked by another process for 0\.2 s"):
            store.commit(script.fork().begin())
        assert store.load("r") is not None  # readers do not wait
        waiter = threading.Thread(target=store.commit, args=(script.begin(),))
        waiter.start()
        holder.stdin.write("go on\n")
        holder.stdin.flush()
        waiter.join()
        said(holder)
        assert len(store.list_records("r")) == 1


RACE = """
import sys
from abstractruntime.errors import RevisionConflict
from abstractruntime.storage.sqlite import open_sqlite
from abstractruntime.testing.commits import Script
won = 0
with open_sqlite(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    while won < 40:
        script = Script.of(store.load("r"))
        n = script.state.vars["n"] + 1
        try:
            store.commit(script.commit(vars={"n": n}))
            won += 1
        except RevisionConflict:
            pass
"""


def test_processes_that_move_one_run_lose_no_update(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with open_sqlite(path) as store:
        store.commit(Script("r", vars={"n": 0}).commit())
        racers = [python(RACE, str(path)) for _ in range(3)]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        for racer in racers:
            said(racer)
        run = loaded(store, "r").run
        assert run.vars == {"n": 120}
        assert run.checkpoint.revision == 121


COMMIT_ALWAYS = """
import sys
from abstractruntime.storage.sqlite import open_sqlite
from abstractruntime.testing.commits import Script
store = open_sqlite(sys.argv[1])
script = Script("r", vars={"text": "x" * 6000})
n = 0
while True:
    n += 1
    store.commit(script.commit(vars={"text": "x" * 6000, "n": n}))
    print(n, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    for round in range(3):
        process = python(COMMIT_ALWAYS.replace('"r"', f'"r{round}"'), str(path))
        assert process.stdout is not None
        seen = 0
        for _ in range(60 + 7 * round):
            seen = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        rest = process.communicate()[0].split()
        acknowledged = int(rest[-1]) if rest else seen
        with open_sqlite(path) as store:
            run = loaded(store, f"r{round}").run
            assert run.vars["n"] in (acknowledged, acknowledged + 1)
            assert run.checkpoint.revision == run.vars["n"]
            for revision in range(1, run.checkpoint.revision + 1):
                assert store.load_at(f"r{round}", revision).run.vars["n"] == revision
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_refused_commit_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with open_sqlite(path) as store:
        script = Script("r")
        store.commit(script.commit())
        late = script.fork()
        store.commit(script.begin())
        before = rows(path, "SELECT count(*) FROM log"), rows(path, "SELECT * FROM runs")
        with pytest.raises(RevisionConflict):
            store.commit(late.begin(vars={"other": 1}))
        assert (rows(path, "SELECT count(*) FROM log"), rows(path, "SELECT * FROM runs")) == before
