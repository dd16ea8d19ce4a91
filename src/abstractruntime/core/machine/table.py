"""Which status a run may go to by which move. The rule of this room: a status changes only by
`next_status`, so this table is the whole truth about what a run may become."""

from __future__ import annotations

from enum import Enum

from abstractruntime.core.models import RunStatus
from abstractruntime.errors import Refused

RUNNING, WAITING = RunStatus.RUNNING, RunStatus.WAITING
COMPLETED, FAILED, CANCELLED = RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED

ENDED = frozenset({COMPLETED, FAILED, CANCELLED})
"""The statuses no driver moves a run out of."""


class Move(str, Enum):
    """What can happen to a run's status."""

    STEP = "step"
    WAIT = "wait"
    ANSWER = "answer"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"
    REOPEN = "reopen"


TABLE: dict[RunStatus, dict[Move, RunStatus]] = {
    RUNNING: {
        Move.STEP: RUNNING,
        Move.WAIT: WAITING,
        Move.COMPLETE: COMPLETED,
        Move.FAIL: FAILED,
        Move.CANCEL: CANCELLED,
    },
    WAITING: {
        Move.WAIT: WAITING,
        Move.ANSWER: RUNNING,
        Move.FAIL: FAILED,
        Move.CANCEL: CANCELLED,
    },
    COMPLETED: {},
    FAILED: {Move.REOPEN: RUNNING},
    CANCELLED: {},
}


def next_status(status: RunStatus, move: Move) -> RunStatus:
    """The status after `move`; Refused when the table has no such line."""
    try:
        return TABLE[status][move]
    except KeyError:
        raise Refused(f"A {status.value} run cannot {move.value}", status=status.value) from None
