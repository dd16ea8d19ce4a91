"""What a transactional handler is given: the open transaction, for its own rows, for so long."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from abstractruntime.errors import InvalidInput, Refused
from abstractruntime.storage.relational.database import Row, Session

_NOT_ITS_OWN = frozenset(
    ("begin", "commit", "end", "rollback", "savepoint", "release", "attach", "detach", "pragma")
)
"""Statements that would end the transaction, or change what it rests on."""


class OpenTransaction:
    """`execute` runs one statement; refused beside the thread it was made for, and when it is over.

    The tables of this library are not the handler's to write.
    """

    def __init__(self, session: Session, seconds: float) -> None:
        self._session = session
        self._thread = threading.get_ident()
        self._end = monotonic() + seconds
        self._seconds = seconds
        self._open = True

    @property
    def late(self) -> bool:
        """Whether its time is over: nothing of it will be committed."""
        return monotonic() > self._end

    def execute(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """Run one statement; its rows. TimeoutError when the time is over."""
        if not self._open or threading.get_ident() != self._thread:
            raise Refused("The transaction of this step is over, or belongs to another thread")
        if self.late:
            raise TimeoutError(f"The transaction took longer than {self._seconds:g} s")
        word = sql.lstrip(" \t\r\n(;").split(None, 1)[:1]
        if not word or word[0].rstrip(";").lower() in _NOT_ITS_OWN:
            raise InvalidInput(f"{sql.strip()[:40]!r} is not for a step's transaction")
        return self._session.execute(sql, values)

    def close(self) -> None:
        """It is used no more."""
        self._open = False
