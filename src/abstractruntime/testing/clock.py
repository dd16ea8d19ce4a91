"""A clock that goes only as far as it is moved: time in tests is data, nobody sleeps."""

from __future__ import annotations

import threading

from abstractruntime.core.times import normal, plus

EPOCH = "2026-01-01T00:00:00.000000+00:00"


class VirtualClock:
    """A RunContext whose time moves by `forward` and `forward_to`; any thread may call.

    `step` seconds go by at each reading, so that no two are equal; 0 lets it stand still.
    """

    def __init__(self, now: str = EPOCH, *, step: float = 0.0) -> None:
        self._now = normal(now)
        self._step = step
        self._lock = threading.Lock()

    def now_iso(self) -> str:
        """The time, as ISO-8601 with microseconds and "+00:00"."""
        if not self._step:
            return self._now
        return self.forward(self._step)

    def forward(self, seconds: float) -> str:
        """Move on by `seconds`; the new time. ValueError for a negative number."""
        if seconds < 0:
            raise ValueError(f"A clock does not go back: {seconds} seconds")
        with self._lock:
            self._now = plus(self._now, seconds)
            return self._now

    def forward_to(self, moment: str) -> str:
        """Move on to `moment` (ISO-8601 with offset); unchanged when that is past already."""
        with self._lock:
            self._now = max(self._now, normal(moment))
            return self._now
