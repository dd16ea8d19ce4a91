"""The default RunContext: what nodes may ask of the world, which is the time."""

from __future__ import annotations

from abstractruntime.core._defaults import utc_now_iso

__all__ = ["DefaultRunContext", "utc_now_iso"]


class DefaultRunContext:
    """The system clock in UTC."""

    def now_iso(self) -> str:
        """Now, as ISO-8601 with microseconds and "+00:00"."""
        return utc_now_iso()
