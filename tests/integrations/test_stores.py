"""Which stores the factories take, and what becomes of each that is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from abstractruntime import (
    InMemoryLedgerStore,
    InMemoryRunStore,
    JsonFileRunStore,
    JsonlLedgerStore,
    Runtime,
    SqliteLedgerStore,
    SqliteRunStore,
    open_store,
)
from abstractruntime.errors import InvalidInput
from abstractruntime.integrations.abstractcore import (
    create_hybrid_runtime,
    create_remote_file_runtime,
    create_remote_runtime,
)

SERVER: dict[str, Any] = {"server_base_url": "http://127.0.0.1:9", "model": "m"}


def remote(**stores: Any) -> Runtime:
    return create_remote_runtime(**SERVER, **stores)


def test_without_a_store_runs_are_kept_in_memory() -> None:
    runtime = remote()
    assert isinstance(runtime.run_store, InMemoryRunStore)
    assert isinstance(runtime.ledger_store, InMemoryLedgerStore)


def test_stores_that_are_given_are_used() -> None:
    runs, ledger = InMemoryRunStore(), InMemoryLedgerStore()
    runtime = create_hybrid_runtime(**SERVER, run_store=runs, ledger_store=ledger)
    assert (runtime.run_store, runtime.ledger_store) == (runs, ledger)


def test_a_store_given_alone_is_used_and_its_other_half_is_in_memory(tmp_path: Path) -> None:
    runs = JsonFileRunStore(tmp_path)
    assert remote(run_store=runs).run_store is runs
    ledger = JsonlLedgerStore(tmp_path)
    assert remote(ledger_store=ledger).ledger_store is ledger


def test_a_view_given_alone_brings_its_other_half(tmp_path: Path) -> None:
    runs = SqliteRunStore(tmp_path / "runs.db")
    runtime = remote(run_store=runs)
    assert runtime.store is runs.store
    assert runtime.ledger_store is not None
    ledger = SqliteLedgerStore(tmp_path / "runs.db")
    assert remote(ledger_store=ledger).store is ledger.store


@pytest.mark.parametrize("name", ["store", "run_store", "ledger_store"])
def test_a_url_stands_for_its_store(name: str, tmp_path: Path) -> None:
    runtime = remote(**{name: f"sqlite:///{tmp_path}/runs.db"})
    assert (tmp_path / "runs.db").exists()
    runtime.store.close()


def test_one_url_given_twice_is_one_store() -> None:
    remote(run_store="memory://", ledger_store="memory://")


@pytest.mark.parametrize(
    "stores",
    [
        {"run_store": "memory://", "ledger_store": InMemoryLedgerStore()},
        {"run_store": InMemoryRunStore(), "ledger_store": "memory://"},
        {"run_store": "memory://", "ledger_store": "files:///x"},
        {"store": "memory://", "run_store": InMemoryRunStore()},
        {"store": open_store("memory://"), "ledger_store": "memory://"},
    ],
    ids=["url and ledger", "runs and url", "two urls", "url and runs", "store and url"],
)
def test_no_store_that_is_given_is_dropped(stores: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        remote(**stores)


def test_a_file_runtime_keeps_its_runs_in_the_folder(tmp_path: Path) -> None:
    runtime = create_remote_file_runtime(base_dir=tmp_path / "runs", **SERVER)
    assert isinstance(runtime.run_store, JsonFileRunStore)
    assert isinstance(runtime.ledger_store, JsonlLedgerStore)
    assert runtime.artifact_store is not None
    with pytest.raises(InvalidInput, match="folder"):
        create_remote_file_runtime(base_dir="sqlite:///runs.db", **SERVER)
