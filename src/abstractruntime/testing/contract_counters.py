"""The store contract, counters: commits change them together, and are refused past their bounds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from abstractruntime.core.commit import Commit, Count, Counter
from abstractruntime.errors import CounterRefused, RevisionConflict
from abstractruntime.storage.base import Capability, Store
from abstractruntime.testing.contract_base import ContractBase, assert_stands, created, needs


def counting(commit: Commit, **counts: Count) -> Commit:
    """The commit with changes of the counters of "o"."""
    return replace(commit, counters={f"o/{name}": count for name, count in counts.items()})


class CountersContract(ContractBase):
    """Counters that commits of several runs change."""

    @needs(Capability.COUNTERS)
    def test_a_counter_begins_at_zero_of_zero_and_adds_up(self, store: Store) -> None:
        script = created(store, "r")
        store.commit(counting(script.begin(), a=Count(raised=10), b=Count(-2)))
        assert store.list_counters("o") == {"a": Counter(0, 10), "b": Counter(-2, 0)}
        other = created(store, "s")
        store.commit(counting(other.begin(), a=Count(7, raised=5, firm=True)))
        assert store.list_counters("o") == {"a": Counter(7, 15), "b": Counter(-2, 0)}
        assert store.list_counters("") == store.list_counters("o0") == {}

    @needs(Capability.COUNTERS)
    def test_a_firm_count_past_the_bound_refuses_all_of_the_commit(self, store: Store) -> None:
        first = created(store, "r")
        store.commit(counting(first.begin(), a=Count(raised=5), b=Count(raised=5)))
        script = created(store, "s")
        with pytest.raises(CounterRefused, match="'o/b' stands at 0 of 5: 6 more") as refused:
            store.commit(counting(script.begin(), a=Count(5, firm=True), b=Count(6, firm=True)))
        where = refused.value.where
        assert (where["counter"], where["value"], where["at_most"]) == ("o/b", 0, 5)
        assert store.list_counters("o") == {"a": Counter(0, 5), "b": Counter(0, 5)}
        loaded = store.load("s")
        assert loaded is not None
        assert loaded.run.checkpoint is not None
        assert loaded.run.checkpoint.revision == 1
        assert {record["revision"] for record in store.list_records("s")} <= {1}

    @needs(Capability.COUNTERS)
    def test_what_is_not_firm_may_pass_the_bound_and_comes_back(self, store: Store) -> None:
        script = created(store, "r")
        store.commit(counting(script.begin(), a=Count(9, raised=5)))
        other = created(store, "s")
        store.commit(counting(other.begin(), a=Count(-3, firm=True)))
        assert store.list_counters("o") == {"a": Counter(6, 5)}

    @needs(Capability.COUNTERS)
    def test_a_commit_that_misses_counts_nothing(self, store: Store) -> None:
        script = created(store, "r")
        commit = script.begin()
        store.commit(counting(commit, a=Count(raised=5)))
        with pytest.raises(RevisionConflict):
            store.commit(counting(commit, a=Count(raised=5)))
        assert store.list_counters("o") == {"a": Counter(0, 5)}
        assert_stands(store, script)

    @needs(Capability.COUNTERS)
    def test_many_that_count_at_once_never_pass_the_bound(self, store: Store) -> None:
        first = created(store, "r")
        store.commit(counting(first.begin(), a=Count(raised=10)))
        scripts = [created(store, f"s{n}") for n in range(20)]
        commits = [counting(script.begin(), a=Count(3, firm=True)) for script in scripts]

        def won(commit: Commit) -> bool:
            try:
                store.commit(commit)
            except CounterRefused:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(won, commits)) == 3
        assert store.list_counters("o") == {"a": Counter(9, 10)}
