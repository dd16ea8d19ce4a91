"""The index of a folder of runs: what it spares, who is heard, and what a crash leaves."""

import os
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.checkpoint import Checkpoint, Driver
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState
from abstractruntime.errors import StoreFull
from abstractruntime.storage import json_index, json_rows
from abstractruntime.storage.json_files import JsonFileRunStore
from abstractruntime.testing.commits import time_at
from tests.storage.index_ground import (
    dies_before_the_name,
    due,
    files_read,
    running,
    waiting,
    write,
)


@pytest.fixture
def store(tmp_path: Path) -> JsonFileRunStore:
    return JsonFileRunStore(tmp_path)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return files_read(monkeypatch)


# ---- it spares reading


def test_a_new_process_answers_from_the_index_without_reading_a_run(
    tmp_path: Path, store: JsonFileRunStore, reads: list[str]
) -> None:
    for number in range(20):
        store.save(waiting(f"r{number}", number))
    reads.clear()
    other = JsonFileRunStore(tmp_path)
    assert due(other, time_at(2)) == ["r0", "r1", "r2"]
    assert other.index.next_wake() == time_at(0)
    assert reads == []
    assert [run.run_id for run in other.list_runs(limit=2)] == ["r19", "r18"]
    assert sorted(reads) == ["run_r18.json", "run_r19.json"]


def test_files_of_another_implementation_are_read_once_for_all_processes(
    tmp_path: Path, store: JsonFileRunStore, reads: list[str]
) -> None:
    for number in range(5):
        write(tmp_path, waiting(f"r{number}", number))
    assert len(due(store)) == 5
    assert len(reads) == 5
    reads.clear()
    assert len(due(JsonFileRunStore(tmp_path))) == 5
    assert reads == []


def test_who_waits_for_an_ended_child_is_found_without_reading_all_that_wait(
    tmp_path: Path, store: JsonFileRunStore, reads: list[str]
) -> None:
    for name, status in (("a", RunStatus.RUNNING), ("b", RunStatus.COMPLETED)):
        wait = WaitState(WaitReason.SUBWORKFLOW, wait_key=f"subworkflow:{name}")
        store.save(running(f"of-{name}"))
        store.save(RunState(f"of-{name}", "wf", RunStatus.WAITING, "n", waiting=wait))
        store.save(RunState(name, "wf", status, "n", parent_run_id=f"of-{name}"))
    reads.clear()
    assert JsonFileRunStore(tmp_path).index.answered() == ["of-b"]
    assert reads == []


def test_a_driven_run_is_found_until_it_is_driven_no_more(
    tmp_path: Path, store: JsonFileRunStore
) -> None:
    driver = Driver(host="h", boot="b", pid=1, started="s", token="t")
    store.save(running("r", checkpoint=Checkpoint(revision=1, driver=driver)))
    other = JsonFileRunStore(tmp_path)
    assert [data["run_id"] for data in other.index.driven(10)] == ["r"]
    store.save(running("r", checkpoint=Checkpoint(revision=2)))
    assert other.index.driven(10) == []


# ---- others write to the folder


def test_what_others_write_edit_and_delete_is_seen_at_once_in_a_small_folder(
    tmp_path: Path, store: JsonFileRunStore
) -> None:
    store.save(waiting("ours", 5))
    assert due(store) == ["ours"]
    write(tmp_path, waiting("theirs", 1))
    assert due(store) == ["theirs", "ours"]
    write(tmp_path, waiting("theirs", 700))
    assert due(store) == ["ours", "theirs"]
    (tmp_path / "run_ours.json").unlink()
    assert due(store) == ["theirs"]
    assert [run.run_id for run in store.list_runs()] == ["theirs"]


def test_in_a_large_folder_what_others_write_is_seen_when_it_is_compared_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_index, "FEW", 0)
    store, now = JsonFileRunStore(tmp_path), iter([100.0, 102.0, 141.9, 142.0, 142.0, 142.0])
    monkeypatch.setattr(store.index, "_monotonic", lambda: next(now))
    store.save(waiting("ours", 5))
    assert due(store) == ["ours"]  # compared from 100 to 102
    write(tmp_path, waiting("theirs", 1))
    assert due(store) == ["ours"]
    assert due(store) == ["theirs", "ours"]  # twenty times those 2 s later


