"""A hash chain over ledgers of users, which need not keep more than the api's fields."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import pytest

from abstractruntime import Effect, Runtime, StepPlan, WorkflowSpec
from abstractruntime.core.models import RunState, RunStatus, StepRecord, record_to_dict
from abstractruntime.storage import HashChainedLedgerStore, InMemoryLedgerStore, LedgerStore
from abstractruntime.storage.ledger_chain import compute_record_hash, verify_ledger_chain
from tests.contract.plain_stores import (
    RECORD_FIELDS,
    AsdictLedger,
    AsdictRuns,
    DictLedger,
    DictRuns,
)


class WideLedger(DictLedger):
    """Keeps the api's fields and gives records back with all of today's, the later ones None."""

    def append(self, record: StepRecord) -> None:
        kept = {name: getattr(record, name) for name in RECORD_FIELDS}
        line = {**asdict(StepRecord(**kept)), "status": record.status.value}
        self.lines.setdefault(record.run_id, []).append(line)


class EnumLedger(DictLedger):
    """Keeps what asdict makes of a record, its status too."""

    def append(self, record: StepRecord) -> None:
        self.lines.setdefault(record.run_id, []).append(asdict(record))


class SayingLedger(DictLedger):
    """Keeps what is set of every field, and says so."""

    keeps_every_field = True

    def append(self, record: StepRecord) -> None:
        self.lines.setdefault(record.run_id, []).append(copy.deepcopy(record_to_dict(record)))


LEDGERS = [DictLedger, WideLedger, AsdictLedger, EnumLedger, SayingLedger, InMemoryLedgerStore]


@pytest.fixture(params=LEDGERS)
def inner(request: pytest.FixtureRequest) -> LedgerStore:
    make: Callable[[], LedgerStore] = request.param
    return make()


LATER: dict[str, Any] = {
    "visit": 2,
    "generation": 3,
    "revision": 4,
    "last": True,
    "next_node": "after",
    "vars": {"set": {"é": 1}, "gone": []},
}


def record(note: str, **later: Any) -> StepRecord:
    run = RunState("r", "wf", RunStatus.RUNNING, "n", actor_id="a", session_id="s")
    effect = Effect("mail", {"note": note}, "sent")
    made = StepRecord.start(run=run, node_id="n", effect=effect, idempotency_key="k")
    made.finish_success({"é": note})
    for name, value in later.items():
        setattr(made, name, value)
    return made


def test_records_with_later_fields_verify(inner: LedgerStore) -> None:
    store = HashChainedLedgerStore(inner)
    store.append(record("one", **LATER))
    store.append_many([record("two", **LATER), record("three")])
    HashChainedLedgerStore(inner).append(record("four", **LATER))
    report = verify_ledger_chain(store.list("r"))
    assert (report["ok"], report["count"]) == (True, 4)
    assert report["computed_head_hash"] == report["head_hash"]


def test_the_record_given_keeps_its_fields(inner: LedgerStore) -> None:
    given = record("one", **LATER)
    HashChainedLedgerStore(inner).append(given)
    assert {name: getattr(given, name) for name in LATER} == LATER


def test_a_change_of_any_kept_field_is_found(inner: LedgerStore) -> None:
    store = HashChainedLedgerStore(inner)
    for note in ("one", "two", "three"):
        store.append(record(note, **LATER))
    for name in store.list("r")[1].keys() - {"signature"}:
        for value in (None, "x", {"other": 1}):
            records = copy.deepcopy(store.list("r"))
            if records[1][name] == value:
                continue
            records[1][name] = value
            report = verify_ledger_chain(records)
            assert report["first_bad_index"] == 1, (name, value)


@pytest.mark.parametrize("make", [SayingLedger, InMemoryLedgerStore])
def test_a_ledger_that_says_so_gets_every_field(make: Callable[[], LedgerStore]) -> None:
    store = HashChainedLedgerStore(make())
    store.append(record("one", **LATER))
    (kept,) = store.list("r")
    assert {name: kept[name] for name in LATER} == LATER
    assert kept["record_hash"] == compute_record_hash(record=kept, prev_hash=None)


def test_a_chain_of_a_chain_says_what_the_ledger_beneath_says() -> None:
    for inner in (DictLedger(), SayingLedger()):
        twice = HashChainedLedgerStore(HashChainedLedgerStore(inner))
        assert twice.keeps_every_field is inner.keeps_every_field


def sealed_before(*notes: str) -> list[StepRecord]:
    """Records as a chain sealed them that covered every field that is set."""
    made: list[StepRecord] = []
    for note in notes:
        one = record(note, **LATER)
        one.prev_hash = made[-1].record_hash if made else None
        one.record_hash = compute_record_hash(record=record_to_dict(one), prev_hash=one.prev_hash)
        made.append(one)
    return made


@pytest.mark.parametrize("make", [AsdictLedger, EnumLedger, SayingLedger, InMemoryLedgerStore])
def test_a_run_whose_ledger_has_later_fields_goes_on_with_them(
    make: Callable[[], LedgerStore],
) -> None:
    inner = make()
    for one in sealed_before("one", "two"):
        inner.append(one)
    # A host's own record, which has none of them, is no end of it.
    HashChainedLedgerStore(inner).append(record("three"))
    HashChainedLedgerStore(inner).append(record("four", **LATER))
    records = inner.list("r")
    assert verify_ledger_chain(records)["ok"]
    assert [each.get("visit") for each in records] == [2, 2, None, 2]
    records = copy.deepcopy(records)
    records[0]["visit"] = 3
    assert verify_ledger_chain(records)["first_bad_index"] == 0


def test_a_later_field_that_stood_there_as_none_when_it_was_sealed_is_still_in_the_hash() -> None:
    """Another implementation may have fields of its own, and hash them as they stand."""
    body = {**record_to_dict(record("one")), "theirs": None}
    body["record_hash"] = compute_record_hash(record=body, prev_hash=None)
    assert verify_ledger_chain([body])["ok"]
    assert not verify_ledger_chain([{**body, "theirs": 1}])["ok"]
    del body["theirs"]
    assert not verify_ledger_chain([body])["ok"]


def test_every_field_of_the_api_is_named() -> None:
    assert tuple(each.name for each in fields(StepRecord))[:16] == RECORD_FIELDS
    made = record("one")
    store = HashChainedLedgerStore(DictLedger())
    store.append(made)
    assert set(store.list("r")[0]) == set(record_to_dict(made))


def node(run: RunState, context: Any) -> StepPlan:
    turn = run.vars["turn"] = run.vars.get("turn", 0) + 1
    if turn == 4:
        return StepPlan("node", complete_output={"said": run.vars["said"]})
    payload = {"function": "say", "arguments": {"turn": turn}}
    return StepPlan("node", Effect("call", payload, "said"), "node")


def say(turn: int) -> dict[str, int]:
    return {"é": turn}


@pytest.mark.parametrize("runs", [AsdictRuns, DictRuns])
def test_a_run_over_a_user_s_ledger_verifies(inner: LedgerStore, runs: Any) -> None:
    spec = WorkflowSpec("flow", "node", {"node": node}, functions={"say": say})
    ledger = HashChainedLedgerStore(inner)
    runtime = Runtime(run_store=runs(), ledger_store=ledger)
    run_id = runtime.start(workflow=spec)
    assert runtime.tick(workflow=spec, run_id=run_id).output == {"said": {"é": 3}}
    for records in (ledger.list(run_id), runtime.get_ledger(run_id)):
        report = verify_ledger_chain(records)
        assert report["errors"] == []
        assert report["count"] == 7
