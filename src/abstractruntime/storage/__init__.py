"""Where runs live: one contract and the stores that keep it. It knows the kernel and no engine."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from abstractruntime.storage.base import LedgerStore, QueryableRunStore, RunStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.ledger_chain import HashChainedLedgerStore, verify_ledger_chain
from abstractruntime.storage.snapshots import (
    InMemorySnapshotStore,
    JsonSnapshotStore,
    Snapshot,
    SnapshotStore,
    SqliteSnapshotStore,
)

if TYPE_CHECKING:
    from abstractruntime.storage.open import open_store
    from abstractruntime.storage.sqlite import SqliteLedgerStore, SqliteRunStore

__all__ = [
    "HashChainedLedgerStore",
    "InMemoryLedgerStore",
    "InMemoryRunStore",
    "InMemorySnapshotStore",
    "JsonFileRunStore",
    "JsonSnapshotStore",
    "JsonlLedgerStore",
    "LedgerStore",
    "QueryableRunStore",
    "RunStore",
    "Snapshot",
    "SnapshotStore",
    "SqliteLedgerStore",
    "SqliteRunStore",
    "SqliteSnapshotStore",
    "open_store",
    "verify_ledger_chain",
]

_HOMES = {
    "SqliteLedgerStore": "abstractruntime.storage.sqlite",
    "SqliteRunStore": "abstractruntime.storage.sqlite",
    "open_store": "abstractruntime.storage.open",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value
