"""What a handler answers, and what it is given: the door through which features come in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from abstractruntime.core.models import WaitState


@dataclass(frozen=True)
class EffectOutcome:
    """How one attempt of an effect ended: "completed", "waiting" or "failed"."""

    status: str
    result: Any = None
    wait: WaitState | None = None
    error: str | None = None

    @classmethod
    def completed(cls, result: Any = None) -> EffectOutcome:
        """Performed; `result` (JSON) goes to the effect's result_key when not None."""
        return cls("completed", result=result)

    @classmethod
    def waiting(cls, wait: WaitState) -> EffectOutcome:
        """The answer comes later: the run waits as `wait` says."""
        return cls("waiting", wait=wait)

    @classmethod
    def failed(cls, error: str) -> EffectOutcome:
        """Not performed; tried again as the effect policy says."""
        return cls("failed", error=error)


EffectHandler = Callable[..., Any]
"""(run, effect) or (run, effect, default_next_node), with `step` by name if it asks for it;
returns an EffectOutcome, or a coroutine of one."""


class StepContext(NamedTuple):
    """Which step a handler performs: given to handlers that have a parameter named `step`.

    `key` is the idempotency key to send outside; it is the same for every attempt of the step.
    `deadline` is an ISO time, None when the attempt has no limit.
    """

    run_id: str
    node_id: str
    visit: int
    step_id: str
    key: str
    attempt: int
    deadline: str | None = None

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines name the run, node and step."""
        extra = {"run_id": self.run_id, "node_id": self.node_id, "step_id": self.step_id}
        return logging.LoggerAdapter(logging.getLogger("abstractruntime.step"), extra)
