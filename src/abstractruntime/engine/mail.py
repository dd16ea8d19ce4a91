"""What a waiting run hears: the oldest message for its wait, or that its time is over.

It looks into the mailbox when a wait is open, and at no other time. What it takes is consumed by
the commit that moves the run; until then the mailbox still has it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from abstractruntime.core.commit import Message
from abstractruntime.core.machine import approval, ends, wait
from abstractruntime.core.machine.mail import expired, heard_keys, times_out
from abstractruntime.core.models import RunStatus
from abstractruntime.core.times import normal
from abstractruntime.engine.requests import Flow, Read
from abstractruntime.engine.settings import MAX_MOVES, MAX_WEIGHT
from abstractruntime.errors import InvalidInput
from abstractruntime.storage.base import Capability, Store

if TYPE_CHECKING:
    from abstractruntime.engine.advance import Mover

MOST = MAX_MOVES
"""Messages fetched at once by a run that reads one after another; a first look fetches one."""


class Inbox:
    """Messages a mover has fetched and not yet taken, of some names, oldest first."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.ahead: deque[Message] = deque()
        self.page = 1

    def drop_unless(self, names: tuple[str, ...], now: str) -> None:
        """Forget those of other names, and what has expired."""
        if names != self.names:
            self.names, self.page = names, 1
            self.ahead.clear()
        while self.ahead and expired(self.ahead[0], now):
            self.ahead.popleft()


def receive(mover: Mover) -> Flow[bool]:
    """Move an open wait on by a message or by its time limit; False: it waits for more."""
    draft, settings = mover.draft, mover.settings
    waiting = draft.run.waiting
    if draft.run.status is not RunStatus.WAITING or waiting is None:
        return False
    if draft.open_steps and approval.asked(draft) is not None:
        return False  # approvals have answers and times of their own
    now = normal(mover.now())
    until = normal(waiting.until, what="waiting.until") if times_out(waiting) else None
    names = heard_keys(draft.run)
    message = (yield from _oldest(mover, names, now)) if names else None
    late = until is not None and until <= now
    if message is not None and not (late and until is not None and message.sent_at >= until):
        mover.inbox.ahead.popleft()
        try:
            wait.receive(draft, message, now=now, line_id=settings.new_id())
        except InvalidInput as error:
            text = f"Message '{message.message_id}' cannot be stored: {error.message}"
            line_id = settings.new_id()
            if draft.waits:
                ends.fail_wait(draft, text, now=now, line_id=line_id)
            else:
                ends.fail(draft, text, now=now, line_id=line_id)
            return False
    elif late:
        wait.fire(draft, now=now, line_id=settings.new_id())
    else:
        return False
    draft.moves += 1
    if draft.moves >= MAX_MOVES or draft.weight >= MAX_WEIGHT:
        yield from mover.commit(mover.me)
    return True


def _oldest(mover: Mover, names: tuple[str, ...], now: str) -> Flow[Message | None]:
    """The message to take next; it stays the first of the inbox."""
    inbox = mover.inbox
    inbox.drop_unless(names, now)
    if not inbox.ahead:
        run_id, taken = mover.run.run_id, set(mover.draft.consumed)
        limit = inbox.page + len(taken)
        found: list[Message] = yield Read(lambda store: _next(store, run_id, names, now, limit))
        inbox.ahead.extend(m for m in found if m.message_id not in taken)
        inbox.page = min(inbox.page * 4, MOST)
    return inbox.ahead[0] if inbox.ahead else None


def _next(store: Store, run_id: str, names: tuple[str, ...], now: str, limit: int) -> list[Message]:
    if Capability.MAILBOX not in store.capabilities:
        return []
    return store.next_messages(run_id, names, now_iso=now, limit=limit)
