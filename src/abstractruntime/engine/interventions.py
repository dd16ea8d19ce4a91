"""What people and hosts do to a run beside ticking it, as methods of `Runtime`: resolve.

Each delegates to one operation; the a-prefixed twin awaits the same flow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from abstractruntime.core.checkpoint import Driver
from abstractruntime.core.models import RunState
from abstractruntime.engine.operations.resolve import resolve
from abstractruntime.engine.outcome import EffectOutcome
from abstractruntime.engine.requests import Flow
from abstractruntime.engine.settings import Settings

T = TypeVar("T")


class Interventions:
    """Mixed into `Runtime`, which drives the flows."""

    _settings: Settings

    def _drive(self, flow: Callable[[Driver], Flow[T]]) -> T:
        raise NotImplementedError

    async def _adrive(self, flow: Callable[[Driver], Flow[T]], executor: Any = None) -> T:
        raise NotImplementedError

    def resolve(
        self,
        run_id: str,
        *,
        outcome: EffectOutcome | str,
        actor_id: str | None = None,
        reason: str | None = None,
    ) -> RunState:
        """Say what became of the step whose outcome is unknown; durable, nothing is executed.

        `outcome`: EffectOutcome.completed(result), "retry" (it was not performed: try again) or
        "fail". Raises UnknownRun, NotWaiting, NotJson, RevisionConflict when somebody was first.
        """
        return self._drive(
            lambda _: resolve(
                self._settings, run_id, outcome=outcome, actor_id=actor_id, reason=reason
            )
        )

    async def aresolve(
        self,
        run_id: str,
        *,
        outcome: EffectOutcome | str,
        actor_id: str | None = None,
        reason: str | None = None,
    ) -> RunState:
        """`resolve`, awaited."""
        return await self._adrive(
            lambda _: resolve(
                self._settings, run_id, outcome=outcome, actor_id=actor_id, reason=reason
            )
        )
