"""The index of a folder of runs: lost, torn, wrong or asked about files that hold no run."""

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.models import RunState, run_to_dict
from abstractruntime.errors import StoreCorrupt
from abstractruntime.storage import json_files, json_index, json_rows
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.paired import PairedStore
from abstractruntime.testing.commits import time_at
from tests.storage.index_ground import (
    LATE,
    dies_after_the_name,
    dies_before_the_name,
    due,
    files_read,
    index_of,
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


# ---- the index itself is lost, torn or wrong


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def garble(path: Path) -> None:
    text = bytearray(path.read_bytes())
    for place in range(0, len(text), 97):
        text[place] ^= 0x15
    path.write_bytes(bytes(text))


def lie(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"waiting"', b'"running"'))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": cut,
    "garbled": garble,
    "lying": lie,
    "of another form": lambda path: path.write_bytes(b'{"index": 9}\n'),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_index_changes_no_answer_and_is_mended(
    tmp_path: Path, store: JsonFileRunStore, damage: str, reads: list[str]
) -> None:
    for number in range(6):
        store.save(waiting(f"r{number}", number))
    names = [f"r{number}" for number in range(6)]
    running_process = JsonFileRunStore(tmp_path)
    assert due(running_process) == names
    running_process.index._compare_at = float("inf")
    DAMAGES[damage](index_of(tmp_path))
    store.save(waiting("r6", 6))
    for process in (JsonFileRunStore(tmp_path), running_process):
        assert due(process) == [*names, "r6"]
    reads.clear()
    assert due(JsonFileRunStore(tmp_path)) == [*names, "r6"]
    assert reads == []


def test_a_copied_folder_answers_the_same(tmp_path: Path) -> None:
    import shutil

    store = JsonFileRunStore(tmp_path / "a")
    for number in range(6):
        store.save(waiting(f"r{number}", number))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copy = JsonFileRunStore(tmp_path / "b")
    write(tmp_path / "b", running("r0"))
    assert due(copy) == ["r1", "r2", "r3", "r4", "r5"]
    assert copy.index._doubtful == {}


def test_an_index_that_grew_is_compacted_and_loses_no_run(
    tmp_path: Path, store: JsonFileRunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rows, "SMALL", 4000)
    other = JsonFileRunStore(tmp_path)
    for number in range(200):
        (store, other)[number % 2].save(waiting(f"r{number % 10}", number))
        if number % 37 == 0:
            assert due(other)
    assert index_of(tmp_path).stat().st_size < 3 * 4000
    for process in (store, other, JsonFileRunStore(tmp_path)):
        assert due(process) == [f"r{number % 10}" for number in range(190, 200)]
    assert os.listdir(index_of(tmp_path).parent).count("index-1") == 1


def test_an_index_that_was_replaced_is_known_by_how_it_begins_not_by_its_inode(
    tmp_path: Path, store: JsonFileRunStore
) -> None:
    store.save(waiting("a", 1))
    other, index = JsonFileRunStore(tmp_path), index_of(tmp_path)
    assert due(other) == ["a"]
    os.link(index, tmp_path / "inode")
    for name in ("b", "c"):
        store.save(waiting(name, 2))
    store.index.journal.compact()
    (tmp_path / "inode").write_bytes(index.read_bytes())
    os.replace(tmp_path / "inode", index)  # the file system gave the new file the old inode
    assert due(other) == ["a", "b", "c"]
    assert other.index._position.start == index.stat().st_size


def test_a_row_that_is_written_while_the_index_is_compacted_is_not_lost(
    tmp_path: Path, store: JsonFileRunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(waiting("a", 1))
    other = JsonFileRunStore(tmp_path)
    assert due(other) == ["a"]
    other.index._compare_at = float("inf")
    lock, compacted = json_rows.try_lock, []

    def late(*arguments: Any, **options: Any) -> bool:
        if not compacted:  # another process replaces the index between open and lock
            compacted.append(1)
            other.index.journal.compact()
        return lock(*arguments, **options)

    monkeypatch.setattr(json_rows, "try_lock", late)
    store.save(waiting("b", 2))
    assert due(other) == ["a", "b"]


def test_a_folder_that_may_only_be_read_can_be_asked(
    tmp_path: Path, store: JsonFileRunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(waiting("r", 1))
    monkeypatch.setattr(os, "access", lambda *_: False)
    other = json_index.FolderIndex(
        tmp_path, json_files.FolderLocks(str(tmp_path)), json_files._read
    )
    assert other.due(LATE, 10) == ["r"]
    assert not other.journal.used


# ---- files that hold no run


@pytest.mark.parametrize(
    "text", ["", '{"run_id": "bad", "workflow_id"', "[]", '{"run_id": "bad"}', '{"run_id": 7}']
)
def test_a_half_written_run_file_is_named_and_stops_no_other_run(tmp_path: Path, text: str) -> None:
    pair = PairedStore(JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path))
    runs = pair.run_store
    assert isinstance(runs, JsonFileRunStore)
    runs.save(waiting("good", 1))
    runs.save(waiting("bad", 1))
    (tmp_path / "run_bad.json").write_text(text)
    assert pair.list_due(LATE) == ["good"]
    assert (pair.next_wake(), pair.list_driven(), pair.list_answered()) == (time_at(1), [], [])
    for ask in (pair.list_runs, runs.list_runs, lambda: pair.load("bad")):
        with pytest.raises(StoreCorrupt, match=r"run_bad\.json"):
            ask()
    assert [str(tmp_path / "run_bad.json") in error.message for error in runs.index.broken()]
    write(tmp_path, waiting("bad", 2))
    assert pair.list_due(LATE) == ["good", "bad"]
    assert runs.index.broken() == []


def test_a_run_whose_fields_are_of_no_sense_is_named(
    tmp_path: Path, store: JsonFileRunStore
) -> None:
    data = {**run_to_dict(running("r")), "status": "sleeping"}
    (tmp_path / "run_r.json").write_text(json.dumps(data))
    with pytest.raises(StoreCorrupt, match=r"run_r\.json.*sleeping"):
        store.list_runs()


# ---- whatever happens, in any order


class Folder:
    """A folder that several processes and strangers write to, and what it truly holds."""

    def __init__(self, path: Path, seed: int, *, strangers: bool = True) -> None:
        self.path = path
        self.what = 10 if strangers else 7
        self.random = random.Random(seed)
        self.stores = [JsonFileRunStore(path) for _ in range(3)]
        self.ids = [f"r{number}" for number in range(8)]

    def any_run(self) -> RunState:
        run_id = self.random.choice(self.ids)
        parent = self.random.choice([None, *self.ids])
        if self.random.random() < 0.7:
            return waiting(run_id, self.random.randrange(50), parent_run_id=parent)
        return running(run_id, parent_run_id=parent)

    def happens(self) -> None:
        store = self.random.choice(self.stores)
        path = self.path / f"run_{self.random.choice(self.ids)}.json"
        match self.random.randrange(self.what):
            case 0 | 1 | 2:
                store.save(self.any_run())
            case 3:
                dies_before_the_name(store, self.any_run())
            case 4:
                dies_after_the_name(store, self.any_run())
            case 5:
                store.index.journal.compact()
            case 6:
                self.stores[self.stores.index(store)] = JsonFileRunStore(self.path)
            case 7:
                write(self.path, self.any_run())
            case 8:
                path.unlink(missing_ok=True)
            case 9 if index_of(self.path).exists():
                with index_of(self.path).open("r+b") as file:
                    file.truncate(self.random.randrange(index_of(self.path).stat().st_size + 1))

    def runs(self) -> Iterator[dict[str, Any]]:
        for path in self.path.glob("run_*.json"):
            yield json.loads(path.read_text())


@pytest.mark.parametrize("seed", range(5))
def test_what_processes_and_crashes_do_is_seen_though_the_folder_is_never_compared_again(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_index, "FEW", -1)
    monkeypatch.setattr(json_index, "SHARE", 1e12)
    folder = Folder(tmp_path, seed, strangers=False)
    for _ in range(80):
        folder.happens()
        truth = sorted(
            (run["waiting"]["until"], run["run_id"])
            for run in folder.runs()
            if run["status"] == "waiting"
        )
        asked = folder.random.choice(folder.stores)
        assert due(asked) == [run_id for _, run_id in truth]


@pytest.mark.parametrize("seed", range(5))
def test_whatever_processes_strangers_and_crashes_do_the_answers_are_those_of_the_files(
    tmp_path: Path, seed: int
) -> None:
    folder = Folder(tmp_path, seed)
    for _ in range(80):
        folder.happens()
        runs = list(folder.runs())
        truth = sorted(
            (run["waiting"]["until"], run["run_id"]) for run in runs if run["status"] == "waiting"
        )
        children = {run["run_id"] for run in runs if run["parent_run_id"] == "r0"}
        asked = folder.random.choice(folder.stores)
        assert due(asked) == [run_id for _, run_id in truth]
        assert asked.index.next_wake() == (truth[0][0] if truth else None)
        assert len(asked.list_runs()) == len(runs)
        assert {run.run_id for run in asked.list_children(parent_run_id="r0")} == children
