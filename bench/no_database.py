"""A database that keeps nothing and is always content: what is left is Python's share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from abstractruntime.errors import RuntimeFault
from abstractruntime.storage.relational.database import Row


class NoDatabase:
    """It is its own session."""

    url = "none://"

    @property
    def session(self) -> NoDatabase:
        return self

    def begin(self, *, urgent: bool) -> None: ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def run(self, query: str, values: Sequence[Any] = ()) -> int:
        return 1

    def insert(self, query: str, values: Sequence[Any]) -> int | None:
        return 1

    def rows(self, query: str, values: Sequence[Any]) -> list[Row]:
        return []

    def read(self, query: str, values: Sequence[Any]) -> list[Row]:
        return []

    def fault(self, error: Exception) -> Exception:
        return error

    def failed(self) -> RuntimeFault | None:
        return None

    def fail(self, fault: RuntimeFault) -> None: ...

    def changes(self) -> int:
        return 0

    def facts(self) -> dict[str, Any]:
        return {}

    def release(self, *, timeout: float) -> bool:
        return True

    def resume(self) -> None: ...

    def close(self) -> None: ...
