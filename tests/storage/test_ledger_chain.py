"""Ledgers linked by hashes, over any ledger store."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core import chain
from abstractruntime.core.models import (
    Effect,
    RunState,
    RunStatus,
    StepRecord,
    StepStatus,
    record_to_dict,
)
from abstractruntime.storage import (
    HashChainedLedgerStore,
    InMemoryLedgerStore,
    JsonlLedgerStore,
    LedgerStore,
    ledger_chain,
)
from abstractruntime.storage.ledger_chain import compute_record_hash, verify_ledger_chain


class PlainLedger(LedgerStore):
    """A user's store: the api's two methods and nothing else."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}

    def append(self, record: StepRecord) -> None:
        self.lines.setdefault(record.run_id, []).append(json.dumps(record_to_dict(record)))

    def list(self, run_id: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines.get(run_id, ())]


class SlottedLedger(PlainLedger):
    """One that cannot be the key of anything."""

    __hash__ = None  # type: ignore[assignment]


Makes = Callable[[], LedgerStore]


@pytest.fixture(params=["memory", "jsonl", "plain", "unhashable"])
def inner(request: pytest.FixtureRequest, tmp_path: Path) -> LedgerStore:
    makes: dict[str, Makes] = {
        "memory": InMemoryLedgerStore,
        "jsonl": lambda: JsonlLedgerStore(tmp_path),
        "plain": PlainLedger,
        "unhashable": SlottedLedger,
    }
    return makes[request.param]()


def record(note: str, run_id: str = "r") -> StepRecord:
    run = RunState(run_id, "wf", RunStatus.RUNNING, "n")
    return StepRecord.start(run=run, node_id="n", effect=Effect("mail", {"note": note}))


def api_hash(data: dict[str, Any]) -> str:
    """The rule of the api, spelled with the standard library."""
    kept = {key: data[key] for key in data if key not in {"record_hash", "signature"}}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_chains_rules_are_published_where_programs_import_them_from() -> None:
    assert ledger_chain.compute_record_hash is chain.compute_record_hash
    assert ledger_chain.verify_ledger_chain is chain.verify_ledger_chain


def test_each_record_names_the_hash_of_the_one_before_it(inner: LedgerStore) -> None:
    store = HashChainedLedgerStore(inner)
    for note in ("Zoë", "two", "three"):
        store.append(record(note))
    records = store.list("r")
    assert [each["prev_hash"] for each in records] == [
        None,
        records[0]["record_hash"],
        records[1]["record_hash"],
    ]
    assert [each["record_hash"] for each in records] == [api_hash(each) for each in records]
    assert verify_ledger_chain(records)["ok"]


def test_each_run_has_a_chain_of_its_own(inner: LedgerStore) -> None:
    store = HashChainedLedgerStore(inner)
    for run_id in ("a", "b", "a", "b"):
        store.append(record("x", run_id))
    for run_id in ("a", "b"):
        assert store.list(run_id)[0]["prev_hash"] is None
        assert verify_ledger_chain(store.list(run_id))["ok"]
        assert len(store.list(run_id)) == 2


def test_the_record_given_learns_its_hashes_and_may_be_appended_again(inner: LedgerStore) -> None:
    store, step = HashChainedLedgerStore(inner), record("x")
    store.append(step)
    first = step.record_hash
    assert (step.prev_hash, first) == (None, store.list("r")[0]["record_hash"])
    store.append(step.finish_success({"ok": True}))
    assert step.prev_hash == first
    assert step.status is StepStatus.COMPLETED
    assert verify_ledger_chain(store.list("r"))["ok"]


def test_records_appended_together_are_linked_in_order(inner: LedgerStore) -> None:
    store, both = HashChainedLedgerStore(inner), [record("two"), record("three")]
    store.append(record("one"))
    store.append_many(both)
    store.append_many([])
    report = verify_ledger_chain(store.list("r"))
    assert (report["ok"], report["count"]) == (True, 3)
    assert both[1].prev_hash == both[0].record_hash


def test_the_head_is_found_again_by_a_chain_opened_later(inner: LedgerStore) -> None:
    HashChainedLedgerStore(inner).append(record("one"))
    HashChainedLedgerStore(inner).append(record("two"))
    assert verify_ledger_chain(inner.list("r"))["ok"]


