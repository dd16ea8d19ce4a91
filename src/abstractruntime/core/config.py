"""Limits a runtime starts its runs with, as one frozen value.

It knows the numbers; what happens when one is passed is the engine's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

DEFAULT_MAX_TOKENS = 32768


@dataclass(frozen=True)
class RuntimeConfig:
    """Limits of a run; None means: as the model's capabilities say, else the default.

    Percentages are 0..100. `max_history_messages` -1 means no bound.
    """

    max_iterations: int = 25
    warn_iterations_pct: int = 80
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    warn_tokens_pct: int = 80
    max_history_messages: int = -1
    model_capabilities: dict[str, Any] = field(default_factory=dict)

    def to_limits_dict(self) -> dict[str, Any]:
        """A fresh `_limits` object for a run's vars, counters at 0."""
        return {
            "max_iterations": self.max_iterations,
            "current_iteration": 0,
            "max_tokens": self.max_tokens
            or self.model_capabilities.get("max_tokens")
            or DEFAULT_MAX_TOKENS,
            "max_output_tokens": self.max_output_tokens,
            "estimated_tokens_used": 0,
            "max_history_messages": self.max_history_messages,
            "warn_iterations_pct": self.warn_iterations_pct,
            "warn_tokens_pct": self.warn_tokens_pct,
        }

    def with_capabilities(self, caps: Mapping[str, Any]) -> RuntimeConfig:
        """The same limits with the model capabilities `caps`, copied."""
        return replace(self, model_capabilities=dict(caps))
