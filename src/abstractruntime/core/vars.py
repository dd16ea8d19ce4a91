"""The names that programs share inside a run's vars, and how to reach them.

It changes only the dict it is given; it knows nothing of runs or stores.
"""

from __future__ import annotations

from typing import Any

from abstractruntime.core.config import RuntimeConfig

CONTEXT = "context"
SCRATCHPAD = "scratchpad"
RUNTIME = "_runtime"
TEMP = "_temp"
LIMITS = "_limits"

_NAMESPACES = (CONTEXT, SCRATCHPAD, RUNTIME, TEMP)


def ensure_namespaces(vars: dict[str, Any]) -> dict[str, Any]:
    """Make context, scratchpad, _runtime and _temp dicts in `vars`, in place; returns `vars`.

    A value that is no dict is replaced.
    """
    for name in _NAMESPACES:
        get_namespace(vars, name)
    return vars


def get_namespace(vars: dict[str, Any], name: str) -> dict[str, Any]:
    """The live dict at `name`, made when missing or no dict."""
    value = vars.get(name)
    if not isinstance(value, dict):
        value = vars[name] = {}
    return value


def get_context(vars: dict[str, Any]) -> dict[str, Any]:
    """The live dict of what the run works on."""
    return get_namespace(vars, CONTEXT)


def get_scratchpad(vars: dict[str, Any]) -> dict[str, Any]:
    """The live dict of an agent's notes."""
    return get_namespace(vars, SCRATCHPAD)


def get_runtime(vars: dict[str, Any]) -> dict[str, Any]:
    """The live dict of what the runtime and its host note for themselves."""
    return get_namespace(vars, RUNTIME)


def get_temp(vars: dict[str, Any]) -> dict[str, Any]:
    """The live dict of what may be thrown away between steps."""
    return get_namespace(vars, TEMP)


def clear_temp(vars: dict[str, Any]) -> None:
    """Empty `_temp`, in place."""
    get_temp(vars).clear()


def ensure_limits(vars: dict[str, Any]) -> dict[str, Any]:
    """The live `_limits` dict, made with the default limits when missing or no dict."""
    limits = vars.get(LIMITS)
    if not isinstance(limits, dict):
        limits = vars[LIMITS] = RuntimeConfig().to_limits_dict()
    return limits


def get_limits(vars: dict[str, Any]) -> dict[str, Any]:
    """The live `_limits` dict: what is written to it is part of the run."""
    return ensure_limits(vars)
