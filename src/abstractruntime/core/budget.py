"""What a run and all runs below it may spend: limits as a program says them, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from abstractruntime.errors import InvalidInput

SPENT = ("tokens", "cost")
"""What effects spend as they are performed; the other numbers are counted when a step begins."""

PAUSE, ASK, FAIL = "pause", "ask", "fail"
"""What Budget.on_exceeded may say beside the name of a node."""

MOST = 2**53
"""No number of a budget is greater."""


@dataclass(frozen=True)
class Budget:
    """Limits of a run and of all runs below it, together; None: not limited.

    `steps` in all and `effects` by type are counted as steps begin; `tokens` and `cost` (integer
    micro-units of one currency) by what outcomes say. `wall_s` seconds from the start on, `depth`
    levels of runs below. `on_exceeded`: "pause" (Runtime.raise_budget lets it go on), "ask" (a wait
    for a person's word), "fail", or a node that the budget's own run goes to, while runs below it
    fail. When the time is over or a branch of a plan is held back, "ask" pauses; out of time, a
    node stands for "fail".
    """

    steps: int | None = None
    effects: Mapping[str, int] | None = None
    tokens: int | None = None
    cost: int | None = None
    wall_s: float | None = None
    depth: int | None = None
    on_exceeded: str = PAUSE

    def __post_init__(self) -> None:
        if self.effects is not None and not isinstance(self.effects, Mapping):
            raise InvalidInput("Budget.effects must map effect types to numbers")
        for name, limit in (*self.limits().items(), ("depth", self.depth)):
            if limit is not None and (type(limit) is not int or not 0 <= limit <= MOST):
                raise InvalidInput(f"Budget.{name} must be 0 to 2**53, not {limit!r}")
        wall_s = self.wall_s
        if wall_s is not None and (type(wall_s) not in (int, float) or not 0 <= wall_s < 1e9):
            raise InvalidInput(f"Budget.wall_s cannot be {wall_s!r}")
        if not isinstance(self.on_exceeded, str) or not self.on_exceeded:
            raise InvalidInput(f"Budget.on_exceeded cannot be {self.on_exceeded!r}")

    def limits(self) -> dict[str, int]:
        """The limits that are counted, by the names of their counters."""
        said = {"steps": self.steps, "tokens": self.tokens, "cost": self.cost}
        found = {name: limit for name, limit in said.items() if limit is not None}
        return {**found, **{f"effects.{kind}": n for kind, n in (self.effects or {}).items()}}

    @classmethod
    def from_dict(cls, data: Any) -> Budget:
        """A budget as JSON says it, by the same names. InvalidInput."""
        if isinstance(data, Budget):
            return data
        known = {field.name for field in fields(cls)}
        if not isinstance(data, Mapping) or not set(data) <= known:
            raise InvalidInput(f"A budget has {', '.join(sorted(known))}, not {data!r}")
        return cls(**data)
