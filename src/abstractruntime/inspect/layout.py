"""Where the nodes and edges of a graph go on paper: layers from top to bottom, few crossings.

Layers by longest path; every edge is cut at each layer it passes by a stop, one of which carries
its label; stops and nodes are ordered by the median of their neighbours and moved towards them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from abstractruntime.inspect.rows import Chain, Spot, move, order

Point = tuple[float, float]

ROW_GAP = 34.0
"""The height of a row that only edges pass, and the room around a label in it."""
MARGIN = 24.0


@dataclass(frozen=True, slots=True)
class Box:
    """A node to place; `right` is room it needs on its right beyond its width (a loop)."""

    width: float
    height: float
    right: float = 0.0


@dataclass(frozen=True, slots=True)
class Way:
    """An edge to place, between boxes by number; its label is `label_width` wide."""

    source: int
    target: int
    label_width: float = 0.0
    label_height: float = 0.0


@dataclass(frozen=True, slots=True)
class Placed:
    """Centres of boxes, points of ways (source first), and the centres of labels."""

    width: float
    height: float
    boxes: tuple[Point, ...]
    ways: tuple[tuple[Point, ...], ...]
    labels: tuple[Point, ...]


def place(boxes: Sequence[Box], ways: Sequence[Way], first: int = 0) -> Placed:
    """Place everything; ways from a box to itself get no points but the label's."""
    if not boxes:
        return Placed(2 * MARGIN, 2 * MARGIN, (), (), ())
    pairs = [(way.source, way.target) for way in ways]
    down = _downward(len(boxes), pairs, first)
    layers = _layers(len(boxes), [pair for pair in down if pair is not None])
    spots, rows, chains = _cut(boxes, ways, down, layers)
    order(spots, rows)
    move(spots, rows)
    return _measured(boxes, ways, spots, rows, chains)


def _downward(
    count: int, pairs: Sequence[tuple[int, int]], first: int
) -> list[tuple[int, int] | None]:
    """The pairs with those that close a cycle turned round; None for loops at one box."""
    leaving: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for number, (source, target) in enumerate(pairs):
        leaving[source].append((number, target))
    result: list[tuple[int, int] | None] = list(pairs)
    state = [0] * count
    for root in [first, *range(count)]:
        if state[root]:
            continue
        state[root] = 1
        stack = [(root, iter(leaving[root]))]
        while stack:
            at, waiting = stack[-1]
            for number, target in waiting:
                if target == at:
                    result[number] = None
                elif state[target] == 1:
                    result[number] = (target, at)
                elif state[target] == 0:
                    state[target] = 1
                    stack.append((target, iter(leaving[target])))
                    break
            else:
                state[at] = 2
                stack.pop()
    return result


