"""How figures are made: a subject and its baseline in turn, the ratio pair by pair, the median."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPEATS = 5


@dataclass(frozen=True)
class Line:
    """One figure against its target; `ok` None: stated only."""

    name: str
    figure: str
    target: str
    ok: bool | None

    def __str__(self) -> str:
        mark = {True: "ok  ", False: "MISS", None: "    "}[self.ok]
        return f"{mark} {self.name:58s} {self.figure:44s} {self.target}"


def say(line: Line) -> Line:
    """Print the line at once: benches are long."""
    print(line, flush=True)
    return line


@contextmanager
def folder() -> Iterator[Path]:
    """A fresh folder on a real file system, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="bench-", dir="."))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def side_by_side(
    name: str,
    subject: Callable[[], float],
    baseline: Callable[[], float],
    *,
    at_least: float,
    repeats: int = REPEATS,
) -> Line:
    """Rates per second in turn (baseline, subject); the median of the ratios against the target."""
    rates = [(baseline(), subject()) for _ in range(repeats)]
    ratio = statistics.median(mine / base for base, mine in rates)
    mine = statistics.median(r[1] for r in rates)
    base = statistics.median(r[0] for r in rates)
    figure = f"{ratio:.2f} of the loop ({mine:,.0f}/s against {base:,.0f}/s)"
    return say(Line(name, figure, f">= {at_least}", ratio >= at_least))


def under(name: str, value: float, limit: float, unit: str, note: str = "") -> Line:
    """A figure that must not pass its limit."""
    return say(
        Line(name, f"{value:,.3g} {unit} {note}".rstrip(), f"<= {limit:g} {unit}", value <= limit)
    )


def over(name: str, value: float, limit: float, unit: str, note: str = "") -> Line:
    """A figure that must reach its limit."""
    return say(
        Line(name, f"{value:,.0f} {unit} {note}".rstrip(), f">= {limit:g} {unit}", value >= limit)
    )


def stated(name: str, figure: str) -> Line:
    """A figure without a target."""
    return say(Line(name, figure, "", None))
