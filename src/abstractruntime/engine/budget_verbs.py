"""What people and hosts do about budgets, as methods of `Runtime`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from abstractruntime.core.budget import Budget
from abstractruntime.core.checkpoint import Driver
from abstractruntime.core.models import RunState
from abstractruntime.engine.operations.budget import get_budget, raise_budget
from abstractruntime.engine.requests import Flow
from abstractruntime.engine.settings import Settings

T = TypeVar("T")


class BudgetVerbs:
    """Mixed into `Runtime`, which drives the flows."""

    _settings: Settings

    def _drive(self, flow: Callable[[Driver], Flow[T]]) -> T:
        raise NotImplementedError

    async def _adrive(self, flow: Callable[[Driver], Flow[T]], executor: Any = None) -> T:
        raise NotImplementedError

    def raise_budget(
        self,
        run_id: str,
        *,
        steps: int | None = None,
        effects: Mapping[str, int] | None = None,
        tokens: int | None = None,
        cost: int | None = None,
        wall_s: float | None = None,
        depth: int | None = None,
        actor_id: str | None = None,
        reason: str | None = None,
    ) -> RunState:
        """Add so much to the limits of the run's own budget; durable, nothing is executed.

        Runs that paused because of a budget, this one and those below it, may be moved again.
        Raises UnknownRun, InvalidInput for a limit that the budget does not have.
        """
        more = Budget(steps, effects, tokens, cost, wall_s, depth)
        return self._drive(
            lambda _: raise_budget(self._settings, run_id, more, reason=reason, actor_id=actor_id)
        )

    async def araise_budget(
        self,
        run_id: str,
        *,
        steps: int | None = None,
        effects: Mapping[str, int] | None = None,
        tokens: int | None = None,
        cost: int | None = None,
        wall_s: float | None = None,
        depth: int | None = None,
        actor_id: str | None = None,
        reason: str | None = None,
    ) -> RunState:
        """`raise_budget`, awaited."""
        more = Budget(steps, effects, tokens, cost, wall_s, depth)
        return await self._adrive(
            lambda _: raise_budget(self._settings, run_id, more, reason=reason, actor_id=actor_id)
        )

    def get_budget(self, run_id: str) -> dict[str, Any]:
        """{"limits", "used", "reserved"} by counter, of the run's own budget; see docs/budgets.md.

        A run without one has empty ones; "above" names the runs whose budgets it shares. Reads all
        runs below. Raises UnknownRun.
        """
        return self._drive(lambda _: get_budget(run_id))

    async def aget_budget(self, run_id: str) -> dict[str, Any]:
        """`get_budget`, awaited."""
        return await self._adrive(lambda _: get_budget(run_id))
