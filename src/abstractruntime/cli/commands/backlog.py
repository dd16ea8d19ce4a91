"""Moves everything in a store that a clock or a dead driver left, once or until nothing is left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from abstractruntime.cli.console import Progress
from abstractruntime.cli.loading import App
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.core.times import normal
from abstractruntime.engine.runtime import Runtime
from abstractruntime.errors import UnsupportedByStore
from abstractruntime.inspect.standing import standing_of
from abstractruntime.scheduler.registry import WorkflowRegistry
from abstractruntime.scheduler.scheduler import Scheduler
from abstractruntime.storage.base import Capability

LOOK_S = 0.1
FAR = "9999-12-31T23:59:59.999999+00:00"
MANY = 100_000


@dataclass
class Left:
    """What was not moved: with an error by run id, and runs that are parked."""

    failed: dict[str, str] = field(default_factory=dict)
    parked: list[str] = field(default_factory=list)


def settle(
    app: App,
    runtime: Runtime,
    *,
    wait: bool,
    tell: Callable[[RunState], None],
    line: Progress,
) -> Left:
    """Move what is due or recoverable; with `wait`, until no clock moves any run of the program."""
    store = runtime.store
    if Capability.QUERYABLE not in store.capabilities:
        raise UnsupportedByStore(f"{store.url} cannot list its runs", fix="name the run")
    left = Left()

    def failed(run_id: str, error: Exception) -> None:
        left.failed.setdefault(run_id, str(error))

    scheduler = Scheduler(
        runtime=runtime,
        registry=_registry(app),
        on_run_resumed=tell,
        on_run_failed=failed,
    )
    if wait:
        _until_settled(runtime, scheduler, left, line)
    else:
        scheduler.poll_once()
    left.parked = [
        run.run_id
        for run in store.list_runs(status=RunStatus.RUNNING, limit=MANY)
        if standing_of(run) == "parked" and app.workflows.get(run.workflow_id) is not None
    ]
    return left


def _registry(app: App) -> WorkflowRegistry:
    """The program's workflows as a registry, which schedulers need."""
    if isinstance(app.workflows, WorkflowRegistry):
        return app.workflows
    registry = WorkflowRegistry()
    for workflow_id in app.ids():
        registry.register(app.workflow(workflow_id))
    return registry


def _until_settled(runtime: Runtime, scheduler: Scheduler, left: Left, line: Progress) -> None:
    scheduler.start()
    pause = threading.Event()
    try:
        while True:
            pending = _pending(runtime, left)
            if not pending:
                return
            line.tell(f"{pending} to go")
            pause.wait(LOOK_S)
    finally:
        scheduler.stop()


def _pending(runtime: Runtime, left: Left) -> int:
    """Live runs that a clock, a message or a live driver will move; none that failed to."""
    store = runtime.store
    moving = {run.run_id for run in store.list_driven() if run.status not in ENDED}
    moving.update(store.list_due(FAR, limit=MANY))
    moving.update(store.list_answered(now_iso=normal(runtime.now_iso())))
    return len(moving - left.failed.keys())
