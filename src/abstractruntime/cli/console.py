"""How things are put on a terminal: safe text, ages, tables that fit, JSON, a line of progress.

Everything that came from a run is made visible first; nothing in it is read as markup.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.text import Text

from abstractruntime.core.canonical import encode
from abstractruntime.errors import InvalidInput
from abstractruntime.inspect.text import columns as columns_of
from abstractruntime.inspect.text import one_line, visible

PIPED_WIDTH = 140
"""Columns when nobody's terminal says how many there are."""

STYLES = {
    "running": "magenta",
    "waiting": "yellow",
    "completed": "green",
    "failed": "red",
    "cancelled": "bright_black",
    "recoverable": "bold red",
    "started": "magenta",
}

# Control and direction characters that JSON lets stand, and halves of surrogate pairs.
_DISTURBING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

LONGEST_CELL = 400
"""Characters of a value that are worth laying out in one cell."""


def console(*, stderr: bool = False) -> Console:
    """A console on the stream as it is now; plain when it is no terminal."""
    stream = sys.stderr if stderr else sys.stdout
    piped = not stream.isatty() and not os.environ.get("COLUMNS")
    return Console(
        file=stream,
        width=PIPED_WIDTH if piped else None,
        markup=False,
        highlight=False,
        emoji=False,
    )


def say(text: str = "", *, style: str = "", stderr: bool = False, whole: bool = False) -> None:
    """A line of ours, wrapped between words on a terminal; a `whole` one is left to it, so that
    commands and paths can be copied."""
    out = console(stderr=stderr)
    if whole or not out.is_terminal:
        out.print(Text(text, style=style), soft_wrap=True)
        return
    for line in text.split("\n"):
        bare = line.lstrip(" ")
        first = line[: len(line) - len(bare)]
        # What does not fit goes on under the text, not under its indent or bullet.
        hang = first + ("  " if bare.startswith("- ") else "")
        wrapped = Text(bare).wrap(out, max(20, out.width - len(hang)))
        for number, piece in enumerate(wrapped):
            shown = Text(f"{hang if number else first}{piece.plain.rstrip()}", style=style)
            out.print(shown, soft_wrap=True)


def write_json(value: Any, stream: TextIO | None = None) -> None:
    """One JSON document on `stream`, else on standard output."""
    stream = stream or sys.stdout
    stream.write(json_text(value) + "\n")
    stream.flush()


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """A value as readable JSON; of what is not ASCII only what could disturb a terminal is
    escaped."""
    try:
        text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    except ValueError:  # an integer longer than the stdlib agrees to write
        text = encode(value, max_bytes=1 << 40, max_depth=500).decode("utf-8")
    return _DISTURBING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shown(value: Any, width: int = LONGEST_CELL) -> str:
    """A value of a run as compact JSON on one safe line; text stands without quotes."""
    if isinstance(value, str):
        return one_line(value, width)
    try:
        return one_line(encode(value).decode("utf-8"), width)
    except InvalidInput:
        return one_line(repr(value), width)


def safe(text: object, width: int = LONGEST_CELL) -> str:
    """Text of a run on one safe line."""
    return one_line(str(text), width)


def paragraph(text: str, indent: str = "  ") -> str:
    """Text of a run with its own line breaks, safe and indented."""
    return "\n".join(f"{indent}{line}" for line in visible(text, lines=True).splitlines())


def age(seconds: float) -> str:
    """A length of time in one unit, as short as it can be read."""
    if seconds < 1:
        return "now"
    for size, unit in ((60, "s"), (60, "m"), (24, "h"), (365, "d")):
        if seconds < size:
            return f"{int(seconds)}{unit}"
        seconds /= size
    return f"{int(seconds)}y"


def lasted(seconds: float | None) -> str:
    """A duration with the digits that matter."""
    if seconds is None:
        return ""
    if seconds < 0.001:
        return "<1ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    return age(seconds)


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


# -- tables


@dataclass(frozen=True)
class Column:
    """A column: `least` columns wide at least, `share` of what is left; shown from `from_width`."""

    title: str
    least: int = 4
    share: int = 0
    from_width: int = 0
    right: bool = False


Cell = str | tuple[str, str]
"""Text, or text and its style."""


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    """A table without lines, as wide as the terminal; what does not fit ends in an ellipsis."""
    out = console()
    kept = [n for n, column in enumerate(columns) if out.width >= column.from_width]
    widths = _widths(columns, rows, kept, out.width)
    out.print(_line(columns, [column.title for column in columns], widths, "bold"), soft_wrap=True)
    for row in rows:
        out.print(_line(columns, row, widths), soft_wrap=True)


def _line(
    columns: Sequence[Column], row: Sequence[Cell], widths: dict[int, int], style: str = ""
) -> Text:
    line = Text(style=style)
    for n, width in widths.items():
        text, own = _parted(row[n])
        text = one_line(text, width)
        room = " " * (width - columns_of(text))
        line.append(f"{room}{text}" if columns[n].right else f"{text}{room}", style=own)
        line.append("  ")
    line.rstrip()
    return line


def _parted(cell: Cell) -> tuple[str, str]:
    return (cell, "") if isinstance(cell, str) else cell


def _widths(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], kept: Sequence[int], total: int
) -> dict[int, int]:
    """Column widths: each what it needs, then those with a share give way until all fit."""
    needs = {}
    for n in kept:
        longest = max((columns_of(_parted(row[n])[0]) for row in rows), default=0)
        needs[n] = max(longest, len(columns[n].title), columns[n].least)
    over = sum(needs.values()) + 2 * (len(kept) - 1) - total
    while over > 0:
        # The widest for its share gives way first.
        giving = [n for n in kept if columns[n].share and needs[n] > columns[n].least]
        if not giving:
            break
        widest = max(giving, key=lambda n: needs[n] / columns[n].share)
        needs[widest] -= 1
        over -= 1
    return needs


# -- progress


class Progress(Protocol):
    """A line that says how far a command is."""

    def tell(self, text: str) -> None:
        """Replace the line."""


class _Silent:
    def tell(self, text: str) -> None:
        """Nobody watches."""


class _Line:
    def __init__(self, status: Any) -> None:
        self._status = status

    def tell(self, text: str) -> None:
        self._status.update(Text(one_line(text, 200)))


@contextmanager
def progress(text: str, *, quiet: bool = False) -> Iterator[Progress]:
    """A progress line on standard error while the block runs; nothing when it is no terminal."""
    out = console(stderr=True)
    if quiet or not out.is_terminal:
        yield _Silent()
        return
    with out.status(Text(text)) as status:
        yield _Line(status)
