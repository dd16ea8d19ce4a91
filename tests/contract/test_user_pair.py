"""Pairs of a program's own stores, however little they keep, keep the store contract."""

from pathlib import Path

from abstractruntime.storage.paired import PairedStore
from abstractruntime.testing import StoreContract
from tests.contract.plain_stores import AsdictLedger, AsdictRuns, DictLedger, DictRuns, ObjectRuns


class TestSmallestPair(StoreContract):
    def make_store(self, tmp_path: Path) -> PairedStore:
        return PairedStore(DictRuns(), DictLedger())


class TestPairThatKeepsEverything(StoreContract):
    def make_store(self, tmp_path: Path) -> PairedStore:
        return PairedStore(AsdictRuns(), AsdictLedger())


class TestPairWhoseLedgerDropsRevisions(StoreContract):
    def make_store(self, tmp_path: Path) -> PairedStore:
        return PairedStore(ObjectRuns(), DictLedger())


class TestPairWhoseRunStoreDropsCheckpoints(StoreContract):
    def make_store(self, tmp_path: Path) -> PairedStore:
        return PairedStore(DictRuns(), AsdictLedger())
