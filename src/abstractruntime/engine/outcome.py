"""What a handler answers, and what it is given: the door through which features come in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from abstractruntime.core.canonical import exact
from abstractruntime.core.models import WaitState

MOST_PROGRESS = 16 * 1024
"""Bytes of a heartbeat's details: they stand in the run's row."""


@dataclass(frozen=True)
class EffectOutcome:
    """How one attempt of an effect ended: "completed", "waiting", "failed" or "unknown".

    `used` {"tokens", "cost"}: what it spent; else a completed result's "usage" and "cost" say.
    """

    status: str
    result: Any = None
    wait: WaitState | None = None
    error: str | None = None
    used: dict[str, int] | None = None

    @classmethod
    def completed(cls, result: Any = None, *, used: dict[str, int] | None = None) -> EffectOutcome:
        """Performed; `result` (JSON) goes to the effect's result_key when not None."""
        return cls("completed", result=result, used=used)

    @classmethod
    def waiting(cls, wait: WaitState) -> EffectOutcome:
        """The answer comes later: the run waits as `wait` says."""
        return cls("waiting", wait=wait)

    @classmethod
    def failed(cls, error: str, *, used: dict[str, int] | None = None) -> EffectOutcome:
        """Not performed; tried again as the effect policy says."""
        return cls("failed", error=error, used=used)

    @classmethod
    def unknown(cls, error: str) -> EffectOutcome:
        """Nobody knows whether it was performed: an `at_most_once` step waits for a person's word
        (Runtime.resolve), any other counts as failed."""
        return cls("unknown", error=error)


EffectHandler = Callable[..., Any]
"""(run, effect) or (run, effect, default_next_node), with `step` by name if it asks for it;
returns an EffectOutcome, or a coroutine of one."""


class Intent(NamedTuple):
    """A step that may have been performed, as `reconcile` is asked about it.

    `key` is what its attempts sent outside; `started_at` is when the last one began.
    """

    run_id: str
    node_id: str
    visit: int
    step_id: str
    key: str
    attempt: int
    started_at: str
    type: str
    payload: dict[str, Any]
    progress: Any = None


class Heartbeats:
    """What the handler of one attempt told of itself; written by its thread, read by the flow."""

    __slots__ = ("count", "last")

    def __init__(self, last: Any = None) -> None:
        self.last = last
        self.count = 0


class StepContext(NamedTuple):
    """Which step a handler performs: given to handlers that have a parameter named `step`.

    `key` is the idempotency key to send outside; it is the same for every attempt of the step.
    `deadline` is an ISO time, None when the attempt has no limit. `transaction`: where a
    transactional step writes its own rows (storage.base.Transaction).
    """

    run_id: str
    node_id: str
    visit: int
    step_id: str
    key: str
    attempt: int
    deadline: str | None = None
    heartbeats: Heartbeats | None = None
    transaction: Any = None
    look: Callable[[str], bool] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the run is cancelled or to be: time to clean up and return. Reads the store.

        Inside a transaction, where handlers cannot read, always False.
        """
        return self.look is not None and self.look(self.run_id)

    @property
    def progress(self) -> Any:
        """What the last heartbeat told, of this attempt or one before it; None: nothing yet."""
        return None if self.heartbeats is None else self.heartbeats.last

    def heartbeat(self, details: Any = None) -> None:
        """A sign of life with how far it came (JSON), which the next attempt can read.

        Recorded at the latest when this attempt fails; where the effect has `heartbeat_s`, so
        often while it runs. May be called from any thread. NotJson names what is none.
        """
        if self.heartbeats is None:
            return
        if details is not None:
            self.heartbeats.last = exact(details, path="$.progress", max_bytes=MOST_PROGRESS)[1]
        self.heartbeats.count += 1

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines name the run, node and step."""
        extra = {"run_id": self.run_id, "node_id": self.node_id, "step_id": self.step_id}
        return logging.LoggerAdapter(logging.getLogger("abstractruntime.step"), extra)
