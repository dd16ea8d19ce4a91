"""A host program in small: moves a run to its end, answers what it asks, moves the clock."""

from __future__ import annotations

import asyncio
from typing import Any

from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.engine.runtime import Runtime
from abstractruntime.scheduler.registry import WorkflowRegistry
from abstractruntime.scheduler.scheduler import Scheduler
from abstractruntime.testing.clock import VirtualClock

MOST_MOVES = 10_000


class Host:
    """Moves runs by hand, by the blocking or the awaiting driver, with the same answers always.

    `max_steps` is what each tick gets: 1 is how agents are driven.
    """

    def __init__(
        self,
        runtime: Runtime,
        clock: VirtualClock,
        *,
        awaiting: bool = False,
        max_steps: float = 100,
    ) -> None:
        self.runtime = runtime
        self.clock = clock
        self.awaiting = awaiting
        self.max_steps = max_steps

    def start(self, spec: WorkflowSpec, **options: Any) -> str:
        """Create a run; its id."""
        if not self.awaiting:
            return self.runtime.start(workflow=spec, **options)
        return asyncio.run(self.runtime.astart(workflow=spec, **options))

    def finish(self, run_id: str) -> RunState:
        """Move the run, and the children it waits for, until it has ended."""
        for _ in range(MOST_MOVES):
            run = self.runtime.get_state(run_id)
            if run.status in ENDED:
                return run
            self._move(run)
        raise AssertionError(f"run {run_id} does not end: {run.status} at {run.current_node}")

    def _move(self, run: RunState) -> None:
        if run.status is RunStatus.RUNNING or run.waiting is None:
            self.tick(run)
        elif run.waiting.reason is WaitReason.SUBWORKFLOW:
            assert run.waiting.details is not None
            self.finish(run.waiting.details["sub_run_id"])
            self.tick(run)
        elif run.waiting.until is not None:
            self.clock.forward_to(run.waiting.until)
            self.tick(run)
        else:
            self.answer(run)

    def tick(self, run: RunState) -> RunState:
        """One tick of the run."""
        spec, runtime = self._spec(run), self.runtime
        if not self.awaiting:
            return runtime.tick(workflow=spec, run_id=run.run_id, max_steps=self.max_steps)
        tick = runtime.atick(workflow=spec, run_id=run.run_id, max_steps=self.max_steps)
        return asyncio.run(tick)

    def answer(self, run: RunState) -> RunState:
        """Answer the open wait: with its first choice, or with "yes"."""
        assert run.waiting is not None
        options: dict[str, Any] = {
            "workflow": self._spec(run),
            "run_id": run.run_id,
            "wait_key": run.waiting.wait_key,
            "payload": {"choice": (run.waiting.choices or ["yes"])[0]},
            "max_steps": self.max_steps,
        }
        if not self.awaiting:
            return self.runtime.resume(**options)
        return asyncio.run(self.runtime.aresume(**options))

    def _spec(self, run: RunState) -> WorkflowSpec:
        source = self.runtime.workflow_registry
        spec = None if source is None else source.get(run.workflow_id)
        assert spec is not None, f"no workflow {run.workflow_id} in the registry"
        return spec


class ScheduledHost(Host):
    """Leaves to a scheduler what one may move; it answers, and drives what is parked."""

    def __init__(
        self, runtime: Runtime, clock: VirtualClock, registry: WorkflowRegistry, **options: Any
    ) -> None:
        super().__init__(runtime, clock, **options)
        self.scheduler = Scheduler(runtime=runtime, registry=registry)

    def finish(self, run_id: str) -> RunState:
        """Let the scheduler move what is due, answer, go to the next wake time … until the end."""
        for _ in range(MOST_MOVES):
            moved = self.scheduler.poll_once()
            run = self.runtime.get_state(run_id)
            if run.status in ENDED:
                return run
            if not self._answered(run) and not moved:
                self._go_on(run)
        raise AssertionError(f"run {run_id} does not end: {run.status} at {run.current_node}")

    def _answered(self, run: RunState) -> bool:
        """Answer what the run, or the child it waits for, asks; whether anything was asked."""
        waiting = run.waiting
        if waiting is None or waiting.until is not None:
            return False
        if waiting.reason is not WaitReason.SUBWORKFLOW:
            self.answer(run)
            return True
        assert waiting.details is not None
        return self._answered(self.runtime.get_state(waiting.details["sub_run_id"]))

    def _go_on(self, run: RunState) -> None:
        wake = self.runtime.store.next_wake()
        if wake is not None:
            self.clock.forward_to(wake)
        elif run.status is RunStatus.RUNNING:
            self.tick(run)
