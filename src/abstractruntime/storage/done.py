"""The handle of a commit whose result was there when `submit` returned."""

from __future__ import annotations

from collections.abc import Callable


class Done:
    """A finished handle: `error` is what refused the commit, None when it is written."""

    __slots__ = ("_error",)

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def result(self) -> None:
        """Return at once, or raise what refused the commit."""
        if self._error is not None:
            raise self._error

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` now, from this thread."""
        callback()
