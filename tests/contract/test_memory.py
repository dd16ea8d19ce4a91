"""The in-memory store keeps the store contract."""

from pathlib import Path

from abstractruntime.storage.memory_store import MemoryStore
from abstractruntime.testing import StoreContract


class TestMemoryStore(StoreContract):
    def make_store(self, tmp_path: Path) -> MemoryStore:
        return MemoryStore()
