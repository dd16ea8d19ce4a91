"""The SQLite store keeps the store contract."""

from pathlib import Path

from abstractruntime.storage.base import Store
from abstractruntime.storage.open import open_store
from abstractruntime.testing import StoreContract


class TestSqliteStore(StoreContract):
    def make_store(self, tmp_path: Path) -> Store:
        return open_store(f"sqlite:///{tmp_path}/runs.db")

    def reopen(self, store: Store) -> Store:
        return open_store(store.url)
