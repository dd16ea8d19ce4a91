"""A running attempt of a branch beside others: what it was lent, and the time it has left."""

from __future__ import annotations

import math

from abstractruntime.engine import attempts


class Running:
    """What the attempt was lent; `left` and `quiet` are seconds."""

    def __init__(self, lent: attempts.Lent, left: float, why: str) -> None:
        self.lent = lent
        self.left = left
        self.why = why
        self.interval = lent.options.heartbeat_s or math.inf
        self.quiet = self.interval
        self.seen = 0
        self.over = False
