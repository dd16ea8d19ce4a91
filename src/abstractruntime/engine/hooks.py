"""Told after a commit is durable: logs, traces, metrics, live streams. A hook cannot undo it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from abstractruntime.core.commit import Commit

Hook = Callable[[Commit], None]

_LOG = logging.getLogger("abstractruntime.hooks")


class Hooks:
    """The listeners of one runtime, in the order they were added."""

    __slots__ = ("_hooks",)

    def __init__(self) -> None:
        self._hooks: tuple[Hook, ...] = ()

    def add(self, hook: Hook) -> None:
        """Tell `hook` of every commit from now on."""
        self._hooks = (*self._hooks, hook)

    def remove(self, hook: Hook) -> None:
        """Tell it no more."""
        self._hooks = tuple(known for known in self._hooks if known != hook)

    def committed(self, commit: Commit) -> None:
        """Tell all; one that raises is logged with its traceback and the others are still told."""
        for hook in self._hooks:
            try:
                hook(commit)
            except Exception:
                _LOG.exception("hook %r failed on a commit of run %s", hook, commit.run_id)
