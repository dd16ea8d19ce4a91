"""Verification finds records that were changed, taken away or added, and states that do not fit."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from abstractruntime import Runtime, open_store
from abstractruntime.authoring import Workflow, call, complete
from abstractruntime.core.commit import Loaded
from abstractruntime.errors import StoreCorrupt, UnknownRun
from abstractruntime.inspect.verify import all_run_ids, verify_run, verify_runs
from abstractruntime.storage.base import Store

flow = Workflow("flow")


@flow.node
def work(run):  # type: ignore[no-untyped-def]
    run.vars["n"] = run.vars.get("n", 0) + 1
    return call(nothing, then=work if run.vars["n"] < 3 else end)


@flow.node
def end(run):  # type: ignore[no-untyped-def]
    return complete({})


@flow.function
def nothing():  # type: ignore[no-untyped-def]
    return None


class Altered:
    """A store whose answers can be bent before they are given."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.records: Any = lambda records: records
        self.rebuilt: Any = lambda loaded: loaded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def list_records(self, run_id: str, **options: Any) -> Any:
        return self.records(copy.deepcopy(self._store.list_records(run_id, **options)))

    def load_at(self, run_id: str, revision: int) -> Loaded:
        loaded: Loaded = self.rebuilt(self._store.load_at(run_id, revision))
        return loaded


@pytest.fixture
def ground() -> tuple[Altered, str]:
    store = open_store("memory://")
    runtime = Runtime(store=store)
    run_id = runtime.start(workflow=flow.spec)
    runtime.tick(workflow=flow.spec, run_id=run_id)
    return Altered(store), run_id


def faults(ground: tuple[Altered, str]) -> str:
    store, run_id = ground
    verdict = verify_run(store, run_id)  # type: ignore[arg-type]
    assert verdict.ok is (not verdict.faults)
    return "; ".join(verdict.faults)


def test_an_untouched_ledger_verifies(ground: tuple[Altered, str]) -> None:
    assert faults(ground) == ""
    store, run_id = ground
    told: list[tuple[int, int]] = []
    run_ids = all_run_ids(store)  # type: ignore[arg-type]
    (verdict,) = verify_runs(store, run_ids, progress=lambda *at: told.append(at))  # type: ignore[arg-type]
    assert verdict.records == 7
    assert verdict.head == store.load(run_id).run.checkpoint.chain_head
    assert told == [(1, 1)]


def test_a_changed_record_is_found_and_named(ground: tuple[Altered, str]) -> None:
    def change(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        records[2]["node_id"] = "elsewhere"
        return records

    ground[0].records = change
    assert "record 2" in faults(ground)
    assert "was changed" in faults(ground)


def test_records_taken_from_the_end_are_missed(ground: tuple[Altered, str]) -> None:
    ground[0].records = lambda records: records[:-1]
    assert "records are missing or were added" in faults(ground)


def test_records_taken_from_the_middle_are_missed(ground: tuple[Altered, str]) -> None:
    ground[0].records = lambda records: records[:2] + records[3:]
    assert "follows" in faults(ground)


def test_an_emptied_ledger_is_missed(ground: tuple[Altered, str]) -> None:
    ground[0].records = lambda records: []
    assert "records are missing or were added" in faults(ground)


def test_revisions_that_fall_are_found(ground: tuple[Altered, str]) -> None:
    def change(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        records[0]["revision"] = 4
        return records

    ground[0].records = change
    assert "the one before of 4" in faults(ground)


def test_a_state_that_its_history_does_not_give_is_found(ground: tuple[Altered, str]) -> None:
    def change(loaded: Loaded) -> Loaded:
        loaded.run.vars["n"] = 99
        return loaded

    ground[0].rebuilt = change
    assert "history" in faults(ground)


def test_a_run_that_cannot_be_read_is_a_fault_of_it_and_not_the_end(
    ground: tuple[Altered, str],
) -> None:
    def break_(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        raise StoreCorrupt("torn")

    ground[0].records = break_
    assert faults(ground) == "cannot be read: torn"


def test_an_unknown_run_is_an_error(ground: tuple[Altered, str]) -> None:
    with pytest.raises(UnknownRun):
        verify_run(ground[0], "nobody")  # type: ignore[arg-type]


def test_a_run_that_is_just_created_verifies() -> None:
    store = open_store("memory://")
    run_id = Runtime(store=store).start(workflow=flow.spec)
    verdict = verify_run(store, run_id)
    assert verdict.ok
    assert not verdict.chained
