"""A CrashingStore that does not crash keeps the contract of the store beneath it."""

from pathlib import Path

from abstractruntime.storage.base import Store
from abstractruntime.storage.memory_store import MemoryStore
from abstractruntime.testing import CrashingStore, StoreContract


class TestCrashingStore(StoreContract):
    def make_store(self, tmp_path: Path) -> Store:
        return CrashingStore(MemoryStore())
