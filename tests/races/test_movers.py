"""Threads and processes move the same runs: each effect once, and losers know what they lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Runtime, open_store
from abstractruntime.core.commit import Commit
from abstractruntime.engine import advance
from abstractruntime.storage import memory_rows, sqlite_file
from abstractruntime.storage.base import Store
from abstractruntime.storage.memory_store import MemoryStore
from abstractruntime.storage.relational.desk import WritingDesk
from abstractruntime.storage.relational.trail import Trail
from abstractruntime.storage.sql import queries
from abstractruntime.testing.witness import FileWitness, Witness
from tests.faults.campaign import context
from tests.races.race import Meeting, Told, race, raced, violations

RUNS = 100
THREADS = 8
PROCESSES = 4


def started(store: Store, count: int = RUNS) -> tuple[Runtime, Witness, Any, list[str]]:
    witness = Witness()
    spec = raced(witness, Meeting(THREADS))
    runtime = Runtime(store=store)
    return runtime, witness, spec, [runtime.start(workflow=spec) for _ in range(count)]


@pytest.mark.parametrize("url", ["memory://", "sqlite", "files"])
def test_eight_threads_that_move_the_same_runs_perform_each_effect_once(
    url: str, tmp_path: Path
) -> None:
    with open_store(url if url == "memory://" else f"{url}:///{tmp_path}/runs.db") as store:
        runtime, witness, spec, run_ids = started(store)
        told = Told()
        race(runtime, spec, run_ids, threads=THREADS, told=told)
        assert violations(store, run_ids, witness.performed, told) == []
    assert told.typed["RunBusy"] >= THREADS - 1
    print(f"{THREADS} threads, {RUNS} runs: losers were told {dict(told.typed)}")


def compete(
    url: str, folder: Path, name: str, run_ids: Sequence[str], threads: int, here: Any, barrier: Any
) -> None:
    """What each process does; it sends what its movers were told."""
    spec = raced(FileWitness(folder / "effects"))
    told = Told()
    with open_store(url) as store:
        runtime = Runtime(store=store)
        race(runtime, spec, run_ids, threads=threads, told=told, names=name, ready=barrier.wait)
    here.send(told)


def compete_in_processes(
    url: str, folder: Path, run_ids: Sequence[str], *, processes: int, threads: int
) -> Told:
    made = context()
    barrier = made.Barrier(processes)
    told, ends, children = Told(), [], []
    for number in range(processes):
        there, here = made.Pipe(duplex=False)
        arguments = (url, folder, f"{number}:", run_ids, threads, here, barrier)
        child = made.Process(target=compete, args=arguments, daemon=True)
        child.start()
        here.close()
        ends.append(there)
        children.append(child)
    for there in ends:
        told.add(there.recv())
    for child in children:
        child.join(10)
        assert child.exitcode == 0
    return told


@pytest.mark.timeout(60, method="signal")  # 32 movers on two busy cores
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "files"])
def test_four_processes_of_eight_threads_perform_each_effect_once(
    kind: str, tmp_path: Path
) -> None:
    url = f"{kind}:///{tmp_path}/runs.db"
    with open_store(url) as store:
        _, _, _, run_ids = started(store)
    told = compete_in_processes(url, tmp_path, run_ids, processes=PROCESSES, threads=THREADS)
    with open_store(url) as store:
        performed = FileWitness(tmp_path / "effects").performed
        assert violations(store, run_ids, performed, told) == []
    assert len({seen.pid for seen in performed}) == PROCESSES, "all processes had a share"
    assert told.typed["RunBusy"] > 0
    print(f"{PROCESSES} × {THREADS} movers, {RUNS} runs: losers were told {dict(told.typed)}")


# ---- mutants: the judge above must not let them pass


class NoRevisionCheck(MemoryStore):
    """Writes a commit on top of whatever is there."""

    def _refuse(self, commits: Any) -> None:
        pass


def unchecked_queries(dialect: str) -> dict[str, str]:
    """The SQL as it would be if nobody had thought of the revision."""
    texts = dict(queries(dialect))
    for name in ("move_run", "turn_run"):
        assert " AND revision = ?3 - 1" in texts[name]
        texts[name] = texts[name].replace(" AND revision = ?3 - 1", "")
    texts["add_log"] = texts["add_log"].replace("INSERT INTO", "INSERT OR REPLACE INTO")
    return texts


def trusting(desk: WritingDesk, commit: Commit) -> Trail:
    rows = desk.session.rows("run", (commit.run_id,))
    return replace(Trail.of(rows[0]), revision=commit.expected)


def test_the_judge_catches_a_memory_store_without_revision_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each revision stands whole, else the mutant would fail by reading what it garbled.
    monkeypatch.setattr(memory_rows, "WHOLE_EVERY", 1)
    found = raced_violations(NoRevisionCheck())
    assert found
    print(f"{len(found)} violations, such as {found[:3]}")


def test_the_judge_catches_a_sqlite_store_without_revision_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "queries", unchecked_queries)
    monkeypatch.setattr(WritingDesk, "trail", trusting)
    with open_store(f"sqlite:///{tmp_path}/runs.db") as store:
        found = raced_violations(store)
    assert found
    print(f"{len(found)} violations, such as {found[:3]}")


def raced_violations(store: Store) -> list[str]:
    runtime, witness, spec, run_ids = started(store)
    told = Told()
    race(runtime, spec, run_ids, threads=THREADS, told=told)
    return violations(store, run_ids, witness.performed, told)


@pytest.mark.parametrize("mutant", ["refuses nobody", "takes all drivers for dead"])
@pytest.mark.parametrize("url", ["memory://", "sqlite"])
def test_the_judge_catches_an_engine_without_driver_check(
    mutant: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mutant == "refuses nobody":
        monkeypatch.setattr(advance.Mover, "refuse_if_busy", lambda self: None)
    else:
        monkeypatch.setattr(advance, "is_live", lambda driver: False)
    with open_store(url if url != "sqlite" else f"sqlite:///{tmp_path}/runs.db") as store:
        found = raced_violations(store)
    assert any("performed more than once" in line for line in found), found[:3]
