"""Ledgers as lines of a file: their format, and what a crash leaves."""

import errno
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.models import Effect, RunState, RunStatus, StepRecord
from abstractruntime.errors import NotJson, StoreCorrupt, StoreFull, StoreUnavailable
from abstractruntime.storage import JsonlLedgerStore
from abstractruntime.storage.json_lines import _TAIL

RUN = RunState("r", "wf", RunStatus.RUNNING, "n")


def record(note: str) -> StepRecord:
    return StepRecord.start(run=RUN, node_id="n", effect=Effect("mail", {"note": note}))


def notes(store: JsonlLedgerStore) -> list[str]:
    return [each["effect"]["payload"]["note"] for each in store.list("r")]


def test_a_ledger_is_one_object_a_line_with_the_apis_keys_in_order(tmp_path: Path) -> None:
    store = JsonlLedgerStore(tmp_path)
    store.append(record("Zoë\nstays on her line"))
    store.append(record("two"))
    text = (tmp_path / "ledger_r.jsonl").read_bytes().decode()
    assert text.endswith("\n")
    lines = text.splitlines()
    assert len(lines) == 2
    assert "Zoë" in lines[0]
    assert list(json.loads(lines[0])) == [
        "run_id",
        "step_id",
        "node_id",
        "status",
        "effect",
        "result",
        "error",
        "started_at",
        "ended_at",
        "actor_id",
        "session_id",
        "attempt",
        "idempotency_key",
        "prev_hash",
        "record_hash",
        "signature",
    ]
    assert notes(store) == ["Zoë\nstays on her line", "two"]


def test_an_unknown_ledger_is_empty_and_reading_it_makes_no_file(tmp_path: Path) -> None:
    store = JsonlLedgerStore(tmp_path)
    assert store.list("r") == []
    assert store.last("r") is None
    assert os.listdir(tmp_path) == []


def test_lines_of_another_implementation_are_read_blank_ones_skipped(tmp_path: Path) -> None:
    (tmp_path / "ledger_r.jsonl").write_bytes(b'{"a": 1}\r\n\n  \n{"a": 2, "new": [1.5]}\n\n')
    store = JsonlLedgerStore(tmp_path)
    assert store.list("r") == [{"a": 1}, {"a": 2, "new": [1.5]}]
    assert store.last("r") == {"a": 2, "new": [1.5]}


def test_records_appended_together_are_one_write_and_one_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JsonlLedgerStore(tmp_path)
    store.append(record("zero"))
    calls: list[str] = []
    for name in ("write", "fsync"):
        real = getattr(os, name)

        def spy(*args: Any, _real: Any = real, _name: str = name) -> Any:
            calls.append(_name)
            return _real(*args)

        monkeypatch.setattr(os, name, spy)
    store.append_many([record("one"), record("two")])
    assert calls == ["write", "fsync"]
    assert notes(store) == ["zero", "one", "two"]


