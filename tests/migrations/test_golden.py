"""Stores that earlier versions wrote: listed, verified, restored and continued to their ends."""

from __future__ import annotations

import gzip
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import RunState, RunStatus, Runtime, open_store
from abstractruntime.engine import liveness
from abstractruntime.errors import StoreTooNew
from abstractruntime.inspect.verify import verify_run
from abstractruntime.storage.base import Store
from abstractruntime.storage.migrate import newest
from abstractruntime.testing.clock import VirtualClock
from abstractruntime.testing.host import ScheduledHost
from tests.migrations.golden.flows import HANDLERS, HOST, POLICY, registry
from tests.migrations.golden.make import HERE, Maker, shown, write
from tests.storage.sqlite_ground import rows

VERSIONS = sorted(path.parent.name for path in HERE.glob("*/expected.json"))
KINDS = ("sqlite", "files")
PLACES = [(version, kind) for version in VERSIONS for kind in KINDS]


def unpacked(version: str, kind: str, folder: Path) -> str:
    """The URL of a copy of a golden store."""
    if kind == "files":
        shutil.copytree(HERE / version / "files", folder / "files")
        return f"files:///{folder / 'files'}"
    packed = (HERE / version / "runs.db.gz").read_bytes()
    (folder / "runs.db").write_bytes(gzip.decompress(packed))
    return f"sqlite:///{folder / 'runs.db'}"