def test_what_is_given_out_is_true_even_before_the_folder_is_compared_again(
    tmp_path: Path, store: JsonFileRunStore
) -> None:
    for name, at in (("a", 1), ("b", 2), ("c", 3)):
        store.save(waiting(name, at))
    assert due(store) == ["a", "b", "c"]
    store.index._compare_at = float("inf")
    write(tmp_path, running("a"))
    (tmp_path / "run_b.json").unlink()
    assert due(store) == ["c"]
    assert store.index.next_wake() == time_at(3)
    assert [run.run_id for run in store.list_runs(status=RunStatus.WAITING)] == ["c"]


def test_another_process_is_heard_at_once_in_a_folder_of_any_size(
    tmp_path: Path, store: JsonFileRunStore
) -> None:
    store.save(waiting("a", 9))
    assert due(store) == ["a"]
    store.index._compare_at = float("inf")
    before = store.changes()
    other = JsonFileRunStore(tmp_path)
    other.save(waiting("b", 1))
    other.save(waiting("a", 2000))
    assert store.changes() != before
    assert due(store, time_at(100)) == ["b"]


def test_files_that_are_no_runs_and_the_hidden_folder_are_left_alone(
    tmp_path: Path, store: JsonFileRunStore
) -> None:
    store.save(waiting("a", 1))
    for name in ("run_x.json.bak", "notes.txt", ".run_y.json", "snapshot_1.json"):
        (tmp_path / name).write_text("{")
    (tmp_path / "run_folder.json").mkdir()
    assert [run.run_id for run in store.list_runs()] == ["a"]
    assert due(store) == ["a"]
    # What another implementation of the format takes for a run or a ledger is all it finds.
    found = [*tmp_path.glob("run_*.json"), *tmp_path.glob("ledger_*.jsonl")]
    assert [path.name for path in found if path.is_file()] == ["run_a.json"]


# ---- a crash between row and run, and a process in between


@pytest.mark.parametrize("known", [True, False], ids=["known", "new process"])
def test_a_crash_before_the_run_has_its_name_does_not_hide_what_it_still_is(
    tmp_path: Path, store: JsonFileRunStore, known: bool
) -> None:
    store.save(waiting("r", 1))
    other = JsonFileRunStore(tmp_path)
    if known:
        assert due(other) == ["r"]
        other.index._compare_at = float("inf")
    dies_before_the_name(store, running("r"))
    dies_before_the_name(store, waiting("never", 1))
    for _ in range(3):
        assert due(other) == ["r"]
    assert [run.run_id for run in other.list_runs(status=RunStatus.WAITING)] == ["r"]
    assert other.index._doubtful == {}


@pytest.mark.parametrize("known", [True, False], ids=["known", "new process"])
def test_who_asks_between_row_and_name_sees_the_old_run_then_the_new(
    tmp_path: Path, store: JsonFileRunStore, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    store.save(running("r"))
    other = JsonFileRunStore(tmp_path)
    if known:
        assert due(other) == []
    replace, seen = os.replace, []
    # The writer holds the run's lock: another process finds it taken.
    monkeypatch.setattr(other.locks, "tried", lambda run_id: _Taken())

    def ask(*paths: Any) -> None:
        seen.append(due(other))
        replace(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", ask)
        store.save(waiting("r", 1))
    other.index._compare_at = float("inf")
    assert (seen, due(other)) == ([[]], ["r"])


class _Taken:
    def __enter__(self) -> bool:
        return False

    def __exit__(self, *_: object) -> None:
        pass


def test_a_save_whose_row_cannot_be_written_is_refused_and_changes_nothing(
    tmp_path: Path, store: JsonFileRunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(waiting("r", 1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(json_rows, "write_all", full)
        with pytest.raises(StoreFull):
            store.save(running("r"))
    assert due(JsonFileRunStore(tmp_path)) == ["r"]
