"""The store contract, third concern: many commits of any size, and every state they led to."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from abstractruntime.core.commit import Commit
from abstractruntime.core.models import RunStatus
from abstractruntime.errors import UnsupportedByStore
from abstractruntime.storage.base import Capability, Store
from abstractruntime.testing.commits import Script, as_seen, time_at, waiting_for
from abstractruntime.testing.contract_base import (
    ContractBase,
    assert_stands,
    created,
    loaded,
    needs,
)

SIZES = [100, 3_000, 5_000, 30_000, 200_000]
"""Bytes of state: below and above what stands whole in a row, and large."""

LETTERS = 'aé😀\u0000"\\ \n'


class HistoryContract(ContractBase):
    """Random walks; the seed is the test's parameter."""

    @pytest.mark.parametrize("size", SIZES)
    def test_a_run_stands_after_each_of_many_random_commits(self, store: Store, size: int) -> None:
        walk = Walk(store, size, seed=size)
        for _ in range(60 if size < 100_000 else 25):
            walk.go()
            assert as_seen(loaded(store, "r")) == as_seen(walk.script.state)
        assert_stands(store, walk.script)

    @needs(Capability.HISTORY)
    @pytest.mark.parametrize("size", SIZES)
    def test_every_revision_can_be_loaded_again(self, store: Store, size: int) -> None:
        walk = Walk(store, size, seed=size + 1)
        for _ in range(300 if size < 30_000 else 120):
            walk.go()
        revisions = list(range(1, walk.script.revision + 1))
        if size > 100_000:
            revisions = walk.dice.sample(revisions, 60)
        for revision in revisions:
            found = store.load_at("r", revision)
            assert as_seen(found.run) == walk.seen[revision], f"revision {revision}"
        assert_stands(store, walk.script)

    @needs(Capability.HISTORY)
    def test_a_past_state_shares_nothing_with_the_store(self, store: Store) -> None:
        script = created(store, "r", vars={"list": [1]})
        first = as_seen(script.state)
        store.commit(script.commit(vars={"list": [1, 2]}))
        store.load_at("r", 1).run.vars["list"].append(3)
        assert as_seen(store.load_at("r", 1).run) == first

    @needs(Capability.HISTORY)
    def test_a_past_open_step_has_its_payload(self, store: Store) -> None:
        script = created(store, "r")
        store.commit(script.begin({"text": "é" * 5000}))
        begun = as_seen(script.state)
        store.commit(script.finish())
        store.commit(script.begin({"text": "other"}))
        assert as_seen(store.load_at("r", 2).run) == begun

    def test_a_store_without_history_says_so(self, store: Store) -> None:
        if Capability.HISTORY in store.capabilities:
            pytest.skip(f"{store.url} promises 'history'")
        script = created(store, "r")
        store.commit(script.begin())
        assert as_seen(store.load_at("r", 2).run) == as_seen(script.state)
        with pytest.raises(UnsupportedByStore):
            store.load_at("r", 1)


class Walk:
    """Random commits of one run whose state is about `size` bytes."""

    def __init__(self, store: Store, size: int, *, seed: int) -> None:
        self.store = store
        self.size = size
        self.dice = random.Random(seed)
        self.script = Script("r", vars=self._state())
        self.seen: dict[int, dict[str, Any]] = {}
        self._take(self.script.commit())

    def go(self) -> None:
        """One more commit."""
        script, dice = self.script, self.dice
        vars = self._changed() if dice.random() < 0.8 else None
        node = dice.choice(["first", "second", "third"])
        if script.checkpoint.open_steps:
            result = {"text": self._text(dice.choice([10, 500]))}
            self._take(script.finish(result, vars=vars, current_node=node))
        elif dice.random() < 0.6:
            self._take(script.begin({"text": self._text(100)}, vars=vars, current_node=node))
        elif dice.random() < 0.5:
            wait = waiting_for(f"k{dice.randrange(3)}", details={"n": dice.random()})
            note = script.note("waits")
            self._take(
                script.commit(vars=vars, records=[note], status=RunStatus.WAITING, waiting=wait)
            )
        else:
            visits = {**script.checkpoint.visits, node: dice.randrange(100)}
            if dice.random() < 0.1:
                visits = {}
            self._take(
                script.commit(
                    vars=vars,
                    status=RunStatus.RUNNING,
                    waiting=None,
                    current_node=node,
                    kernel={"visits": visits, "queued_at": dice.choice([None, time_at(9)])},
                )
            )

    def _take(self, commit: Commit) -> None:
        self.store.commit(commit)
        self.seen[self.script.revision] = as_seen(copy.deepcopy(self.script.state))

    def _state(self) -> dict[str, Any]:
        parts = max(1, min(40, self.size // 100))
        vars: dict[str, Any] = {
            f"part{n}": self._text(self.size // parts // 2) for n in range(parts // 2)
        }
        vars["log"] = [self._text(self.size // parts // 2) for _ in range(parts // 4)]
        vars["nested"] = {"a": {"b": {"c": {"d": self._text(self.size // 4)}}}}
        return vars

    def _changed(self) -> dict[str, Any]:
        """The vars after one to three changes of the kinds that nodes make."""
        vars = copy.deepcopy(self.script.state.vars)
        for _ in range(self.dice.randrange(1, 4)):
            self.dice.choice(
                [self._append, self._splice, self._replace, self._drop, self._add, self._nest]
            )(vars)
        return vars

    def _append(self, vars: dict[str, Any]) -> None:
        vars.setdefault("log", []).append(self._text(30))
        if len(vars["log"]) > 60:
            del vars["log"][:40]

    def _splice(self, vars: dict[str, Any]) -> None:
        for name, value in vars.items():
            if isinstance(value, str) and value:
                at = self.dice.randrange(len(value))
                vars[name] = value[:at] + self._text(5) + value[at + 3 :]
                return

    def _replace(self, vars: dict[str, Any]) -> None:
        if vars:
            name = self.dice.choice(sorted(vars))
            values: list[Any] = [None, 10**30, 0.1, {}, [], self._text(50), {"x": [self._text(20)]}]
            vars[name] = self.dice.choice(values)
            if name == "log":
                vars[name] = []

    def _drop(self, vars: dict[str, Any]) -> None:
        if len(vars) > 3:
            vars.pop(self.dice.choice(sorted(vars)))

    def _add(self, vars: dict[str, Any]) -> None:
        vars[f"new{self.dice.randrange(20)}é"] = self._text(self.dice.choice([5, 200]))

    def _nest(self, vars: dict[str, Any]) -> None:
        below = vars.setdefault("nested", {})
        while isinstance(below, dict) and below and self.dice.random() < 0.7:
            name = self.dice.choice(sorted(below))
            if not isinstance(below[name], dict):
                below[name] = {"text": self._text(10)}
            below = below[name]
        if isinstance(below, dict):
            below[f"k{self.dice.randrange(5)}"] = self._text(40)

    def _text(self, size: int) -> str:
        some = "".join(self.dice.choice(LETTERS) for _ in range(min(size, 40)))
        return (some * (size // max(len(some), 1) + 1))[:size]