@pytest.fixture(autouse=True)
def same_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the host where the golden drivers died, though booted since."""
    monkeypatch.setattr(liveness, "_host", lambda: HOST)


@pytest.fixture(params=PLACES, ids=lambda place: f"{place[0]} {place[1]}")
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def store(place: tuple[str, str], tmp_path: Path) -> Iterator[Store]:
    with open_store(unpacked(*place, tmp_path)) as store:
        yield store


@pytest.fixture
def expected(place: tuple[str, str]) -> dict[str, dict[str, Any]]:
    version, kind = place
    found: dict[str, Any] = json.loads((HERE / version / "expected.json").read_text())
    return found[kind]


def host_on(store: Store) -> ScheduledHost:
    clock, workflows = VirtualClock("2026-06-01T00:00:00.000000+00:00", step=0.001), registry()
    runtime = Runtime(
        store=store,
        context=clock,
        workflow_registry=workflows,
        effect_handlers=HANDLERS,
        effect_policy=POLICY,
    )
    return ScheduledHost(runtime, clock, workflows)


def verified(store: Store, run_ids: list[str]) -> int:
    """How many records there are, all of them right."""
    verdicts = [verify_run(store, run_id) for run_id in run_ids]
    assert [verdict for verdict in verdicts if not verdict.ok] == []
    return sum(verdict.records for verdict in verdicts)


def test_every_run_is_listed_as_it_was_left(
    store: Store, expected: dict[str, dict[str, Any]]
) -> None:
    assert shown(store) == expected
    statuses = Counter(run["status"] for run in expected.values())
    for status in RunStatus:
        assert len(store.list_runs(status=status)) == statuses[status.value]
    standings = Counter(run["standing"] for run in expected.values())
    # `driven` ends with the process that drives, so no store at rest has one.
    assert set(standings) == {"waiting", "timed", "queued", "parked", "recoverable", "ended"}
    assert set(statuses) == {status.value for status in RunStatus}
    print(f"{store.url}: {len(expected)} runs, {dict(statuses)}, {dict(standings)}")


def test_every_ledger_verifies(store: Store, expected: dict[str, dict[str, Any]]) -> None:
    count = verified(store, [run["run_id"] for run in expected.values()])
    assert count == sum(run["records"] for run in expected.values())
    print(f"{store.url}: {count} records are right")


def ended(host: ScheduledHost, name: str, run_id: str) -> RunState:
    """The run at its end; what made it fail is mended first."""
    run = host.runtime.get_state(run_id)
    if run.status is RunStatus.FAILED:
        run.vars["mended"] = True
        host.runtime.run_store.save(run)
        host.runtime.reopen(run_id)
    return host.finish(run_id)


def test_every_run_goes_on_to_its_end(store: Store, expected: dict[str, dict[str, Any]]) -> None:
    host = host_on(store)
    before = verified(store, [run["run_id"] for run in expected.values()])
    ends = {
        name: ended(host, name, run["run_id"])
        for name, run in expected.items()
        if not name.endswith(", child")
    }
    for name, run in ends.items():
        wanted = RunStatus.CANCELLED if name.startswith("cancelled") else RunStatus.COMPLETED
        assert run.status is wanted, f"{name}: {run.status} {run.error}"
    assert {run.status for run in store.list_runs(limit=1000)} == {
        RunStatus.COMPLETED,
        RunStatus.CANCELLED,
    }
    results = {"first": {"done": "first"}, "second": {"done": "second"}}
    for name in ("started", "parked", "completed", "rewound", "left by its driver"):
        assert ends[name].output == {"by": "golden", "results": results}, name
    assert ends["has grown"].output["turn"] == 12
    assert ends["has grown"].vars["text"].endswith("turn 11. turn 12. ")
    assert ends["between attempts"].output["results"] == {"answer": {"attempt": 2}}
    answer = ends["has a message of its child"].output["results"]["answer"]
    assert answer["output"]["results"] == {"answer": {"n": 1}}
    counted = ends["waits for a long child"].output["results"]["answer"]["output"]
    assert counted == {"counted": 150}
    after = verified(store, [run.run_id for run in store.list_runs(limit=1000)])
    print(f"{store.url}: {len(ends)} runs went on to their ends, {before} records became {after}")


@pytest.mark.parametrize("fresh", [False, True], ids=["rewound", "fresh"])
def test_a_snapshot_is_restored(
    store: Store, expected: dict[str, dict[str, Any]], fresh: bool
) -> None:
    host, snapshots = host_on(store), store.snapshot_store
    assert snapshots is not None
    (taken,) = snapshots.list(tag="GOLDEN", query="before")
    run_id = expected["restored afresh"]["run_id"]
    assert taken.run_id == run_id
    assert host.finish(run_id).status is RunStatus.COMPLETED
    run = host.runtime.restore(taken.snapshot_id, fresh=fresh)
    assert (run.status, run.current_node) == (RunStatus.WAITING, "wait")
    assert host.finish(run_id).output["results"] == {"answer": {"choice": "yes"}}
    verified(store, [run_id])


@pytest.mark.parametrize("version", VERSIONS)
def test_artifacts_are_there(version: str, tmp_path: Path) -> None:
    with open_store(unpacked(version, "files", tmp_path)) as store:
        artifacts = store.artifact_store
        assert artifacts is not None
        assert artifacts.load_json("chosen") == {"golden": [1, 2]}
        (mine,) = artifacts.list_by_run("some-run")
        assert artifacts.load_text(mine.artifact_id) == "Golden text, é"
        assert [found.artifact_id for found in artifacts.search(tags={"kind": "json"})] == [
            "chosen"
        ]


def test_the_present_version_writes_what_the_last_golden_store_holds(tmp_path: Path) -> None:
    """Where it does not, another golden store is to be made, and the old ones stay."""
    write(tmp_path, say=lambda text: print(f"now: {text}"))
    now = json.loads((tmp_path / "expected.json").read_text())
    then = json.loads((HERE / VERSIONS[-1] / "expected.json").read_text())
    for found in (*now.values(), *then.values()):
        for run in found.values():
            del run["run_id"]
    assert now == then


def test_all_golden_stores_are_small() -> None:
    for version in VERSIONS:
        packed = (HERE / version / "runs.db.gz").stat().st_size
        plain = sum(path.stat().st_size for path in (HERE / version).rglob("*") if path.is_file())
        print(f"{version}: {packed} bytes of SQLite, {plain} bytes in all")
        assert packed < 100_000
        assert plain < 500_000


def test_tables_of_the_next_version_are_refused_with_the_way_out(tmp_path: Path) -> None:
    url = unpacked(VERSIONS[-1], "sqlite", tmp_path)
    rows(tmp_path / "runs.db", f"PRAGMA user_version = {newest('sqlite') + 1}")
    before = (tmp_path / "runs.db").read_bytes()
    with pytest.raises(StoreTooNew) as caught:
        open_store(url)
    assert "fix: upgrade abstractruntime" in caught.value.explain()
    assert (tmp_path / "runs.db").read_bytes() == before


def test_a_maker_leaves_nobody_driving(tmp_path: Path) -> None:
    with open_store("memory://") as store:
        Maker(store).make()
        assert "driven" not in {run["standing"] for run in shown(store).values()}
