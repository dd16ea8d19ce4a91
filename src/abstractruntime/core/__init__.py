"""The kernel: pure values and functions that say what a run is and how it may move.

Runtime is published here because programs import it from here; it is loaded when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from abstractruntime.core.config import RuntimeConfig
from abstractruntime.core.models import (
    Effect,
    EffectType,
    LimitWarning,
    RunState,
    RunStatus,
    StepPlan,
    StepRecord,
    StepStatus,
    WaitReason,
    WaitState,
)
from abstractruntime.core.spec import NodeHandler, RunContext, WorkflowSpec
from abstractruntime.core.vars import LIMITS, ensure_limits, get_limits

if TYPE_CHECKING:
    from abstractruntime.core.runtime import (
        DefaultRunContext,
        EffectHandler,
        EffectOutcome,
        Runtime,
    )

__all__ = [
    "LIMITS",
    "DefaultRunContext",
    "Effect",
    "EffectHandler",
    "EffectOutcome",
    "EffectType",
    "LimitWarning",
    "NodeHandler",
    "RunContext",
    "RunState",
    "RunStatus",
    "Runtime",
    "RuntimeConfig",
    "StepPlan",
    "StepRecord",
    "StepStatus",
    "WaitReason",
    "WaitState",
    "WorkflowSpec",
    "ensure_limits",
    "get_limits",
]

_ENGINE = frozenset({"DefaultRunContext", "EffectHandler", "EffectOutcome", "Runtime"})


def __getattr__(name: str) -> Any:
    if name not in _ENGINE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from abstractruntime.core import runtime

    value = globals()[name] = getattr(runtime, name)
    return value