def test_what_another_writer_appended_in_between_is_linked_to(inner: LedgerStore) -> None:
    one, other = HashChainedLedgerStore(inner), HashChainedLedgerStore(inner)
    for number in range(3):
        one.append(record(f"one {number}"))
        other.append(record(f"other {number}"))
    report = verify_ledger_chain(inner.list("r"))
    assert (report["ok"], report["count"]) == (True, 6)


def test_threads_never_fork_a_chain(inner: LedgerStore) -> None:
    chains = [HashChainedLedgerStore(inner) for _ in range(2)]
    if isinstance(inner, SlottedLedger):  # two chains over it cannot know of each other
        chains[1] = chains[0]

    def append(store: HashChainedLedgerStore) -> None:
        for number in range(20):
            store.append(record(str(number)))

    threads = [threading.Thread(target=append, args=(store,)) for store in chains * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = verify_ledger_chain(inner.list("r"))
    assert (report["ok"], report["count"]) == (True, 80)


WRITER = """
import sys
from abstractruntime.core.models import RunState, RunStatus, StepRecord
from abstractruntime.storage import HashChainedLedgerStore, JsonlLedgerStore
store = HashChainedLedgerStore(JsonlLedgerStore(sys.argv[1]))
run = RunState("r", "wf", RunStatus.RUNNING, "n")
for _ in range(50):
    store.append(StepRecord.start(run=run, node_id="n", effect=None))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no lock between processes there")
def test_processes_that_append_to_one_folder_never_fork_a_chain(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for writer in writers:
        _, errors = writer.communicate()
        assert writer.returncode == 0, errors
    report = verify_ledger_chain(JsonlLedgerStore(tmp_path).list("r"))
    assert (report["ok"], report["count"]) == (True, 100)


def test_a_chain_over_a_plain_ledger_begins_where_the_chain_does(inner: LedgerStore) -> None:
    inner.append(record("before there was a chain"))
    HashChainedLedgerStore(inner).append(record("chained"))
    first, second = inner.list("r")
    assert first["record_hash"] is None
    assert second["prev_hash"] is None
    errors = verify_ledger_chain([first, second])["errors"]
    assert (errors[0]["index"], errors[0]["type"]) == (0, "missing_record_hash")


def test_a_record_that_could_not_be_appended_is_no_link(inner: LedgerStore) -> None:
    store, bad = HashChainedLedgerStore(inner), record("bad")
    store.append(record("one"))
    bad.result = {"when": object()}
    with pytest.raises(TypeError):
        store.append(bad)
    assert (bad.prev_hash, bad.record_hash) == (None, None)
    store.append(record("two"))
    assert verify_ledger_chain(store.list("r"))["ok"]


def test_a_changed_record_is_found(inner: LedgerStore) -> None:
    store = HashChainedLedgerStore(inner)
    for note in ("one", "two", "three"):
        store.append(record(note))
    records = store.list("r")
    records[1]["effect"]["payload"]["note"] = "changed"
    report = verify_ledger_chain(records)
    assert report["ok"] is False
    assert report["first_bad_index"] == 1
    assert report["errors"][0] == {
        "index": 1,
        "type": "record_hash_mismatch",
        "stored": records[1]["record_hash"],
        "computed": compute_record_hash(record=records[1], prev_hash=records[0]["record_hash"]),
    }


def test_the_end_of_a_chain_is_found_without_reading_it_all(tmp_path: Path) -> None:
    class Unread(JsonlLedgerStore):
        def list(self, run_id: str) -> list[dict[str, Any]]:
            raise AssertionError("the whole ledger was read")

    store = HashChainedLedgerStore(Unread(tmp_path))
    store.append(record("one"))
    store.append(record("two"))
    assert verify_ledger_chain(JsonlLedgerStore(tmp_path).list("r"))["ok"]


def test_a_chain_knows_the_ledger_beneath_it(inner: LedgerStore) -> None:
    store = HashChainedLedgerStore(inner)
    assert store.inner is inner
    assert store.last("r") is None
    store.append(record("one"))
    assert store.last("r") == inner.list("r")[0]