def _layers(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The layer of each box: below all that lead to it, and as near to those it leads to."""
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for source, target in pairs:
        above[target].append(source)
        below[source].append(target)
        missing[target] += 1
    layers = [0] * count
    ready = [box for box in range(count) if not missing[box]]
    done = []
    while ready:
        box = ready.pop()
        done.append(box)
        for target in below[box]:
            layers[target] = max(layers[target], layers[box] + 1)
            missing[target] -= 1
            if not missing[target]:
                ready.append(target)
    for box in reversed(done):
        if below[box] and not above[box]:
            layers[box] = min(layers[target] for target in below[box]) - 1
    return layers


def _cut(
    boxes: Sequence[Box],
    ways: Sequence[Way],
    down: Sequence[tuple[int, int] | None],
    layers: Sequence[int],
) -> tuple[list[Spot], list[list[int]], list[Chain | None]]:
    """Spots and rows: boxes in even rows, between them rows of stops, one at least for each way."""
    spots = [Spot(box.width / 2, box.width / 2 + box.right, box.height) for box in boxes]
    rows: list[list[int]] = [[] for _ in range(2 * max(layers) + 1)]
    for number, layer in enumerate(layers):
        spots[number].row = 2 * layer
        rows[2 * layer].append(number)
    chains: list[Chain | None] = []
    for way, pair in zip(ways, down, strict=True):
        if pair is None:
            chains.append(None)
            continue
        top, bottom = 2 * layers[pair[0]], 2 * layers[pair[1]]
        up = pair != (way.source, way.target)
        # The label stands near where the way begins.
        at = bottom - 1 if up else top + 1
        chain = Chain([pair[0]], -1, up)
        for row in range(top + 1, bottom):
            wide, high = (way.label_width / 2, way.label_height) if row == at else (1.0, 0.0)
            spots.append(Spot(wide, wide, high, row, chain=chain))
            rows[row].append(len(spots) - 1)
            chain.spots.append(len(spots) - 1)
            if row == at:
                chain.label = len(spots) - 1
        chain.spots.append(pair[1])
        chains.append(chain)
        for one, other in pairwise(chain.spots):
            spots[one].below.append(other)
            spots[other].above.append(one)
    return spots, rows, chains


# -- on paper


def _measured(
    boxes: Sequence[Box],
    ways: Sequence[Way],
    spots: list[Spot],
    rows: list[list[int]],
    chains: list[Chain | None],
) -> Placed:
    used = [number for row in rows for number in row]
    left = min(spots[number].x - spots[number].left for number in used)
    right = max(spots[number].x + spots[number].right for number in used)
    middle: dict[int, float] = {}
    heights: dict[int, float] = {}
    y = MARGIN
    for number, row in enumerate(rows):
        tallest = max((spots[spot].height for spot in row), default=0.0)
        height = tallest if number % 2 == 0 else ROW_GAP + tallest
        for spot in row:
            middle[spot], heights[spot] = y + height / 2, height
        y += height
    shift = MARGIN - left
    for spot_ in spots:
        spot_.x += shift
    centres = [(spot.x, middle[number]) for number, spot in enumerate(spots)]
    ports = _ports(boxes, spots, chains)
    lines: list[tuple[Point, ...]] = []
    labels: list[Point] = []
    for number, (way, chain) in enumerate(zip(ways, chains, strict=True)):
        if chain is None:
            x, at = centres[way.source]
            box = boxes[way.source]
            lines.append(())
            labels.append((x + box.width / 2 + 30 + way.label_width / 2, at))
            continue
        points: list[Point] = []
        start, end = chain.spots[0], chain.spots[-1]
        points.append((ports[number, True], centres[start][1] + boxes[start].height / 2))
        for spot in chain.spots[1:-1]:
            x, at = centres[spot]
            if spots[spot].row % 2 == 0:
                # Straight past a row of boxes, so that the bend never cuts a box beside it.
                points += [(x, at - heights[spot] / 2), (x, at + heights[spot] / 2)]
            elif spot == chain.label and way.label_width:
                points.append((x, at))
        points.append((ports[number, False], centres[end][1] - boxes[end].height / 2))
        lines.append(tuple(reversed(points)) if chain.up else tuple(points))
        labels.append(centres[chain.label])
    return Placed(
        right - left + 2 * MARGIN,
        y + MARGIN,
        tuple(centres[: len(boxes)]),
        tuple(lines),
        tuple(labels),
    )


def _ports(
    boxes: Sequence[Box], spots: list[Spot], chains: list[Chain | None]
) -> dict[tuple[int, bool], float]:
    """Where each way meets its upper box (True) and its lower one, side by side along the edge."""
    sides: dict[tuple[int, bool], list[tuple[float, int]]] = {}
    for number, chain in enumerate(chains):
        if chain is not None:
            upper, lower = chain.spots[0], chain.spots[-1]
            sides.setdefault((upper, True), []).append((spots[chain.spots[1]].x, number))
            sides.setdefault((lower, False), []).append((spots[chain.spots[-2]].x, number))
    ports: dict[tuple[int, bool], float] = {}
    for (box, below), ends in sides.items():
        ends.sort()
        room = boxes[box].width - 28
        step = min(22.0, room / max(1, len(ends) - 1))
        for place, (_, number) in enumerate(ends):
            ports[number, below] = spots[box].x + step * (place - (len(ends) - 1) / 2)
    return ports
