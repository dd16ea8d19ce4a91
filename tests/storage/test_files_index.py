"""The index of a folder of runs: a hint that may lag, be lost or be wrong, and hides nothing."""

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.checkpoint import Checkpoint, Driver
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState, run_to_dict
from abstractruntime.errors import StoreCorrupt, StoreFull
from abstractruntime.storage import durable_files, json_files, json_index, json_rows
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.paired import PairedStore
from abstractruntime.testing.commits import time_at

LATE = time_at(3000)


def waiting(run_id: str, at: int, **fields: Any) -> RunState:
    wait = WaitState(WaitReason.UNTIL, until=time_at(at))
    return RunState(
        run_id, "wf", RunStatus.WAITING, "n", waiting=wait, updated_at=time_at(at), **fields
    )


def running(run_id: str, **fields: Any) -> RunState:
    return RunState(run_id, "wf", RunStatus.RUNNING, "n", **fields)


def write(folder: Path, run: RunState) -> None:
    """As an editor writes: in place, and without a word to the index."""
    (folder / f"run_{run.run_id}.json").write_text(json.dumps(run_to_dict(run)))


def due(store: JsonFileRunStore, at: str = LATE) -> list[str]:
    return store.index.due(at, 1000)


def index_of(folder: Path) -> Path:
    return folder / ".abstractruntime" / "index-1"


@pytest.fixture
def store(tmp_path: Path) -> JsonFileRunStore:
    return JsonFileRunStore(tmp_path)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the run files that are read from here on."""
    read: list[str] = []
    real = json_files._text_of

    def spy(path: Path) -> Any:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(json_files, "_text_of", spy)
    return read


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


class Killed(BaseException):
    """The process is gone."""


def dies_before_the_name(store: JsonFileRunStore, run: RunState) -> None:
    """The row is in the index, the run's file is not what it says."""
    with pytest.MonkeyPatch.context() as patch:

        def die(*_: object) -> None:
            raise Killed

        patch.setattr(os, "replace", die)
        with pytest.raises(Killed):
            store.save(run)


def dies_after_the_name(store: JsonFileRunStore, run: RunState) -> None:
    """The run's file is there, nothing that comes after that was done."""
    with pytest.MonkeyPatch.context() as patch:

        def die(*_: object) -> None:
            raise Killed

        patch.setattr(durable_files, "sync_folder", die)
        with pytest.raises(Killed):
            store.save(run)


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
