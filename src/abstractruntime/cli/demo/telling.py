"""How the demo tells its story: lines, and on a terminal a bar of payments between them."""

from __future__ import annotations

from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from abstractruntime.cli.console import console, say

PLAIN_EVERY = 50


class Teller:
    """Says lines in order; `quiet` says none (for --json)."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._out = console()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def say(self, text: str = "", style: str = "", *, whole: bool = False) -> None:
        """A line."""
        self._clear()
        if not self._quiet:
            say(text, style=style, whole=whole)

    def fact(self, holds: bool, text: str) -> None:
        """A line that says whether something is as it should be."""
        self.say(f"  {'ok    ' if holds else 'BROKEN'}  {text}", "green" if holds else "bold red")

    def paying(self, made: int, total: int) -> None:
        """`made` of `total` payments are made."""
        if self._quiet:
            return
        if not self._out.is_terminal:
            if made and made % PLAIN_EVERY == 0:
                say(f"  payment {made} of {total}")
            return
        if self._bar is None:
            self._bar = Progress(
                TextColumn("  paying"), BarColumn(), MofNCompleteColumn(),
                console=self._out, transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task("", total=total)
            self._bar.start()
        assert self._task is not None
        self._bar.update(self._task, completed=made, total=max(made, total))

    def _clear(self) -> None:
        """Take the bar away: something else is to be said."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def __enter__(self) -> Teller:
        return self

    def __exit__(self, *_: Any) -> None:
        self._clear()
