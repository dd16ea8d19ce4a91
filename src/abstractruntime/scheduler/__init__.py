"""Who moves runs, and when: the registry of workflows, the scheduler and what wraps both."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from abstractruntime.scheduler.registry import WorkflowRegistry

if TYPE_CHECKING:
    from abstractruntime.scheduler.convenience import ScheduledRuntime, create_scheduled_runtime
    from abstractruntime.scheduler.scheduler import Scheduler, SchedulerStats

__all__ = [
    "ScheduledRuntime",
    "Scheduler",
    "SchedulerStats",
    "WorkflowRegistry",
    "create_scheduled_runtime",
]

_HOMES = {
    "ScheduledRuntime": "abstractruntime.scheduler.convenience",
    "Scheduler": "abstractruntime.scheduler.scheduler",
    "SchedulerStats": "abstractruntime.scheduler.scheduler",
    "create_scheduled_runtime": "abstractruntime.scheduler.convenience",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value
