"""A message from outside any run, on its way to the writer."""

from __future__ import annotations

from abstractruntime.core.commit import Message
from abstractruntime.errors import RunEnded
from abstractruntime.storage.base import ended
from abstractruntime.storage.relational.mail import message_values, put
from abstractruntime.storage.relational.trail import LIVE
from abstractruntime.storage.relational.works import Desk, Work


class MessageWork(Work):
    """A message from outside any run; after it is written `new` and `refused` say how it went."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self._values = message_values(message)
        self.new = False
        self.refused: RunEnded | None = None

    def prepare(self, desk: Desk) -> int:
        return 512 + len(self._values[3])

    def write(self, desk: Desk) -> None:
        session, message = desk.session, self._message
        self.new, self.refused = False, None
        rows = session.rows("status", (message.run_id,))
        if rows and rows[0][0] not in LIVE:
            once = message.dedupe_key
            if once is None or not session.rows("message_key", (message.run_id, once)):
                self.refused = ended(message.run_id, rows[0][0])
            return
        self.new = put(session, message, self._values)

    def landed(self, desk: Desk) -> bool:
        message = self._message
        self.new = bool(desk.session.rows("message", (message.run_id, message.message_id)))
        return self.new
