"""A runtime with its registry and scheduler in one object, ready from one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from abstractruntime.core.models import EffectType, RunState, RunStatus, WaitReason
from abstractruntime.core.policy import EffectPolicy
from abstractruntime.core.spec import AnyWorkflow, WorkflowSpec
from abstractruntime.engine.outcome import EffectHandler
from abstractruntime.engine.runtime import Runtime, spec_of
from abstractruntime.errors import NotWaiting
from abstractruntime.scheduler.registry import WorkflowRegistry
from abstractruntime.scheduler.scheduler import Scheduler, SchedulerStats
from abstractruntime.storage.artifacts import ArtifactStore
from abstractruntime.storage.base import LedgerStore, RunStore, Store
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore


@dataclass
class ScheduledRuntime:
    """Run, answer and cancel by run id; timers and children are moved in the background."""

    runtime: Runtime
    scheduler: Scheduler
    registry: WorkflowRegistry

    def run(
        self,
        workflow: AnyWorkflow,
        *,
        vars: dict[str, Any] | None = None,
        actor_id: str | None = None,
        max_steps: int = 100,
    ) -> tuple[str, RunState]:
        """Start the workflow (registered if it is not) and move it: (run id, state)."""
        run_id = self.start(workflow, vars=vars, actor_id=actor_id)
        return run_id, self.tick(run_id, max_steps=max_steps)

    def start(
        self,
        workflow: AnyWorkflow,
        *,
        vars: dict[str, Any] | None = None,
        actor_id: str | None = None,
    ) -> str:
        """Create the run and return its id; nothing is executed."""
        spec = spec_of(workflow)
        if spec.workflow_id not in self.registry:
            self.registry.register(spec)
        return self.runtime.start(workflow=spec, vars=vars, actor_id=actor_id)

    def tick(self, run_id: str, *, max_steps: int = 100) -> RunState:
        """Move the run by its registered workflow."""
        return self.runtime.tick(
            workflow=self._workflow(run_id), run_id=run_id, max_steps=max_steps
        )

    def respond(self, run_id: str, payload: Any, *, actor_id: str | None = None) -> RunState:
        """Answer whatever the run waits for. Raises NotWaiting (a ValueError)."""
        run = self.runtime.get_state(run_id)
        if run.status is not RunStatus.WAITING or run.waiting is None:
            raise NotWaiting(
                f"Run '{run_id}' is not waiting (status={run.status.value})", run_id=run_id
            )
        return self.runtime.resume(
            workflow=self._workflow(run_id),
            run_id=run_id,
            wait_key=run.waiting.wait_key,
            payload=payload,
            actor_id=actor_id,
        )

    def resume_event(
        self, *, run_id: str, wait_key: str, payload: Any, actor_id: str | None = None
    ) -> RunState:
        """Answer the wait of that key."""
        return self.scheduler.resume_event(
            run_id=run_id, wait_key=wait_key, payload=payload, actor_id=actor_id
        )

    def get_state(self, run_id: str) -> RunState:
        """The run as last committed."""
        return self.runtime.get_state(run_id)

    def get_ledger(self, run_id: str) -> list[dict[str, Any]]:
        """All records of the run."""
        return self.runtime.get_ledger(run_id)

    def find_waiting_runs(
        self,
        *,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        """Waiting runs that match."""
        return self.scheduler.find_waiting_runs(
            wait_reason=wait_reason, workflow_id=workflow_id, limit=limit
        )

    @property
    def stats(self) -> SchedulerStats:
        """The scheduler's counters."""
        return self.scheduler.stats

    def resume_subworkflow_parent(
        self, *, child_run_id: str, child_output: dict[str, Any] | None
    ) -> RunState | None:
        """Move the parent that waits for this child, by hand."""
        return self.scheduler.resume_subworkflow_parent(
            child_run_id=child_run_id, child_output=child_output
        )

    def cancel_run(
        self, run_id: str, *, reason: str | None = None, actor_id: str | None = None
    ) -> RunState:
        """Cancel this run alone, and children only as their close policies say."""
        return self.runtime.cancel_run(run_id, reason=reason, actor_id=actor_id)

    def cancel_with_children(
        self, run_id: str, *, reason: str | None = None, actor_id: str | None = None
    ) -> list[RunState]:
        """Cancel this run and all below it; those that this call ended."""
        return self.scheduler.cancel_with_children(run_id, reason=reason, actor_id=actor_id)

    @property
    def is_running(self) -> bool:
        """Whether the scheduler is at work."""
        return self.scheduler.is_running

    def start_scheduler(self) -> None:
        """Begin to move due runs in the background."""
        self.scheduler.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stop the scheduler, letting it finish what it moves."""
        self.scheduler.stop(timeout)

    def _workflow(self, run_id: str) -> WorkflowSpec:
        return self.registry.get_or_raise(self.runtime.get_state(run_id).workflow_id)


def create_scheduled_runtime(
    *,
    run_store: RunStore | None = None,
    ledger_store: LedgerStore | None = None,
    artifact_store: ArtifactStore | None = None,
    effect_policy: EffectPolicy | None = None,
    workflows: Iterable[AnyWorkflow] | None = None,
    effect_handlers: Mapping[EffectType | str, EffectHandler] | None = None,
    poll_interval_s: float = 1.0,
    auto_start: bool = True,
    on_run_resumed: Callable[[RunState], None] | None = None,
    on_run_failed: Callable[[str, Exception], None] | None = None,
    store: Store | None = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
) -> ScheduledRuntime:
    """A runtime with scheduler; in memory unless a store is given. Stop it with `stop()`."""
    registry = WorkflowRegistry()
    for workflow in workflows or ():
        registry.register(spec_of(workflow))
    if store is None:
        run_store = run_store or InMemoryRunStore()
        ledger_store = ledger_store or InMemoryLedgerStore()
    runtime = Runtime(
        run_store=run_store,
        ledger_store=ledger_store,
        store=store,
        artifact_store=artifact_store,
        effect_policy=effect_policy,
        effect_handlers=effect_handlers,
        workflow_registry=registry,
        functions=functions,
    )
    scheduler = Scheduler(
        runtime=runtime,
        registry=registry,
        poll_interval_s=poll_interval_s,
        on_run_resumed=on_run_resumed,
        on_run_failed=on_run_failed,
    )
    if auto_start:
        scheduler.start()
    return ScheduledRuntime(runtime, scheduler, registry)
