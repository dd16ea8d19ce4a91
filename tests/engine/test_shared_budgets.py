"""A budget that many runs share: threads and crashes never spend more than it has."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import (
    Budget,
    Effect,
    EffectOutcome,
    RunStatus,
    Runtime,
    StepPlan,
    WorkflowRegistry,
    WorkflowSpec,
)
from abstractruntime.core.models import RunState
from abstractruntime.errors import RunBusy
from abstractruntime.storage.base import Store
from abstractruntime.testing.crashes import Crash, CrashingStore, Fuse, When
from tests.engine.conftest import Clock, open_kind

CEILING, COSTS = 20, 15


class Shop:
    """What is spent outside, whoever dies."""

    def __init__(self, dies_at: frozenset[int] = frozenset()) -> None:
        self.spent = 0
        self.calls = 0
        self._dies_at = dies_at
        self._lock = threading.Lock()

    def buy(self, run: RunState, effect: Effect) -> EffectOutcome:
        with self._lock:
            self.calls += 1
            self.spent += COSTS
            dies = self.calls in self._dies_at
        if dies:
            raise Crash("between the effect and its outcome")
        return EffectOutcome.completed({"usage": {"input_tokens": 5, "output_tokens": COSTS - 5}})


def specs(children: int, calls: int, *, waits: bool) -> WorkflowRegistry:
    def work(run: RunState, ctx: Any) -> StepPlan:
        done = run.vars.get("done", 0)
        if done == calls:
            return StepPlan("work", complete_output={"done": done})
        run.vars["done"] = done + 1
        return StepPlan("work", Effect("buy", {}, costs={"tokens": CEILING}), "work")

    def fan(run: RunState, ctx: Any) -> StepPlan:
        payload = {"workflow_id": "child", "async": not waits}
        effects = [Effect("start_subworkflow", payload) for _ in range(children)]
        return StepPlan("fan", effects=effects, next_node="end", into="all")

    def end(run: RunState, ctx: Any) -> StepPlan:
        return StepPlan("end", complete_output={"all": run.vars["all"]["results"]})

    registry = WorkflowRegistry()
    registry.register(WorkflowSpec("child", "work", {"work": work}))
    registry.register(WorkflowSpec("parent", "fan", {"fan": fan, "end": end}))
    return registry


def runtime_on(store: Store, registry: WorkflowRegistry, shop: Shop) -> Runtime:
    return Runtime(
        store=store, workflow_registry=registry, effect_handlers={"buy": shop.buy}, context=Clock()
    )


def family(store: Store, run_id: str) -> list[RunState]:
    parent = store.load(run_id)
    assert parent is not None
    return [parent.run, *store.list_children(parent_run_id=run_id)]


def check_books(store: Store, run_id: str, limit: int) -> int:
    """The counter is what the ledgers say was spent and what checkpoints hold; tokens spent."""
    spent = held = 0
    for run in family(store, run_id):
        assert run.checkpoint is not None
        account = run.checkpoint.terms.account
        assert account is not None
        noted = 0
        for record in store.list_records(run.run_id):
            said = record["result"] or {}
            if record["effect"] is None and said.get("kind") == "spent":
                noted += said["used"]["tokens"]
        assert noted == account["spent"].get("tokens", 0)
        spent += noted
        held += account["held"].get(run_id, {}).get("tokens", 0)
        if run.status is RunStatus.COMPLETED:
            assert account["held"] == {}
    counter = store.list_counters(run_id)["tokens"]
    assert counter.value == spent + held
    assert spent + held <= counter.at_most == limit
    return spent


@pytest.fixture(params=("memory", "sqlite"))
def medium(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    count = iter(range(1000))

    def make() -> Store:
        folder = tmp_path / str(next(count))
        folder.mkdir()
        return open_kind(request.param, folder)

    return make


@pytest.mark.parametrize("dies_at", [frozenset(), frozenset(range(3, 60, 7))])
def test_fifty_runs_in_threads_never_spend_more_than_they_share(
    medium: Any, dies_at: frozenset[int]
) -> None:
    store: Store = medium()
    registry, shop = specs(50, 3, waits=False), Shop(dies_at)
    runtime = runtime_on(store, registry, shop)
    parent = registry.get_or_raise("parent")
    run_id = runtime.start(workflow=parent, budget=Budget(tokens=1000))
    runtime.tick(workflow=parent, run_id=run_id)
    ids = [run.run_id for run in store.list_children(parent_run_id=run_id)]
    assert len(ids) == 50
    _tick_all(runtime, registry, ids, threads=8)
    spent = check_books(store, run_id, 1000)
    assert shop.spent <= spent <= 1000
    assert shop.spent > 1000 - 50 * CEILING // 2 or dies_at
    # More for all of them: each goes on where it paused.
    runtime.raise_budget(run_id, tokens=3000)
    _tick_all(runtime, registry, ids, threads=8)
    assert {run.status for run in family(store, run_id)} == {RunStatus.COMPLETED}
    assert shop.calls == 150 + len(dies_at)
    assert shop.spent <= check_books(store, run_id, 4000)
    found = runtime.get_budget(run_id)
    assert found["reserved"] == {"tokens": 0}
    assert found["used"] == {"tokens": 150 * COSTS + len(dies_at) * CEILING}
    store.close()


def _tick_all(runtime: Runtime, registry: WorkflowRegistry, ids: list[str], threads: int) -> None:
    child = registry.get_or_raise("child")
    left = list(ids)
    failures: list[BaseException] = []

    def work() -> None:
        while left:
            try:
                run_id = left.pop()
            except IndexError:
                return
            try:
                for _ in range(20):
                    try:
                        runtime.tick(workflow=child, run_id=run_id)
                        break
                    except (Crash, RunBusy):
                        continue
            except BaseException as error:
                failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []


def _run_family(store: Store, fuse: Fuse | None, shop: Shop, run_id: str | None) -> str | None:
    """One life of a process: starts the parent where there is none, and ticks it."""
    registry = specs(3, 2, waits=True)
    mine = store if fuse is None else CrashingStore(store, fuse)
    runtime = runtime_on(mine, registry, shop)
    parent = registry.get_or_raise("parent")
    budget = Budget(tokens=90, effects={"buy": 50})
    run_id = run_id or runtime.start(
        workflow=parent, budget=budget, run_id="parent", on_duplicate="return"
    )
    runtime.tick(workflow=parent, run_id=run_id)
    return run_id


@pytest.mark.parametrize("when", list(When))
def test_a_crash_at_any_call_to_the_store_leaves_the_books_right(medium: Any, when: When) -> None:
    fuse = Fuse()
    store: Store = medium()
    _run_family(store, fuse, Shop(), None)
    calls = len(fuse.calls)
    store.close()
    assert calls > 15
    for at in range(1, calls + 1):
        store, shop = medium(), Shop()
        with pytest.raises(Crash):
            _run_family(store, Fuse(at, when), shop, None)
        _run_family(store, None, shop, None)
        _run_family(store, None, shop, None)
        spent = check_books(store, "parent", 90)
        assert shop.spent <= spent <= 90
        runtime = runtime_on(store, specs(3, 2, waits=True), shop)
        runtime.raise_budget("parent", tokens=100)
        _run_family(store, None, shop, "parent")
        _run_family(store, None, shop, "parent")
        assert {run.status for run in family(store, "parent")} == {RunStatus.COMPLETED}, at
        assert shop.calls in (6, 7)
        spent = check_books(store, "parent", 190)
        # An attempt that was cut short, performed or not, counts as its ceiling.
        lost = 0 if spent == COSTS * 6 else 1
        assert spent == COSTS * 6 + CEILING * lost
        assert shop.calls <= 6 + lost
        counters = store.list_counters("parent")
        assert counters["effects.buy"].value == 6
        store.close()
