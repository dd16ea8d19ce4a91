"""Mailboxes in tables: what a sender writes, which waits hear it, and what a run may read."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import merge
from itertools import islice
from typing import Any, Final

from abstractruntime.core.canonical import decode
from abstractruntime.core.commit import Message
from abstractruntime.core.machine.mail import awaited_keys
from abstractruntime.core.models import RunState
from abstractruntime.storage.relational.database import Session
from abstractruntime.storage.relational.run_rows import Read
from abstractruntime.storage.relational.texts import strict_text_of

_HEARING: Final = ("event", "subworkflow")


def message_values(message: Message) -> tuple[Any, ...]:
    """The values of a message's row."""
    return (
        message.run_id,
        message.name,
        message.message_id,
        strict_text_of(message.payload).decode(),
        message.sent_at,
        message.sent_by,
        message.dedupe_key,
        message.expires_at,
    )


def put(session: Session, message: Message, values: Sequence[Any]) -> bool:
    """Put a message at the end of its box; False when its dedupe key or id is known."""
    once = message.dedupe_key
    if once is not None and not session.run("add_message_key", (message.run_id, once)):
        return False
    return bool(session.run("add_message", values))


def note_awaited(session: Session, run: RunState, before: Sequence[Any] | None) -> None:
    """Keep the list of who hears what: `before` is what was listed of the run (None: nothing)."""
    if before is not None and before[0] == "waiting" and before[1] in _HEARING:
        session.run("forget_awaited", (run.run_id,))
    for key in dict.fromkeys(awaited_keys(run)):
        session.run("add_awaited", (run.run_id, key))


def message_of(row: Sequence[Any]) -> Message:
    """A message from a row of the queries of messages."""
    message_id, run_id, name, payload, sent_at, sent_by, dedupe_key, expires_at = row[:8]
    return Message(
        message_id, run_id, name, decode(payload), sent_at, sent_by, dedupe_key, expires_at
    )


def next_messages(
    read: Read, run_id: str, names: Sequence[str], *, now: str, limit: int
) -> list[Message]:
    """The oldest messages under these names that have not expired."""
    bound = max(limit, 0)
    boxes = [read("next_messages", (run_id, name, now, bound)) for name in dict.fromkeys(names)]
    oldest = merge(*boxes, key=lambda row: row[8])
    return [message_of(row) for row in islice(oldest, bound)]
