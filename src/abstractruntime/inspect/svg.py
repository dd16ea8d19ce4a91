"""A graph as a standalone SVG: dark on light, the path taken in colour, the current node marked.

Everything from a run is escaped and cut to fit; the whole name stands in the tooltip.
"""

from __future__ import annotations

from html import escape
from itertools import pairwise

from abstractruntime.inspect.graph import Graph, GraphEdge, GraphNode, edge_label
from abstractruntime.inspect.layout import Box, Placed, Point, Way, place
from abstractruntime.inspect.text import columns, one_line, shortened, visible

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
NAME_COLUMNS = 26
LABEL_COLUMNS = 30
HEADER = 62.0
FOOTER = 40.0
LEAST_WIDTH = 420.0

INK, FAINT, PAPER = "#0f172a", "#64748b", "#ffffff"
LINE, FILL = "#94a3b8", "#f8fafc"
TAKEN, TAKEN_FILL = "#1d4ed8", "#e8f0fe"
# stroke and fill of the node where a run stands, by its status
HERE = {
    "completed": ("#15803d", "#e7f6ec"),
    "failed": ("#b91c1c", "#fdecec"),
    "cancelled": ("#475569", "#eef1f5"),
    "waiting": ("#b45309", "#fff5e0"),
    "running": ("#7c3aed", "#f3ecff"),
}


def to_svg(graph: Graph) -> str:
    """The graph as an SVG document."""
    index = {node.name: number for number, node in enumerate(graph.nodes)}
    labels = [one_line(edge_label(edge), LABEL_COLUMNS) for edge in graph.edges]
    loops: dict[str, float] = {}
    for edge, label in zip(graph.edges, labels, strict=True):
        if edge.source == edge.target:
            loops[edge.source] = 38.0 + _width(label, 11)
    boxes = [_box(graph, node, loops.get(node.name, 0.0)) for node in graph.nodes]
    ways = [
        Way(
            index[edge.source],
            index[edge.target],
            _width(label, 11) + 10 if label else 0.0,
            16.0 if label else 0.0,
        )
        for edge, label in zip(graph.edges, labels, strict=True)
    ]
    first = next((number for number, node in enumerate(graph.nodes) if node.entry), 0)
    placed = place(boxes, ways, first)
    width = max(placed.width, LEAST_WIDTH, _width(one_line(graph.workflow_id, 60), 17) + 60)
    shift = (width - placed.width) / 2
    # Paths taken are drawn over the others, labels over all of them.
    order = sorted(range(len(ways)), key=lambda number: bool(graph.edges[number].taken))
    body = [
        *(_edge(graph, graph.edges[n], placed, n, boxes[ways[n].source], ways[n]) for n in order),
        *(_label(graph, graph.edges[n], labels[n], placed, n) for n in order if labels[n]),
        *(_node(graph, node, boxes[n], placed.boxes[n]) for n, node in enumerate(graph.nodes)),
    ]
    height = HEADER + placed.height + (FOOTER if graph.run_id else 0.0)
    parts = [
        _head(graph, width, height),
        f'<g transform="translate({_n(shift)} {_n(HEADER)})">',
        *body,
        "</g>",
        *(_legend(graph, width, height) if graph.run_id else ()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _box(graph: Graph, node: GraphNode, right: float) -> Box:
    lines = [_width(shortened(visible(node.name), NAME_COLUMNS), 13.5, bold=True)]
    lines.append(_width(_second_line(graph, node), 11))
    return Box(max(96.0, max(lines) + 34), 46.0 if _second_line(graph, node) else 38.0, right)


def _second_line(graph: Graph, node: GraphNode) -> str:
    """What stands under a node's name: what the run does there, else how often it was there."""
    said = []
    if node.visits > 1:
        said.append(f"{node.visits:,} visits")
    if node.here and graph.note:
        said.append(graph.note)
    if node.open and graph.run_id is None:
        said.append("may go elsewhere")
    return " · ".join(said)


def _head(graph: Graph, width: float, height: float) -> str:
    title = one_line(graph.workflow_id, 60)
    about = "workflow"
    if graph.run_id is not None:
        about = f"run {one_line(graph.run_id, 40)} · {graph.status}"
    size = f'width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}"'
    markers = "".join(
        f'<marker id="{name}" viewBox="0 0 10 10" refX="8.6" refY="5" markerWidth="9" '
        f'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="M0.5 1 L9.5 5 L0.5 9 L2.6 5 Z" fill="{colour}"/></marker>'
        for name, colour in (("arrow", LINE), ("arrow-taken", TAKEN))
    )
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{FONT}">',
            f"<title>{_xml(f'{title}, {about}')}</title>",
            f"<defs>{markers}</defs>",
            f'<rect width="100%" height="100%" fill="{PAPER}"/>',
            _text(24, 32, title, 17, INK, anchor="start", weight=700),
            _text(24, 51, about, 12, FAINT, anchor="start"),
        )
    )


