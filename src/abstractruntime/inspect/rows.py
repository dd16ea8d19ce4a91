"""Rows of boxes and passing edges: their order, so that few edges cross, and their places across.

What stands in which row is decided by `layout`; this module moves spots within their rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

BETWEEN = 26.0
"""The least space between two nodes beside each other."""
BESIDE_STOP = 10.0
"""The least space beside a passing edge."""


@dataclass(slots=True)
class Spot:
    """A box or a stop in a row."""

    left: float
    right: float
    height: float
    row: int = 0
    above: list[int] = field(default_factory=list)
    below: list[int] = field(default_factory=list)
    chain: Chain | None = None
    x: float = 0.0

    @property
    def stop(self) -> bool:
        return self.chain is not None


@dataclass(slots=True)
class Chain:
    """A way as the spots it passes from top to bottom; `up` when it leads upwards."""

    spots: list[int]
    label: int
    up: bool
    wish: float = 0.0


# -- order


def order(spots: list[Spot], rows: list[list[int]]) -> None:
    """Sort each row by the median place of its neighbours, up and down; keep the best seen."""
    best, fewest = [list(row) for row in rows], _crossings(spots, rows)
    for sweep in range(24):
        if fewest == 0:
            break
        downwards = sweep % 2 == 0
        order = range(1, len(rows)) if downwards else range(len(rows) - 2, -1, -1)
        for row in order:
            fixed = rows[row - 1] if downwards else rows[row + 1]
            place_of = {spot: place for place, spot in enumerate(fixed)}
            keys: dict[int, float] = {}
            for place, spot in enumerate(rows[row]):
                near = spots[spot].above if downwards else spots[spot].below
                places = [place_of[other] for other in near]
                keys[spot] = sum(places) / len(places) if places else float(place)
            rows[row].sort(key=keys.__getitem__)
            if sweep % 4 >= 2:
                _transpose(spots, rows, row)
        count = _crossings(spots, rows)
        if count < fewest:
            best, fewest = [list(row) for row in rows], count
    rows[:] = best


def _transpose(spots: list[Spot], rows: list[list[int]], row: int) -> None:
    """Swap neighbours in a row where that saves crossings."""
    line = rows[row]
    above = {s: p for p, s in enumerate(rows[row - 1])} if row else {}
    below = {s: p for p, s in enumerate(rows[row + 1])} if row + 1 < len(rows) else {}
    for place in range(len(line) - 1):
        one, other = spots[line[place]], spots[line[place + 1]]
        now = after = 0
        for mine, yours, places in (
            (one.above, other.above, above),
            (one.below, other.below, below),
        ):
            for left in mine:
                for right in yours:
                    now += places[left] > places[right]
                    after += places[right] > places[left]
        if after < now:
            line[place], line[place + 1] = line[place + 1], line[place]


def _crossings(spots: list[Spot], rows: list[list[int]]) -> int:
    total = 0
    for upper, lower in pairwise(rows):
        place_of = {spot: place for place, spot in enumerate(lower)}
        ends = [place_of[other] for spot in upper for other in sorted(
            spots[spot].below, key=place_of.__getitem__)]  # fmt: skip
        total += sum(one > other for number, one in enumerate(ends) for other in ends[number + 1 :])
    return total


# -- across


def move(spots: list[Spot], rows: list[list[int]]) -> None:
    """Move spots towards their neighbours, in order and with room between, until it settles."""
    for row in rows:
        x = 0.0
        for spot in row:
            spots[spot].x = x + spots[spot].left
            x += spots[spot].left + spots[spot].right + BETWEEN
        for spot in row:
            spots[spot].x -= x / 2
    chains = list({id(spot.chain): spot.chain for spot in spots if spot.chain}.values())
    for sweep in range(160):
        for chain in chains:
            chain.wish = _straight(spots, chain)
        for row in rows if sweep % 2 == 0 else reversed(rows):
            _settle(spots, row)
    for chain in sorted(chains, key=lambda chain: -len(chain.spots)):
        _straighten(spots, rows, chain)


def _straight(spots: list[Spot], chain: Chain) -> float:
    """Where all stops of a way should stand: on one line, a little towards its ends."""
    stops = [spots[number].x for number in chain.spots[1:-1]]
    ends = (spots[chain.spots[0]].x + spots[chain.spots[-1]].x) / 2
    towards = 0.5 if len(stops) < 3 else 0.12
    return sum(stops) / len(stops) * (1 - towards) + ends * towards


def _straighten(spots: list[Spot], rows: list[list[int]], chain: Chain) -> None:
    """Put as many stops in a row on one line as the spots beside them leave room for."""
    run: list[int] = []
    low, high = float("-inf"), float("inf")
    for number in chain.spots[1:-1]:
        least, most = _room(spots, rows[spots[number].row], number)
        if run and max(low, least) > min(high, most):
            _line_up(spots, run, low, high)
            run, low, high = [], float("-inf"), float("inf")
        run.append(number)
        low, high = max(low, least), min(high, most)
    _line_up(spots, run, low, high)


def _line_up(spots: list[Spot], run: list[int], low: float, high: float) -> None:
    middle = sorted(spots[number].x for number in run)[len(run) // 2]
    for number in run:
        spots[number].x = min(max(middle, low), high)


def _room(spots: list[Spot], row: list[int], number: int) -> tuple[float, float]:
    """Between which places a spot may move while those beside it stay."""
    place = row.index(number)
    spot, low, high = spots[number], float("-inf"), float("inf")
    if place:
        before = spots[row[place - 1]]
        low = before.x + _apart(before, spot)
    if place + 1 < len(row):
        after = spots[row[place + 1]]
        high = after.x - _apart(spot, after)
    return low, high


def _apart(left: Spot, right: Spot) -> float:
    """The least distance between the centres of two spots beside each other."""
    gap = BESIDE_STOP if left.stop or right.stop else BETWEEN
    return left.right + right.left + gap


def _settle(spots: list[Spot], row: list[int]) -> None:
    """The row at the places nearest to where its spots want to be (least squares, in order)."""
    offset = 0.0
    blocks: list[list[float]] = []  # [weighted sum, weight, count]
    offsets: list[float] = []
    for place, number in enumerate(row):
        spot = spots[number]
        if place:
            offset += _apart(spots[row[place - 1]], spot)
        offsets.append(offset)
        wish, weight = _wish(spots, spot)
        blocks.append([(wish - offset) * weight, weight, 1.0])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] > blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [one + other for one, other in zip(blocks[-1], last, strict=True)]
    place = 0
    for total, weight, count in blocks:
        for _ in range(int(count)):
            spots[row[place]].x = total / weight + offsets[place]
            place += 1


def _wish(spots: list[Spot], spot: Spot) -> tuple[float, float]:
    """Where a spot would stand for the sake of its neighbours, and how much it matters."""
    if spot.chain is not None:
        return spot.chain.wish, 2.0 + len(spot.chain.spots)
    near = [spots[other].x for other in (*spot.above, *spot.below)]
    if not near:
        return spot.x, 0.1
    return sum(near) / len(near), 2.0 * len(near)
