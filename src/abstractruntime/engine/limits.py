"""What the _limits of a run say about how near it is to them."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.models import LimitWarning
from abstractruntime.core.vars import get_limits

UPDATABLE = (
    "max_iterations",
    "current_iteration",
    "max_tokens",
    "max_output_tokens",
    "estimated_tokens_used",
    "max_history_messages",
    "warn_iterations_pct",
    "warn_tokens_pct",
)


def limit_status(vars: dict[str, Any]) -> dict[str, Any]:
    """{"iterations": {current, max, pct, warning}, "tokens": {estimated_used, …}, "history": …}."""
    limits = get_limits(vars)
    current, most = _number(limits, "current_iteration", 0), _number(limits, "max_iterations", 25)
    used, tokens = _number(limits, "estimated_tokens_used", 0), _number(limits, "max_tokens", 32768)
    iterations_pct, tokens_pct = _pct(current, most), _pct(used, tokens)
    return {
        "iterations": {
            "current": current,
            "max": most,
            "pct": iterations_pct,
            "warning": iterations_pct >= _number(limits, "warn_iterations_pct", 80),
        },
        "tokens": {
            "estimated_used": used,
            "max": tokens,
            "pct": tokens_pct,
            "warning": tokens_pct >= _number(limits, "warn_tokens_pct", 80),
        },
        "history": {"max_messages": limits.get("max_history_messages", -1)},
    }


def warnings(vars: dict[str, Any]) -> list[LimitWarning]:
    """A warning for each limit that is near ("warning") or reached ("exceeded")."""
    status = limit_status(vars)
    found = []
    for kind, current_name in (("iterations", "current"), ("tokens", "estimated_used")):
        current, most = status[kind][current_name], status[kind]["max"]
        if most > 0 and current >= most:
            found.append(LimitWarning(kind, "exceeded", current, most))
        elif status[kind]["warning"]:
            found.append(LimitWarning(kind, "warning", current, most))
    return found


def update(vars: dict[str, Any], updates: dict[str, Any]) -> None:
    """Put the known keys of `updates` into the run's limits; others are ignored."""
    limits = get_limits(vars)
    for name in UPDATABLE:
        if name in updates:
            limits[name] = updates[name]


def _number(limits: dict[str, Any], name: str, default: int) -> Any:
    value = limits.get(name)
    return default if value is None else value


def _pct(current: float, most: float) -> float:
    return round(current / most * 100, 1) if most > 0 else 0.0
