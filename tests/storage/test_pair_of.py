"""Which store two plain ones make; and of messages, what a pair can make of its runs."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest

from abstractruntime.core.checkpoint import MAIN, OpenWait
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.errors import UnsupportedByStore
from abstractruntime.storage.base import Capability
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.ledger_chain import HashChainedLedgerStore
from abstractruntime.storage.memory_store import MemoryStore
from abstractruntime.storage.paired import PairedStore, pair_of
from abstractruntime.testing.commits import Script, message_to, waiting_for
from abstractruntime.testing.contract_base import created, loaded
from tests.contract.plain_stores import DictLedger, DictRuns

# ---- which store


def test_two_views_of_a_store_are_that_store() -> None:
    store = MemoryStore()
    assert pair_of(store.run_store, store.ledger_store) is store


def test_a_chain_around_the_view_changes_nothing() -> None:
    store = MemoryStore()
    assert pair_of(store.run_store, HashChainedLedgerStore(store.ledger_store)) is store


def test_views_of_two_stores_are_a_pair() -> None:
    one, two = MemoryStore(), MemoryStore()
    assert isinstance(pair_of(one.run_store, two.ledger_store), PairedStore)


def test_the_same_two_stores_are_the_same_pair() -> None:
    runs, ledger = InMemoryRunStore(), InMemoryLedgerStore()
    pair = pair_of(runs, ledger)
    assert pair_of(runs, ledger) is pair
    assert pair_of(runs, InMemoryLedgerStore()) is not pair
    assert pair_of(InMemoryRunStore(), ledger) is not pair


def test_a_pair_nobody_uses_is_forgotten() -> None:
    runs, ledger = InMemoryRunStore(), InMemoryLedgerStore()
    first = id(pair_of(runs, ledger))
    gc.collect()
    pair = pair_of(runs, ledger)
    assert isinstance(pair, PairedStore), first
    assert pair.run_store is runs
    assert pair.ledger_store is ledger


def test_threads_that_ask_at_once_get_one_pair() -> None:
    runs, ledger = InMemoryRunStore(), InMemoryLedgerStore()
    start, pairs = threading.Barrier(8), []

    def ask() -> None:
        start.wait(timeout=10)
        pairs.append(pair_of(runs, ledger))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert len(pairs) == 8
    assert len(set(map(id, pairs))) == 1


# ---- what it promises


def test_a_pair_promises_what_its_stores_can(tmp_path: Path) -> None:
    files = PairedStore(JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path))
    assert files.capabilities == {
        Capability.DURABLE,
        Capability.EXCLUSIVE,
        Capability.MAILBOX,
        Capability.QUERYABLE,
    }
    memory = PairedStore(InMemoryRunStore(), InMemoryLedgerStore())
    assert memory.capabilities == {Capability.MAILBOX, Capability.QUERYABLE}
    assert PairedStore(DictRuns(), DictLedger()).capabilities == frozenset()


def test_a_run_store_that_cannot_list_is_told_what_it_lacks() -> None:
    pair = PairedStore(DictRuns(), DictLedger())
    for ask in (
        pair.list_runs,
        pair.next_wake,
        pair.list_driven,
        pair.list_answered,
        lambda: pair.list_due("2026-01-01T00:00:00+00:00"),
        lambda: pair.list_children(parent_run_id="r"),
        lambda: pair.find_prefix("r"),
    ):
        with pytest.raises(UnsupportedByStore) as caught:
            ask()
        for name in ("DictRuns", "list_runs", "list_due_wait_until", "list_children"):
            assert name in caught.value.message


# ---- messages


class Family:
    """A parent that waits for its child."""

    def __init__(self) -> None:
        self.store = PairedStore(InMemoryRunStore(), InMemoryLedgerStore())
        self.parent = created(self.store, "parent")
        self.child = Script("child", parent_run_id="parent")
        creation = self.child.commit()
        self.store.commit(self.parent.begin(creates=[creation]))

    def wait(self) -> None:
        wait = waiting_for(
            "subworkflow:child", reason=WaitReason.SUBWORKFLOW, details={"sub_run_id": "child"}
        )
        ended = self.parent.ended(
            {"wait": {"reason": "subworkflow", "wait_key": "subworkflow:child"}}, status="waiting"
        )
        step_id = ended.record["step_id"]
        opened = OpenWait(step_id, step_id, "first", 1, 3, "subworkflow:child", "child")
        kernel = {"open_steps": {}, "waits": {MAIN: opened}}
        self.store.commit(
            self.parent.commit(
                records=[ended], kernel=kernel, status=RunStatus.WAITING, waiting=wait
            )
        )

    def end_child(self) -> None:
        sent = message_to("parent", "subworkflow:child", {"status": "completed"}, message_id="m")
        sent = type(sent)(**{**_fields(sent), "sent_by": "child"})
        self.store.commit(
            self.child.commit(status=RunStatus.COMPLETED, output={"é": 1}, sent=[sent])
        )

    def names(self) -> list[str]:
        return [message.name for message in self.store.list_messages("parent")]


def _fields(message: object) -> dict[str, object]:
    return {name: getattr(message, name) for name in type(message).__slots__}  # type: ignore[attr-defined]


def test_the_end_of_a_child_is_a_message_for_the_wait_for_it() -> None:
    family = Family()
    family.wait()
    assert family.names() == []
    family.end_child()
    (message,) = family.store.list_messages("parent")
    assert (message.name, message.sent_by) == ("subworkflow:child", "child")
    assert message.payload == {
        "sub_run_id": "child",
        "status": "completed",
        "output": {"é": 1},
        "error": None,
    }
    assert family.store.list_messages("parent", name="subworkflow:child") == [message]
    assert family.store.list_messages("parent", name="other") == []
    assert family.store.list_answered() == ["parent"]


def test_a_message_that_moved_its_run_is_gone() -> None:
    family = Family()
    family.wait()
    family.end_child()
    (message,) = family.store.list_messages("parent")
    resumed = family.parent.note("resumed", wait_key="subworkflow:child", cause="child")
    family.store.commit(
        family.parent.commit(
            status=RunStatus.RUNNING,
            waiting=None,
            kernel={"waits": {}},
            records=[resumed],
            consumed=[message.message_id],
        )
    )
    assert family.names() == []
    assert family.store.list_messages("parent", name="subworkflow:child") == []
    assert family.store.list_answered() == []


def test_a_child_that_ends_before_the_wait_is_heard_by_the_wait() -> None:
    family = Family()
    family.end_child()
    assert len(family.store.list_messages("parent", name="subworkflow:child")) == 1
    family.wait()
    assert family.names() == ["subworkflow:child"]


def test_a_step_that_drove_its_child_has_heard_of_its_end() -> None:
    family = Family()
    family.end_child()
    result = {"sub_run_id": "child", "output": {"é": 1}}
    family.store.commit(family.parent.finish(result))
    assert family.store.list_messages("parent", name="subworkflow:child") == []


def test_nobody_hears_of_the_children_of_others() -> None:
    family = Family()
    family.end_child()
    created(family.store, "stranger")
    assert family.store.list_messages("stranger", name="subworkflow:child") == []
    assert family.store.list_messages("stranger", name="subworkflow:stranger") == []
    assert family.store.list_messages("stranger", name="subworkflow:nobody") == []


def test_other_messages_are_refused_before_anything_is_written() -> None:
    family = Family()
    sent = [message_to("child", "k", message_id="m")]
    with pytest.raises(UnsupportedByStore) as caught:
        family.store.commit(family.parent.fork().commit(sent=sent, vars={"n": 1}))
    assert "mailbox" in caught.value.message
    assert loaded(family.store, "parent").vars == {}


def test_a_listed_run_shares_nothing_with_the_user_s_store() -> None:
    family = Family()
    run: RunState = family.store.list_runs(limit=1)[0]
    run.vars["mine"] = True
    assert "mine" not in loaded(family.store, run.run_id).vars
