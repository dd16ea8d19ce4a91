"""Every scenario runs on every store and by both drivers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import (
    InMemoryLedgerStore,
    InMemoryRunStore,
    JsonFileRunStore,
    JsonlLedgerStore,
    Runtime,
    WorkflowRegistry,
    WorkflowSpec,
    open_store,
)
from abstractruntime.core.models import RunState
from abstractruntime.core.times import plus
from abstractruntime.storage.base import Store
from abstractruntime.storage.paired import pair_of

STORES = ("memory", "sqlite", "pair", "files")


class Clock:
    """A clock the test moves."""

    def __init__(self) -> None:
        self.now = "2026-01-01T00:00:00.000000+00:00"

    def now_iso(self) -> str:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now = plus(self.now, seconds)


class World:
    """A store, a runtime on it, and one of the two drivers."""

    def __init__(self, store: Store, mode: str, clock: Clock) -> None:
        self.store = store
        self.mode = mode
        self.clock = clock
        self.registry = WorkflowRegistry()
        self.options: dict[str, Any] = {}
        self.runtime = self.make()

    def make(self, **options: Any) -> Runtime:
        """A runtime on the store; the later verbs use it."""
        options.setdefault("workflow_registry", self.registry)
        self.runtime = Runtime(store=self.store, context=self.clock, **options)
        return self.runtime

    def start(self, spec: WorkflowSpec, **vars: Any) -> str:
        return self.runtime.start(workflow=spec, vars=vars)

    def tick(self, spec: WorkflowSpec, run_id: str, **options: Any) -> RunState:
        if self.mode == "blocking":
            return self.runtime.tick(workflow=spec, run_id=run_id, **options)
        return asyncio.run(self.runtime.atick(workflow=spec, run_id=run_id, **options))

    def run(self, spec: WorkflowSpec, **vars: Any) -> RunState:
        return self.tick(spec, self.start(spec, **vars))

    def resume(self, spec: WorkflowSpec, run_id: str, payload: Any, **options: Any) -> RunState:
        options.setdefault("wait_key", None)
        if self.mode == "blocking":
            return self.runtime.resume(workflow=spec, run_id=run_id, payload=payload, **options)
        return asyncio.run(
            self.runtime.aresume(workflow=spec, run_id=run_id, payload=payload, **options)
        )

    def statuses(self, run_id: str) -> list[tuple[str, str]]:
        """(node, status) of every record of a step."""
        return [
            (record["node_id"], record["status"])
            for record in self.runtime.get_ledger(run_id)
            if record["effect"] is not None
        ]

    def kinds(self, run_id: str) -> list[str]:
        """The kinds of all records that are no step."""
        return [
            (record["result"] or {}).get("kind", "completed")
            for record in self.runtime.get_ledger(run_id)
            if record["effect"] is None
        ]


def open_kind(kind: str, folder: Path) -> Store:
    if kind == "memory":
        return open_store("memory://")
    if kind == "sqlite":
        return open_store(f"sqlite:///{folder}/runs.db")
    if kind == "files":
        return pair_of(JsonFileRunStore(folder / "runs"), JsonlLedgerStore(folder / "runs"))
    return pair_of(InMemoryRunStore(), InMemoryLedgerStore())


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = open_kind(request.param, tmp_path)
    yield store
    store.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=("blocking", "awaiting"))
def world(request: pytest.FixtureRequest, store: Store, clock: Clock) -> World:
    return World(store, request.param, clock)


class Counter:
    """An effect handler that counts what it performed, and may misbehave."""

    def __init__(self, answer: Callable[[int], Any] | None = None) -> None:
        self.performed: list[Any] = []
        self._answer = answer

    def __call__(self, run: RunState, effect: Any) -> Any:
        from abstractruntime import EffectOutcome

        self.performed.append(effect.payload)
        if self._answer is None:
            return EffectOutcome.completed({"n": len(self.performed)})
        return self._answer(len(self.performed))