def test_a_new_ledgers_name_is_durable_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, fsync = [], os.fsync

    def spy(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    JsonlLedgerStore(tmp_path).append(record("one"))
    assert synced == [True, False]


def test_appending_nothing_writes_nothing_and_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    store = JsonlLedgerStore(tmp_path)
    store.append_many([])
    other = record("x")
    other.run_id = "s"
    with pytest.raises(ValueError, match="one run"):
        store.append_many([record("y"), other])
    assert os.listdir(tmp_path) == []


def test_what_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    store, bad = JsonlLedgerStore(tmp_path), record("bad")
    bad.result = {"when": object()}
    with pytest.raises(NotJson):
        store.append_many([record("good"), bad])
    assert os.listdir(tmp_path) == []


# ---- torn and broken lines


def test_a_line_cut_short_is_not_listed_and_its_bytes_are_kept_at_the_next_append(
    tmp_path: Path,
) -> None:
    store = JsonlLedgerStore(tmp_path)
    store.append(record("one"))
    path = tmp_path / "ledger_r.jsonl"
    torn = b'{"run_id":"r","effect":{"pay'
    path.write_bytes(path.read_bytes() + torn)
    assert notes(store) == ["one"]
    last = store.last("r")
    assert last is not None
    assert last["effect"]["payload"] == {"note": "one"}
    store.append(record("two"))
    assert notes(store) == ["one", "two"]
    assert (tmp_path / "ledger_r.jsonl.torn").read_bytes() == torn


def test_every_torn_line_is_kept_each_on_a_line_of_its_own(tmp_path: Path) -> None:
    store, path = JsonlLedgerStore(tmp_path), tmp_path / "ledger_r.jsonl"
    for torn in (b'{"first', b'{"a":"complete but not ended"}'):
        with path.open("ab") as file:
            file.write(torn)
        store.append(record("next"))
    assert (tmp_path / "ledger_r.jsonl.torn").read_bytes() == (
        b'{"first\n{"a":"complete but not ended"}'
    )
    assert notes(store) == ["next", "next"]


def test_a_ledger_that_is_nothing_but_a_torn_line_is_empty(tmp_path: Path) -> None:
    (tmp_path / "ledger_r.jsonl").write_bytes(b'{"run')
    store = JsonlLedgerStore(tmp_path)
    assert (store.list("r"), store.last("r")) == ([], None)
    store.append(record("one"))
    assert notes(store) == ["one"]


def test_a_crash_between_keeping_a_torn_line_and_cutting_it_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, path = JsonlLedgerStore(tmp_path), tmp_path / "ledger_r.jsonl"
    store.append(record("one"))
    path.write_bytes(path.read_bytes() + b"{torn")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", die)
        with pytest.raises(KeyboardInterrupt):
            store.append(record("two"))
    assert notes(store) == ["one"]
    store.append(record("two"))
    assert notes(store) == ["one", "two"]
    assert b"{torn" in (tmp_path / "ledger_r.jsonl.torn").read_bytes()


def test_wherever_a_crash_cuts_a_ledger_the_whole_lines_before_stay_and_it_goes_on(
    tmp_path: Path,
) -> None:
    store, path = JsonlLedgerStore(tmp_path), tmp_path / "ledger_r.jsonl"
    store.append_many([record("one"), record("two"), record("three")])
    whole = path.read_bytes()
    for end in (*range(0, len(whole), 41), len(whole) - 1, len(whole)):
        path.write_bytes(whole[:end])
        kept = ["one", "two", "three"][: whole[:end].count(b"\n")]
        assert notes(store) == kept
        store.append(record("next"))
        assert notes(store) == [*kept, "next"]


@pytest.mark.parametrize("line", [b'{"a": 1}{"b": 2}', b"[]", b"nonsense", b'{"cut', b'"\xff"'])
def test_a_broken_line_inside_a_ledger_is_named_by_file_and_number(
    tmp_path: Path, line: bytes
) -> None:
    (tmp_path / "ledger_r.jsonl").write_bytes(b'{"a": 1}\n' + line + b"\n" + b'{"a": 3}\n')
    with pytest.raises(StoreCorrupt, match=r"ledger_r\.jsonl: line 2 ") as caught:
        JsonlLedgerStore(tmp_path).list("r")
    assert caught.value.where["line"] == 2


def test_a_broken_last_line_that_is_ended_is_named_not_set_aside(tmp_path: Path) -> None:
    (tmp_path / "ledger_r.jsonl").write_bytes(b'{"a": 1}\n{"cut\n')
    store = JsonlLedgerStore(tmp_path)
    for call in (lambda: store.list("r"), lambda: store.last("r")):
        with pytest.raises(StoreCorrupt, match=r"ledger_r\.jsonl"):
            call()
    assert os.listdir(tmp_path) == ["ledger_r.jsonl"]


# ---- a failing medium


def test_a_medium_that_fills_up_in_mid_write_leaves_no_part_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JsonlLedgerStore(tmp_path)
    store.append(record("one"))
    before = (tmp_path / "ledger_r.jsonl").read_bytes()
    write, calls = os.write, []

    def fill_up(descriptor: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:10])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fill_up)
        with pytest.raises(StoreFull):
            store.append(record("two"))
    assert (tmp_path / "ledger_r.jsonl").read_bytes() == before
    store.append(record("three"))
    assert notes(store) == ["one", "three"]


def test_a_record_that_could_not_be_synced_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JsonlLedgerStore(tmp_path)
    store.append(record("one"))

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StoreUnavailable):
            store.append(record("two"))
    assert notes(store) == ["one"]


def test_a_medium_that_takes_little_at_a_time_gets_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, write = JsonlLedgerStore(tmp_path), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    store.append(record("one"))
    assert notes(store) == ["one"]


# ---- the last record


@pytest.mark.parametrize("size", [1, _TAIL - 200, _TAIL, 3 * _TAIL + 5])
def test_the_last_record_is_found_whatever_its_size(tmp_path: Path, size: int) -> None:
    store = JsonlLedgerStore(tmp_path)
    store.append(record("x" * size))
    assert store.last("r") == store.list("r")[-1]
    store.append(record("y" * size))
    assert store.last("r") == store.list("r")[-1]


def test_threads_and_stores_that_append_to_one_file_lose_and_tear_nothing(tmp_path: Path) -> None:
    def append(store: JsonlLedgerStore, name: str) -> None:
        for number in range(25):
            store.append(record(f"{name}{number}"))

    stores = [JsonlLedgerStore(tmp_path), JsonlLedgerStore(tmp_path)]
    threads = [
        threading.Thread(target=append, args=(store, name))
        for store, name in zip(stores, "ab", strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = notes(stores[0])
    assert [each for each in kept if each[0] == "a"] == [f"a{number}" for number in range(25)]
    assert len(kept) == 50


def test_whoever_holds_a_ledger_keeps_others_out_and_can_append_itself(tmp_path: Path) -> None:
    store, order = JsonlLedgerStore(tmp_path), []

    def append() -> None:
        JsonlLedgerStore(tmp_path).append(record("other"))
        order.append("other")

    thread = threading.Thread(target=append)
    with store.exclusive("r"), store.exclusive("r"):
        thread.start()
        store.append(record("mine"))
        order.append("mine")
    thread.join()
    assert order == ["mine", "other"]
    assert notes(store) == ["mine", "other"]
