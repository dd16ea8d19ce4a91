"""A signpost: programs import the engine's names from here. It is no part of the kernel.

Each name is loaded when first asked for, so that importing the kernel loads no engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from abstractruntime.core._defaults import utc_now_iso

if TYPE_CHECKING:
    from abstractruntime.engine.context import DefaultRunContext
    from abstractruntime.engine.outcome import EffectHandler, EffectOutcome
    from abstractruntime.engine.runtime import Runtime

__all__ = ["DefaultRunContext", "EffectHandler", "EffectOutcome", "Runtime", "utc_now_iso"]

_HOMES = {
    "DefaultRunContext": "abstractruntime.engine.context",
    "EffectHandler": "abstractruntime.engine.outcome",
    "EffectOutcome": "abstractruntime.engine.outcome",
    "Runtime": "abstractruntime.engine.runtime",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value
