"""The effects every runtime knows, one file each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from abstractruntime.core.spec import WorkflowSource
from abstractruntime.engine.builtin_effects.ask_user import ask_user
from abstractruntime.engine.builtin_effects.call import CallEffect
from abstractruntime.engine.builtin_effects.subworkflow import StartSubworkflow
from abstractruntime.engine.builtin_effects.waits import wait_event, wait_until
from abstractruntime.engine.effects import BuiltinEffect


def builtin_effects(
    source: Callable[[], WorkflowSource | None], functions: Mapping[str, Callable[..., Any]]
) -> dict[str, BuiltinEffect]:
    """Built-in effects by type; `source` is asked when a child starts, for it may be set late."""
    return {
        "wait_event": wait_event,
        "wait_until": wait_until,
        "ask_user": ask_user,
        "start_subworkflow": StartSubworkflow(source),
        "call": CallEffect(functions),
    }