def _node(graph: Graph, node: GraphNode, box: Box, centre: Point) -> str:
    stroke, fill, thick, ink = LINE, FILL, 1.2, "#475569" if graph.run_id else INK
    if graph.run_id is None:
        stroke = "#475569"
    if node.visits:
        stroke, fill, thick, ink = TAKEN, TAKEN_FILL, 1.6, INK
    if node.here:
        stroke, fill = HERE.get(graph.status or "", HERE["running"])
        thick, ink = 2.6, INK
    x, y = centre[0] - box.width / 2, centre[1] - box.height / 2
    radius = box.height / 2 if node.entry else 8
    second = _second_line(graph, node)
    parts = [f"<g><title>{_xml(visible(node.name))}</title>"]
    if node.here:
        parts.append(
            f'<rect x="{_n(x - 5)}" y="{_n(y - 5)}" width="{_n(box.width + 10)}" '
            f'height="{_n(box.height + 10)}" rx="{_n(radius + 5)}" fill="none" '
            f'stroke="{stroke}" stroke-opacity="0.28" stroke-width="4"/>'
        )
    parts.append(
        f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(box.width)}" height="{_n(box.height)}" '
        f'rx="{_n(radius)}" fill="{fill}" stroke="{stroke}" stroke-width="{thick}"/>'
    )
    name = shortened(visible(node.name), NAME_COLUMNS)
    at = centre[1] - 2 if second else centre[1] + 4.6
    parts.append(_text(centre[0], at, name, 13.5, ink, weight=600))
    if second:
        parts.append(_text(centre[0], centre[1] + 14, second, 11, stroke if node.here else FAINT))
    parts.append("</g>")
    return "".join(parts)


def _edge(graph: Graph, edge: GraphEdge, placed: Placed, number: int, box: Box, way: Way) -> str:
    colour, thick, arrow, dash = LINE, 1.3, "arrow", ' stroke-dasharray="4 4"'
    if graph.run_id is None:
        colour, dash = "#475569", ""
    if edge.taken:
        colour, thick, arrow, dash = TAKEN, 2.0, "arrow-taken", ""
    points = placed.ways[number]
    path = _curve(points) if points else _loop(placed.boxes[way.source], box)
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{thick}"{dash} '
        f'stroke-linejoin="round" marker-end="url(#{arrow})"/>'
    )


def _label(graph: Graph, edge: GraphEdge, label: str, placed: Placed, number: int) -> str:
    x, y = placed.labels[number]
    wide = _width(label, 11) + 8
    colour = TAKEN if edge.taken else FAINT if graph.run_id else "#334155"
    return (
        f'<rect x="{_n(x - wide / 2)}" y="{_n(y - 8)}" width="{_n(wide)}" height="16" rx="4" '
        f'fill="{PAPER}" fill-opacity="0.92"/>' + _text(x, y + 3.8, label, 11, colour)
    )


def _curve(points: tuple[Point, ...]) -> str:
    """A smooth line that leaves and enters every point vertically."""
    parts = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        if abs(x0 - x1) < 0.5:
            parts.append(f"L{_n(x1)} {_n(y1)}")
        else:
            half = (y0 + y1) / 2
            parts.append(f"C{_n(x0)} {_n(half)} {_n(x1)} {_n(half)} {_n(x1)} {_n(y1)}")
    return " ".join(parts)


def _loop(centre: Point, box: Box) -> str:
    """From the right side of a box back to it."""
    x, y = centre[0] + box.width / 2, centre[1]
    out = _n(x + 34)
    return f"M{_n(x)} {_n(y - 10)} C{out} {_n(y - 22)} {out} {_n(y + 22)} {_n(x)} {_n(y + 10)}"


def _legend(graph: Graph, width: float, height: float) -> list[str]:
    stroke, fill = HERE.get(graph.status or "", HERE["running"])
    entries = (
        ("path taken", TAKEN, TAKEN_FILL),
        ("not reached", LINE, FILL),
        (graph.note or "here", stroke, fill),
    )
    x, y = 24.0, height - 22
    parts = [f'<path d="M0 {_n(y - 18)} H{_n(width)}" stroke="#e2e8f0"/>']
    for text, line, paper in entries:
        parts.append(
            f'<rect x="{_n(x)}" y="{_n(y - 6)}" width="18" height="12" rx="3" fill="{paper}" '
            f'stroke="{line}" stroke-width="1.6"/>'
        )
        parts.append(_text(x + 25, y + 4, text, 11, FAINT, anchor="start"))
        x += 25 + _width(text, 11) + 22
    return parts


def _text(
    x: float,
    y: float,
    text: str,
    size: float,
    colour: str,
    *,
    anchor: str = "middle",
    weight: int = 400,
) -> str:
    return (
        f'<text x="{_n(x)}" y="{_n(y)}" font-size="{size}" fill="{colour}" '
        f'text-anchor="{anchor}" font-weight="{weight}">{_xml(text)}</text>'
    )


def _width(text: str, size: float, *, bold: bool = False) -> float:
    """About how wide the text is drawn: no font is asked, so it errs on the wide side."""
    narrow = sum(text.count(letter) for letter in "iljtfrI.,:;'|!() ")
    wide = sum(text.count(letter) for letter in "mwMWGOQ@%_")
    units = columns(text) * 0.57 - narrow * 0.24 + wide * 0.2
    return units * size * (1.06 if bold else 1.0)


def _xml(text: str) -> str:
    return escape(visible(text), quote=True)


def _n(number: float) -> str:
    """A coordinate with no more digits than can be seen."""
    return f"{number:.1f}".removesuffix(".0")
