"""Parents and children are moved by many at once, and by a scheduler: each hears of each once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import (
    Effect,
    RunStatus,
    Runtime,
    Scheduler,
    StepPlan,
    WorkflowRegistry,
    WorkflowSpec,
    open_store,
)
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState
from abstractruntime.errors import Contended, NotWaiting, WaitKeyMismatch
from abstractruntime.storage.base import Store
from abstractruntime.testing.witness import Witness, committed_keys
from abstractruntime.testing.workflows import Seer
from tests.crashes.verdict import check_ended, check_ledger, family
from tests.races.race import hasty_threads

FAMILIES = 30
PATIENCE_S = 15.0


def child(seer: Seer) -> WorkflowSpec:
    def work(step: Any) -> int:
        seer.perform(step)
        return int(step.visit)

    def effect(node_id: str, after: str) -> Any:
        call = Effect("call", {"function": "work"}, node_id)
        return lambda run, context: StepPlan(node_id, call, after)

    return WorkflowSpec(
        "child",
        "a",
        {
            "a": effect("a", "ask"),
            "ask": lambda run, context: StepPlan(
                "ask", Effect("wait_event", {"wait_key": "go"}, "said"), "b"
            ),
            "b": effect("b", "end"),
            "end": lambda run, context: StepPlan("end", complete_output={"said": run.vars["said"]}),
        },
        functions={"work": work},
    )


def parent() -> WorkflowSpec:
    def count(run: RunState, context: Any) -> StepPlan:
        run.vars["heard"] = run.vars.get("heard", 0) + 1
        after = "start" if run.vars["heard"] < 2 else "end"
        return StepPlan("count", next_node=after)

    return WorkflowSpec(
        "parent",
        "start",
        {
            "start": lambda run, context: StepPlan(
                "start", Effect("start_subworkflow", {"workflow_id": "child"}, "sub"), "count"
            ),
            "count": count,
            "end": lambda run, context: StepPlan(
                "end", complete_output={"heard": run.vars["heard"], "sub": run.vars["sub"]}
            ),
        },
    )


class Busybody:
    """Ticks every run it finds, parents and children, and answers whatever waits for an answer."""

    def __init__(self, runtime: Runtime, specs: dict[str, WorkflowSpec], errors: list[str]) -> None:
        self._runtime = runtime
        self._specs = specs
        self._errors = errors

    def work(self, parents: list[str]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and len(self._errors) < 20:
            runs = [self._runtime.get_state(run_id) for run_id in parents]
            if all(run.status in ENDED for run in runs):
                return
            for run in runs:
                self._try(lambda run=run: self._move(run))
                for each in self._runtime.store.list_children(parent_run_id=run.run_id):
                    self._try(lambda each=each: self._move(each))

    def _move(self, run: RunState) -> None:
        spec = self._specs[run.workflow_id]
        state = self._runtime.tick(workflow=spec, run_id=run.run_id)
        if state.waiting is not None and state.waiting.wait_key == "go":
            self._runtime.resume(workflow=spec, run_id=run.run_id, wait_key="go", payload="yes")

    def _try(self, move: Callable[[], None]) -> None:
        try:
            move()
        except (Contended, NotWaiting, WaitKeyMismatch):
            pass
        except Exception as error:
            self._errors.append(f"{type(error).__name__}: {error}")


class House:
    """Families on one store, movers for them, and a scheduler that may help."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.witness = Witness()
        self.registry = WorkflowRegistry()
        self.specs = {"parent": parent(), "child": child(self.witness)}
        for spec in self.specs.values():
            self.registry.register(spec)
        self.errors: list[str] = []
        self.runtime = Runtime(store=store, workflow_registry=self.registry)
        self.scheduler = Scheduler(
            runtime=self.runtime,
            registry=self.registry,
            poll_interval_s=0.01,
            on_run_failed=lambda run_id, error: self.errors.append(f"{run_id}: {error!r}"),
        )
        self.parents = [self.runtime.start(workflow=self.specs["parent"]) for _ in range(FAMILIES)]

    def move(self, *others: Callable[[], object]) -> None:
        """Six busybodies and whoever else is given, until all parents have ended."""
        bodies = [Busybody(self.runtime, self.specs, self.errors) for _ in range(6)]
        threads = [threading.Thread(target=body.work, args=(self.parents,)) for body in bodies]
        threads += [threading.Thread(target=other) for other in others]
        with hasty_threads():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.scheduler.stop()
        assert self.errors == []


@pytest.fixture(params=["memory", "sqlite"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/runs.db"
    with open_store(url) as store:
        yield House(store)


@pytest.mark.parametrize("scheduled", [False, True], ids=["movers", "movers and a scheduler"])
def test_parents_and_children_moved_by_all_at_once_hear_of_each_other_once(
    house: House, scheduled: bool
) -> None:
    if scheduled:
        house.scheduler.start()
    house.move()
    for run_id in house.parents:
        first, *children = family(house.store, run_id)
        assert (first.status, len(children)) == (RunStatus.COMPLETED, 2)
        assert first.output is not None
        assert first.output["heard"] == 2
        assert first.output["sub"]["output"] == {"said": "yes"}
        for run in (first, *children):
            check_ended(house.store, run)
    performed = Counter((seen.run_id, seen.node_id) for seen in house.witness.performed)
    assert len(performed) == FAMILIES * 4
    assert set(performed.values()) == {1}


def test_families_cancelled_while_all_move_them_end_whole(house: House) -> None:
    def cancel() -> None:
        for run_id in house.parents:
            house.scheduler.cancel_with_children(run_id, reason="enough")

    house.move(cancel)
    for run_id in house.parents:
        for run in family(house.store, run_id):
            assert run.status in ENDED, f"{run.workflow_id} is {run.status.value}"
            check_ledger(house.store, run.run_id)
            performed = [one.key for one in house.witness.performed if one.run_id == run.run_id]
            kept = {
                item.outcome["idempotency_key"] for item in house.store.list_evidence(run.run_id)
            }
            # A parent's evidence is of its child's end, which nobody performed here.
            assert set(performed) <= committed_keys(house.store, run.run_id) | kept
            assert len(performed) == len(set(performed))
    assert house.scheduler.poll_once() == 0, "nothing is left to move"
