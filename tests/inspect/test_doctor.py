"""The doctor names what crashes and gone runs left behind, and removes only what nobody reads."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from abstractruntime import RunState, RunStatus, Runtime, Snapshot, open_store
from abstractruntime.errors import StoreCorrupt
from abstractruntime.inspect.doctor import Health, examine
from abstractruntime.inspect.verify import all_run_ids, verify_runs
from abstractruntime.storage.base import Store
from abstractruntime.storage.leftovers import SETTLED_S, sweep
from abstractruntime.testing.commits import Script, time_at, waiting_for
from tests.inspect.test_runs import flow
from tests.storage.sqlite_ground import rows

NOW_S = 1_700_000_000.0
NOW = datetime.fromtimestamp(NOW_S, UTC).isoformat()
LONG_AGO = NOW_S - SETTLED_S - 1


@pytest.fixture(params=["files:///{}", "sqlite:///{}/runs.db"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(request.param.format(tmp_path))


def put(path: Path, *, at: float = LONG_AGO, text: bytes = b"x") -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text)
    os.utime(path, (at, at))
    return path.name


def found(health: Health) -> set[tuple[str, str, bool]]:
    return {(each.kind, each.name, each.path is not None) for each in health.leftovers}


def start(store: Store, **options: object) -> str:
    return Runtime(store=store).start(workflow=flow, **options)  # type: ignore[arg-type]


def test_a_store_whose_runs_are_all_right_has_nothing_to_repair(store: Store) -> None:
    run_id = start(store)
    Runtime(store=store).tick(workflow=flow, run_id=run_id)
    assert store.artifact_store is not None
    store.artifact_store.store(b"mine", run_id=run_id)
    store.artifact_store.store(b"nobody's")
    health = examine(store, now=NOW)
    assert health.ok
    assert health.verified == 1
    assert found(health) == set()


def test_what_dead_writers_left_may_go_and_nothing_else_does(store: Store, tmp_path: Path) -> None:
    assert store.artifact_store is not None
    kept = store.artifact_store.store(b"kept", run_id=start(store)).artifact_id
    artifacts = tmp_path / "artifacts"
    young = put(artifacts / ".0f-1-1-a.tmp", at=NOW_S - 1)
    gone = {
        ("temporary file", put(artifacts / ".0e-1-1-a.tmp"), True),
        ("artifact content", put(artifacts / "lonely.bin"), True),
    }
    lost = store.artifact_store.store(b"lost", artifact_id="lost", run_id=start(store)).artifact_id
    (artifacts / "lost.bin").unlink()
    os.utime(artifacts / "lost.meta", (LONG_AGO, LONG_AGO))
    stays = {("artifact metadata", "lost.meta", False)}
    health = examine(store, now=NOW)
    assert found(health) == gone | stays
    assert {each.name for each in sweep(health.leftovers)} == {name for _, name, _ in gone}
    names = {path.name for path in artifacts.iterdir()}
    assert names == {young, f"{kept}.bin", f"{kept}.meta", f"{lost}.meta"}
    assert found(examine(store, now=NOW)) == stays


def test_content_that_was_just_written_may_yet_get_its_metadata(
    store: Store, tmp_path: Path
) -> None:
    assert store.artifact_store is not None
    put(tmp_path / "artifacts" / "young.bin", at=NOW_S - SETTLED_S + 1)
    assert found(examine(store, now=NOW)) == set()


def test_a_ledger_whose_run_file_is_gone_is_named_and_nothing_is_well(tmp_path: Path) -> None:
    with open_store(f"files:///{tmp_path}") as store:
        run_id = start(store)
        Runtime(store=store).tick(workflow=flow, run_id=run_id)
        (tmp_path / f"run_{run_id}.json").unlink()
        health = examine(store, now=NOW)
    assert found(health) == {("ledger", f"ledger_{run_id}.jsonl", False)}
    assert not health.ok
    (lost,) = health.lost
    assert "the file of its run is gone" in lost.why
    assert health.to_dict()["leftovers"][0]["lost"]


def test_a_ledger_whose_run_never_was_is_named_and_explained(tmp_path: Path) -> None:
    with open_store(f"files:///{tmp_path}") as store:
        put(tmp_path / "ledger_r.jsonl", text=b'{"run_id":"r","revision":1,"last":true}\n')
        assert store.load("r") is None
        health = examine(store, now=NOW)
    assert found(health) == {("ledger", "ledger_r.jsonl", False)}
    assert "cut the creation of its run short" in health.leftovers[0].why
    assert health.ok


@pytest.mark.parametrize(
    "last",
    [b'{"revision":4,"effect":null,"result":{"kind":"evidence","outcome":{}}}', b"broken"],
    ids=["evidence", "broken"],
)
def test_a_ledger_of_a_gone_run_is_lost_whatever_its_last_line_is(
    tmp_path: Path, last: bytes
) -> None:
    with open_store(f"files:///{tmp_path}") as store:
        put(tmp_path / "ledger_r.jsonl", text=b'{"run_id":"r","revision":4}\n' + last + b"\n")
        with pytest.raises(StoreCorrupt, match="ledger_r"):
            store.load("r")
        assert [each.name for each in examine(store, now=NOW).lost] == ["ledger_r.jsonl"]


def test_torn_bytes_are_named_and_kept(tmp_path: Path) -> None:
    with open_store(f"files:///{tmp_path}") as store:
        put(tmp_path / "ledger_r.jsonl.torn", text=b'{"half')
        put(tmp_path / ".0e-1-1-a.tmp")
        health = examine(store, now=NOW)
        assert found(health) == {
            ("torn bytes", "ledger_r.jsonl.torn", False),
            ("temporary file", ".0e-1-1-a.tmp", True),
        }
        sweep(health.leftovers)
    assert (tmp_path / "ledger_r.jsonl.torn").read_bytes() == b'{"half'


def test_what_belongs_to_a_run_that_is_gone_is_an_orphan(store: Store) -> None:
    assert store.artifact_store is not None
    assert store.snapshot_store is not None
    here = start(store)
    child = start(store, parent_run_id="gone")
    orphan = store.artifact_store.store(b"gone's", run_id="gone").artifact_id
    store.artifact_store.store(b"shared", run_id=here)
    store.artifact_store.store(b"shared", run_id="gone")
    run = RunState.new(workflow_id="w", entry_node="n")
    snapshot = Snapshot.from_run(run=run, name="old")
    store.snapshot_store.save(snapshot)
    assert found(examine(store, now=NOW)) == {
        ("child", child, False),
        ("artifact", orphan, False),
        ("snapshot", snapshot.snapshot_id, False),
    }


def test_a_broken_ledger_is_found_unless_ledgers_are_left_out(tmp_path: Path) -> None:
    with open_store(f"files:///{tmp_path}") as store:
        run_id = start(store)
        Runtime(store=store).tick(workflow=flow, run_id=run_id)
        path = tmp_path / f"ledger_{run_id}.jsonl"
        path.write_bytes(path.read_bytes().replace(b"Well?", b"Hell?"))
        health = examine(store, now=NOW)
        assert health.broken is not None
        assert [each.run_id for each in health.broken] == [run_id]
        assert not health.ok
        quick = examine(store, now=NOW, verify=False)
        assert quick.broken is None
        assert quick.verified == 0
        assert quick.ok


def test_damage_of_the_medium_is_said(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with open_store(f"sqlite:///{path}") as store:
        for _ in range(200):
            start(store)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * 8192)
    with open_store(f"sqlite:///{path}") as store:
        health = examine(store, now=NOW)
    assert health.damage
    assert not health.ok
    assert health.to_dict()["damage"]


def test_an_index_that_does_not_fit_its_rows_is_said(tmp_path: Path) -> None:
    """By such an index a timer would never be found due."""
    path, until = tmp_path / "runs.db", time_at(77)
    script = Script("r")
    with open_store(f"sqlite:///{path}") as store:
        store.commit(script.commit())
        wait = waiting_for("k", until=until)
        store.commit(script.commit(status=RunStatus.WAITING, waiting=wait))
    before = path.read_bytes()
    places = [found.start() for found in re.finditer(re.escape(until.encode()), before)]
    assert len(places) >= 4  # the log, three times the run's row, the index of wake times
    for at in places:
        path.write_bytes(before[:at] + b"3" + before[at + 1 :])
        with open_store(f"sqlite:///{path}") as store:
            assert not examine(store, now=NOW).ok


def test_a_damaged_row_is_named_though_runs_cannot_be_listed(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with open_store(f"sqlite:///{path}") as store:
        good, bad = start(store), start(store)
        rows(path, "UPDATE runs SET workflow_id = 'other' WHERE run_id = ?", bad)
        health = examine(store, now=NOW)
        assert health.broken is not None
        assert [each.run_id for each in health.broken] == [bad]
        assert "the row of revision 1 is not as it was written" in health.broken[0].faults[0]
        assert {each.run_id for each in verify_runs(store, all_run_ids(store))} == {good, bad}
        assert store.load(good) is not None
