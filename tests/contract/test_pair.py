"""Pairs of our own plain stores keep the store contract."""

from pathlib import Path

from abstractruntime.storage.base import Store
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.ledger_chain import HashChainedLedgerStore
from abstractruntime.storage.paired import PairedStore
from abstractruntime.testing import StoreContract


class TestInMemoryPair(StoreContract):
    def make_store(self, tmp_path: Path) -> Store:
        return PairedStore(InMemoryRunStore(), InMemoryLedgerStore())


class TestChainedPair(StoreContract):
    def make_store(self, tmp_path: Path) -> Store:
        return PairedStore(InMemoryRunStore(), HashChainedLedgerStore(InMemoryLedgerStore()))


class TestFiles(StoreContract):
    def make_store(self, tmp_path: Path) -> Store:
        folder = tmp_path / "runs"
        return PairedStore(JsonFileRunStore(folder), JsonlLedgerStore(folder), url=str(folder))

    def reopen(self, store: Store) -> Store:
        folder = store.url
        return PairedStore(JsonFileRunStore(folder), JsonlLedgerStore(folder), url=folder)
