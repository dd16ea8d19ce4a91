"""Exit codes, and which status of a run each stands for."""

from __future__ import annotations

from enum import IntEnum

from abstractruntime.core.models import RunStatus


class Exit(IntEnum):
    """What a command's exit code says."""

    OK = 0
    ERROR = 1
    USAGE = 2
    FAILED = 3
    CANCELLED = 4
    INTEGRITY = 5
    WAITING = 6
    INTERRUPTED = 130


_OF_STATUS = {
    RunStatus.RUNNING: Exit.OK,
    RunStatus.WAITING: Exit.WAITING,
    RunStatus.COMPLETED: Exit.OK,
    RunStatus.FAILED: Exit.FAILED,
    RunStatus.CANCELLED: Exit.CANCELLED,
}

# Of several runs the gravest speaks.
_GRAVEST_FIRST = (Exit.ERROR, Exit.FAILED, Exit.WAITING, Exit.CANCELLED)


def exit_of(status: RunStatus) -> Exit:
    """The exit code of a command that moved one run."""
    return _OF_STATUS[status]


def gravest(codes: set[Exit]) -> Exit:
    """The exit code of a command that moved several runs."""
    return next((code for code in _GRAVEST_FIRST if code in codes), Exit.OK)
