"""What one call used and cost, as one JSON object for the result's metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Prices = Mapping[str, tuple[float, float]]
"""Model name -> US dollars per million tokens (in, out). A dated name falls back on its family."""

LIST_PRICES: Prices = MappingProxyType(
    {
        "gpt-4o": (2.50, 10.00),
        "gpt-4o-mini": (0.15, 0.60),
        "gpt-4.1": (2.00, 8.00),
        "gpt-4.1-mini": (0.40, 1.60),
        "gpt-4.1-nano": (0.10, 0.40),
        "o3-mini": (1.10, 4.40),
        "claude-3-5-haiku": (0.80, 4.00),
        "claude-3-5-sonnet": (3.00, 15.00),
        "claude-3-7-sonnet": (3.00, 15.00),
    }
)
"""A start only, as published in the middle of 2025: give `prices=` of your own for real money."""

_DATED = re.compile(r"-(latest|\d{8}|\d{4}-\d{2}-\d{2})$")


def call_facts(
    usage: Any, *, model: str, latency_ms: float, prices: Prices | None = None
) -> dict[str, Any]:
    """{model, input_tokens, output_tokens, latency_ms, cost, currency}; unknown numbers are None.

    `usage` is the provider's own object, by either of the two usual names.
    """
    counted = usage if isinstance(usage, Mapping) else {}
    tokens_in = _count(counted, "input_tokens", "prompt_tokens")
    tokens_out = _count(counted, "output_tokens", "completion_tokens")
    price = _price(model, LIST_PRICES if prices is None else prices)
    cost = None
    if price is not None and tokens_in is not None and tokens_out is not None:
        cost = round((tokens_in * price[0] + tokens_out * price[1]) / 1e6, 9)
    return {
        "model": model,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "latency_ms": round(latency_ms, 1),
        "cost": cost,
        "currency": "USD",
    }


def summed(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """The facts of several calls as those of one; a sum with an unknown part is None."""
    total = dict(calls[-1])
    for name in ("input_tokens", "output_tokens", "latency_ms", "cost"):
        parts = [each.get(name) for each in calls]
        known = [part for part in parts if part is not None]
        total[name] = round(sum(known), 9) if len(known) == len(parts) else None
    return total


def _count(usage: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        found = usage.get(name)
        if isinstance(found, int) and not isinstance(found, bool):
            return found
    return None


def _price(model: str, prices: Prices) -> tuple[float, float] | None:
    """The price of the model, of its name without the provider, or of its name without the date."""
    for name in (model, model.rpartition("/")[2]):
        for known in (name, _DATED.sub("", name)):
            if known in prices:
                return prices[known]
    return None
