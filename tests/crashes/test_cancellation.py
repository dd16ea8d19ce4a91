"""A task that awaits a run is cancelled: in a handler, in a commit, between them, twice.

The outcome of what was performed is kept, and the next tick goes on at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Runtime, open_store
from abstractruntime.core.commit import Commit
from abstractruntime.storage.base import Handle, Store
from abstractruntime.testing.clock import VirtualClock
from abstractruntime.testing.crashes import CrashingStore
from abstractruntime.testing.host import Host
from abstractruntime.testing.witness import Witness, outcome_committed
from tests.crashes.invoice import invoices
from tests.crashes.verdict import comparable, judge

Cancel = Callable[[], None]


class Telling(CrashingStore):
    """Calls `tell` when a commit has been handed in and is on its way."""

    tell: Cancel = staticmethod(lambda: None)

    def submit(self, commit: Commit) -> Handle:
        handle = super().submit(commit)
        self.tell()
        return handle


class TellingWitness(Witness):
    """Calls `tell` when an effect is under way, in whatever thread that is."""

    tell: Cancel = staticmethod(lambda: None)

    def perform(self, step: Any) -> Any:
        self.tell()
        return super().perform(step)


class Cancelled:
    """A run whose ticks are tasks that are cancelled at the `at`-th moment of a kind."""

    def __init__(self, store: Store, at: int, *, in_commits: bool, times: int) -> None:
        self.store = Telling(store)
        self.witness = TellingWitness(outcome_committed(store))
        self.moments = 0
        self.at = at
        self.times = times
        self.cancelled = 0
        (self.store if in_commits else self.witness).tell = self._moment
        self.built = invoices(self.witness)
        self.clock = VirtualClock(step=0.001)
        self.runtime = Runtime(
            store=self.store,
            context=self.clock,
            effect_handlers=self.built.handlers,
            effect_policy=self.built.policy,
            workflow_registry=self.built,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def _moment(self) -> None:
        self.moments += 1
        if self.moments >= self.at and self.times and self._loop is not None:
            self.times -= 1
            assert self._task is not None
            self._loop.call_soon_threadsafe(self._task.cancel)

    async def run(self) -> str:
        """Tick, answer, tick … until the run has ended; what was cancelled is done again."""
        self._loop = asyncio.get_running_loop()
        run_id = await self.runtime.astart(workflow=self.built.root)
        while True:
            run = self.runtime.get_state(run_id)
            if run.status.value not in ("running", "waiting"):
                return run_id
            if run.waiting is not None and run.waiting.until is not None:
                self.clock.forward_to(run.waiting.until)
            if run.waiting is not None and run.waiting.prompt is not None:
                move = self.runtime.aresume(
                    workflow=self.built.root,
                    run_id=run_id,
                    wait_key=None,
                    payload={"choice": "approve"},
                )
            else:
                move = self.runtime.atick(workflow=self.built.root, run_id=run_id)
            self._task = asyncio.ensure_future(move)
            try:
                await self._task
            except asyncio.CancelledError:
                self.cancelled += 1


def clean_output(store: Store) -> tuple[Any, int, int]:
    """The output of a run that nobody cancels, its commits and its effects."""
    trial = Cancelled(store, 10_000, in_commits=True, times=0)
    run_id = asyncio.run(trial.run())
    loaded = store.load(run_id)
    assert loaded is not None
    return comparable(loaded.run.output), trial.moments, len(trial.witness.performed)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("in_commits", [True, False], ids=["in commits", "in effects"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_task_cancelled_at_any_moment_leaves_a_run_that_goes_on(
    kind: str, in_commits: bool, times: int, tmp_path: Path
) -> None:
    url = "memory://" if kind == "memory" else f"sqlite:///{tmp_path}/runs.db"
    with open_store(url) as store:
        output, commits, effects = clean_output(store)
        total = 0
        for at in range(2, (commits if in_commits else effects) + 1):
            trial = Cancelled(store, at, in_commits=in_commits, times=times)
            run_id = asyncio.run(trial.run())
            # A cancelled async handler is stopped: its effect may have happened, and is repeated.
            judge(
                store,
                run_id,
                built=trial.built,
                output=output,
                witness=trial.witness,
                crashes=trial.cancelled,
            )
            total += trial.cancelled
    assert total >= (commits if in_commits else effects) - 2


def test_a_cancelled_sync_handler_is_performed_once(tmp_path: Path) -> None:
    """Nothing can stop its thread, so its outcome is awaited and kept."""
    with open_store(f"sqlite:///{tmp_path}/runs.db") as store:
        _, _, effects = clean_output(store)
        for at in range(1, effects + 1):
            trial = Cancelled(store, at, in_commits=False, times=1)
            asyncio.run(trial.run())
            keys = [seen.key for seen in trial.witness.performed if seen.node_id != "convert"]
            assert len(keys) == len(set(keys))


def test_a_blocking_host_goes_on_where_a_cancelled_task_left_the_run() -> None:
    with open_store("memory://") as store:
        output, _, _ = clean_output(store)
        trial = Cancelled(store, 5, in_commits=False, times=1)

        async def first() -> str:
            trial._loop = asyncio.get_running_loop()
            run_id = await trial.runtime.astart(workflow=trial.built.root)
            trial._task = asyncio.ensure_future(
                trial.runtime.atick(workflow=trial.built.root, run_id=run_id)
            )
            with pytest.raises(asyncio.CancelledError):
                await trial._task
            return run_id

        run_id = asyncio.run(first())
        trial._loop = None
        state = Host(trial.runtime, trial.clock).finish(run_id)
        assert comparable(state.output) == output
