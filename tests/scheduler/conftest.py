"""A scheduler on each kind of store that can be asked for its runs, and what it says it did."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import (
    Effect,
    InMemoryLedgerStore,
    InMemoryRunStore,
    Runtime,
    Scheduler,
    StepPlan,
    WorkflowRegistry,
    WorkflowSpec,
    open_store,
)
from abstractruntime.core.models import RunState
from abstractruntime.storage.base import Store
from abstractruntime.storage.paired import pair_of
from abstractruntime.testing.clock import EPOCH, VirtualClock

PATIENCE_S = 10.0


class Bench:
    """A runtime, its registry, a scheduler that is stopped at the end, and a clock to move."""

    def __init__(self, store: Store, clock: Any) -> None:
        self.store = store
        self.clock = clock
        self.registry = WorkflowRegistry()
        self.moved: queue.Queue[RunState] = queue.Queue()
        self.failed: queue.Queue[tuple[str, Exception]] = queue.Queue()
        self.schedulers: list[Scheduler] = []
        self.runtime = self.make()

    def make(self, **options: Any) -> Runtime:
        self.runtime = Runtime(
            store=self.store, context=self.clock, workflow_registry=self.registry, **options
        )
        return self.runtime

    def scheduler(self, **options: Any) -> Scheduler:
        options.setdefault("on_run_resumed", self.moved.put)
        options.setdefault("on_run_failed", lambda run_id, error: self.failed.put((run_id, error)))
        made = Scheduler(runtime=self.runtime, registry=self.registry, **options)
        self.schedulers.append(made)
        return made

    def start(self, spec: WorkflowSpec, **vars: Any) -> str:
        """A run of the workflow, which is registered if it is not; nothing is executed."""
        if spec.workflow_id not in self.registry:
            self.registry.register(spec)
        return self.runtime.start(workflow=spec, vars=vars)

    def run(self, spec: WorkflowSpec, **vars: Any) -> str:
        """A run that was moved to its first wait."""
        run_id = self.start(spec, **vars)
        self.runtime.tick(workflow=spec, run_id=run_id)
        return run_id

    def next_moved(self) -> RunState:
        """The next run that a scheduler says it moved."""
        return self.moved.get(timeout=PATIENCE_S)


def open_kind(kind: str, folder: Path) -> Store:
    if kind == "sqlite":
        return open_store(f"sqlite:///{folder}/runs.db")
    if kind == "pair":
        return pair_of(InMemoryRunStore(), InMemoryLedgerStore())
    return open_store("memory://")


@pytest.fixture(params=["memory", "sqlite", "pair"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with open_kind(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def bench(store: Store) -> Iterator[Bench]:
    made = Bench(store, VirtualClock(step=0.000_001))
    yield made
    for scheduler in made.schedulers:
        scheduler.stop(PATIENCE_S)
        assert not scheduler.is_running


def sleeper(
    seconds: float = 60.0, act: Callable[[], Any] = lambda: None, *, workflow_id: str = "sleeper"
) -> WorkflowSpec:
    """Sleeps until some time after EPOCH, then calls `act`."""
    from abstractruntime.core.times import plus

    until = plus(EPOCH, seconds)
    return WorkflowSpec(
        workflow_id,
        "sleep",
        {
            "sleep": lambda run, context: StepPlan(
                "sleep", Effect("wait_until", {"until": until}, "slept"), "act"
            ),
            "act": lambda run, context: StepPlan(
                "act", Effect("call", {"function": "act"}, "acted"), "end"
            ),
            "end": lambda run, context: StepPlan("end", complete_output=dict(run.vars)),
        },
        functions={"act": act},
    )


def asker(workflow_id: str = "asker") -> WorkflowSpec:
    """Asks a person and completes with the answer."""
    return WorkflowSpec(
        workflow_id,
        "ask",
        {
            "ask": lambda run, context: StepPlan(
                "ask", Effect("ask_user", {"prompt": "?", "wait_key": "k"}, "said"), "end"
            ),
            "end": lambda run, context: StepPlan("end", complete_output={"said": run.vars["said"]}),
        },
    )


def parent(child: str, workflow_id: str = "parent", **payload: Any) -> WorkflowSpec:
    """Starts a child and completes with what it hears."""
    return WorkflowSpec(
        workflow_id,
        "start",
        {
            "start": lambda run, context: StepPlan(
                "start",
                Effect("start_subworkflow", {"workflow_id": child, **payload}, "sub"),
                "end",
            ),
            "end": lambda run, context: StepPlan("end", complete_output={"sub": run.vars["sub"]}),
        },
    )
