"""Sleeping until a retry is due, but never beyond the run's deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from abstractruntime.core.checkpoint import NO_TERMS
from abstractruntime.core.times import seconds_between
from abstractruntime.engine.requests import Flow, NextEvent

if TYPE_CHECKING:
    from abstractruntime.engine.advance import Mover


def nap(mover: Mover, seconds: float) -> Flow[bool]:
    """Let so many seconds pass. False: the run's deadline comes first, and has come now."""
    terms = mover.draft.terms
    # A run that is about to end anyhow has its undos performed, however late it is.
    deadline = None if terms.ending is not None else terms.deadline
    left = seconds + 1 if deadline is None else seconds_between(mover.now(), deadline)
    if left <= seconds:
        if left > 0:
            yield NextEvent(left)
        return False
    yield NextEvent(seconds)
    return True


def held(mover: Mover) -> bool:
    """Whether nothing more may begin: the run is paused, about to end, or past its deadline."""
    terms = mover.draft.terms
    if terms is NO_TERMS:
        return False
    late = terms.deadline is not None and terms.deadline <= mover.now()
    return late or terms.phase is not None
