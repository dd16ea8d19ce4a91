"""What a wait hears: under which keys, until when; and which messages no wait will ever hear."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from abstractruntime.core.commit import Message
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState
from abstractruntime.core.values import value

WAIT_KEYS: Final = "wait_keys"
"""The key in a wait's details under which all its keys stand, where there are several."""

TIMEOUT_NODE: Final = "timeout_node"
"""The key in a wait's details under which the node stands that a wait goes to when it is late."""

_TIMED: Final = frozenset({WaitReason.EVENT, WaitReason.USER, WaitReason.JOB})


@value
class DeadLetter:
    """A message that was sent, is unread and reaches no wait any more; `reason` says why."""

    message: Message
    reason: str


def keys_of(waiting: WaitState) -> tuple[str, ...]:
    """The keys a wait may be answered by."""
    several = (waiting.details or {}).get(WAIT_KEYS)
    if isinstance(several, list) and several:
        return tuple(key for key in several if isinstance(key, str))
    return () if waiting.wait_key is None else (waiting.wait_key,)


def heard_keys(run: RunState) -> tuple[str, ...]:
    """The names of the messages that would move the run now: only event waits take any."""
    waiting = run.waiting
    if run.status is not RunStatus.WAITING or waiting is None:
        return ()
    return keys_of(waiting) if waiting.reason is WaitReason.EVENT else ()


def awaited_keys(run: RunState) -> tuple[str, ...]:
    """The same, and the name under which an awaited child's end comes."""
    waiting = run.waiting
    if run.status is not RunStatus.WAITING or waiting is None:
        return ()
    hears = waiting.reason in (WaitReason.EVENT, WaitReason.SUBWORKFLOW)
    return keys_of(waiting) if hears else ()


def times_out(waiting: WaitState) -> bool:
    """Whether the wait's time is a limit, not what it waits for."""
    return waiting.until is not None and waiting.reason in _TIMED


def timeout_node_of(waiting: WaitState) -> str | None:
    """Where a late wait goes; None: where an answered one does."""
    node = (waiting.details or {}).get(TIMEOUT_NODE)
    return node if isinstance(node, str) and node else None


def expired(message: Message, now: str) -> bool:
    """Whether the message's time is over; `now` in normal form."""
    return message.expires_at is not None and message.expires_at <= now


def unread(run: RunState | None, messages: Iterable[Message], now: str) -> list[Message]:
    """Of a run's messages (None: there is no such run yet) those that a wait may still take."""
    return [message for message in messages if _why_dead(run, message, now) is None]


def dead_letters(run: RunState | None, messages: Iterable[Message], now: str) -> list[DeadLetter]:
    """The others, each with its reason."""
    found = []
    for message in messages:
        reason = _why_dead(run, message, now)
        if reason is not None:
            found.append(DeadLetter(message, reason))
    return found


def _why_dead(run: RunState | None, message: Message, now: str) -> str | None:
    if expired(message, now):
        return f"expired at {message.expires_at}"
    if run is not None and run.status in ENDED:
        return f"the run ended before it was read: {run.status.value}"
    return None
