"""The graph of a workflow, and the path a run took through it, as values that can be drawn.

Edges come from the workflow's source or declarations; visits and the path come from the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from abstractruntime.authoring.edges import edges_of, read_edges
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.inspect.text import one_line


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node; `visits` is how often the run entered it, `here` that it is where the run stands.

    `open`: it may have edges that nothing shows.
    """

    name: str
    entry: bool = False
    visits: int = 0
    here: bool = False
    open: bool = False


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """A way between two nodes; `labels` are the effects on it, `taken` how often it was gone.

    `planned`: the workflow shows it; else only the run does.
    """

    source: str
    target: str
    labels: tuple[str, ...] = ()
    taken: int = 0
    planned: bool = True


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in the order of the workflow. Of a run: its id, status, and a note on where it is."""

    workflow_id: str
    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    run_id: str | None = None
    status: str | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form."""
        return {
            "workflow_id": self.workflow_id,
            "run_id": self.run_id,
            "status": self.status,
            "nodes": [
                {
                    "name": node.name,
                    "entry": node.entry,
                    "visits": node.visits,
                    "here": node.here,
                    "open": node.open,
                }
                for node in self.nodes
            ],
            "edges": [
                {
                    "source": edge.source,
                    "target": edge.target,
                    "labels": list(edge.labels),
                    "taken": edge.taken,
                    "planned": edge.planned,
                }
                for edge in self.edges
            ],
        }


def graph_of_workflow(spec: WorkflowSpec) -> Graph:
    """The graph as the workflow shows it."""
    return _graph(spec.workflow_id, spec, {}, {}, {})


def graph_of_run(
    run: RunState, records: Iterable[Mapping[str, Any]], spec: WorkflowSpec | None = None
) -> Graph:
    """The graph with the path the run took; without `spec` only what the path shows of it."""
    visits: dict[str, int] = {}
    taken: dict[tuple[str, str], int] = {}
    effects: dict[tuple[str, str], list[str]] = {}
    before: str | None = None
    for node, effect in _entered(run, records):
        if node is None:
            before = None
            continue
        visits[node] = visits.get(node, 0) + 1
        if before is not None:
            taken[before, node] = taken.get((before, node), 0) + 1
            known = effects.setdefault((before, node), [])
            if effect and effect not in known:
                known.append(effect)
        before = node
    visits.setdefault(run.current_node, 0)
    return _graph(run.workflow_id, spec, visits, taken, effects, run)


def _entered(
    run: RunState, records: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[str | None, str]]:
    """The nodes the run entered, in order, each with the effect that led to it ("" for none).

    None instead of a node: a person or host set the run elsewhere.
    """
    last: tuple[int, str, int] | None = None
    generation = 1
    effect = ""
    seen: set[tuple[int, str, int]] = set()
    for record in records:
        result = record.get("result") or {}
        kind = result.get("kind") if record.get("effect") is None else None
        if kind in ("edited", "restored"):
            generation += bool(result.get("fresh"))
            last, effect = None, ""
            yield None, ""
        visit = record.get("visit")
        if visit is None:
            continue
        entry = (generation, str(record["node_id"]), int(visit))
        if entry != last:
            last = entry
            # A rewound run goes its recorded way again: that enters no node anew.
            yield (None if entry in seen else entry[1]), effect
            seen.add(entry)
        effect = str(record["effect"].get("type", "")) if record.get("effect") else ""
        if kind == "joined":
            effect = "parallel"
    at = run.checkpoint
    if at is None or not at.entered:
        return
    entry = (generation, run.current_node, at.visits.get(run.current_node, 1))
    if entry != last and entry not in seen:
        yield run.current_node, effect


def _graph(
    workflow_id: str,
    spec: WorkflowSpec | None,
    visits: Mapping[str, int],
    taken: Mapping[tuple[str, str], int],
    effects: Mapping[tuple[str, str], list[str]],
    run: RunState | None = None,
) -> Graph:
    labels: dict[tuple[str, str], list[str]] = {pair: list(seen) for pair, seen in effects.items()}
    planned: dict[tuple[str, str], None] = {}
    open_nodes: set[str] = set()
    if spec is not None:
        open_nodes = {name for name, node in read_edges(spec).items() if not node.known}
        for edge in edges_of(spec):
            planned[edge.source, edge.target] = None
            known = labels.setdefault((edge.source, edge.target), [])
            if edge.label and edge.label not in known:
                known.append(edge.label)
    # The workflow's own edges first, in its order, however the run went.
    pairs = dict.fromkeys([*planned, *taken])
    names = list(dict.fromkeys([*(spec.nodes if spec is not None else ()), *visits]))
    first = spec.entry_node if spec is not None else next(iter(visits), None)
    nodes = tuple(
        GraphNode(
            name=name,
            entry=name == first,
            visits=visits.get(name, 0),
            here=run is not None and name == run.current_node,
            open=name in open_nodes,
        )
        for name in names
    )
    edges = tuple(
        GraphEdge(
            source=pair[0],
            target=pair[1],
            labels=tuple(labels.get(pair, ())),
            taken=taken.get(pair, 0),
            planned=pair in planned,
        )
        for pair in pairs
    )
    if run is None:
        return Graph(workflow_id, nodes, edges)
    return Graph(workflow_id, nodes, edges, run.run_id, run.status.value, _note(run))


def _note(run: RunState) -> str:
    """What to say at the node where the run stands."""
    at = run.checkpoint
    if at is not None and run.status not in ENDED:
        if at.terms.paused is not None:
            return "is paused"
        if at.join is not None:
            return f"{len({*at.open_steps, *at.waits})} of {at.join.total} branches open"
        if any(step.unknown is not None for step in at.open_steps.values()):
            return "outcome unknown"
    if run.status is RunStatus.WAITING and run.waiting is not None:
        reason = run.waiting.reason.value
        return {"user": "waits for a person", "until": "waits for a time"}.get(
            reason, f"waits: {reason}"
        )
    if run.status in ENDED:
        return run.status.value
    return "is here"


# -- Mermaid


def to_mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flowchart; names are quoted, so any text is safe in it."""
    ids = {node.name: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart TD"]
    for node in graph.nodes:
        shape = ("([", "])") if node.entry else ("[", "]")
        text = _quoted(node.name)
        if node.visits > 1:
            text += f" ×{node.visits}"
        if node.here and graph.note:
            text += f"<br/>{_quoted(graph.note)}"
        lines.append(f'    {ids[node.name]}{shape[0]}"{text}"{shape[1]}')
    taken = []
    for number, edge in enumerate(graph.edges):
        if edge.taken:
            taken.append(str(number))
        label = edge_label(edge)
        arrow = "-->" if edge.taken or graph.run_id is None else "-.->"
        middle = f'|"{_quoted(label)}"|' if label else ""
        lines.append(f"    {ids[edge.source]} {arrow}{middle} {ids[edge.target]}")
    if graph.run_id is not None:
        lines += _classes(graph, ids)
    if taken:
        lines.append(f"    linkStyle {','.join(taken)} stroke:#1d4ed8,stroke-width:2px")
    return "\n".join(lines) + "\n"


def edge_label(edge: GraphEdge) -> str:
    """What stands on an edge: its effects and how often it was gone, when more than once."""
    text = ", ".join(edge.labels)
    if edge.taken > 1:
        text = f"{text} ×{edge.taken}".strip()
    return text


def _classes(graph: Graph, ids: Mapping[str, str]) -> list[str]:
    lines = [
        "    classDef taken fill:#e8f0fe,stroke:#1d4ed8,color:#0f172a",
        "    classDef here fill:#fff4e5,stroke:#c2410c,stroke-width:3px,color:#0f172a",
    ]
    visited = [ids[node.name] for node in graph.nodes if node.visits and not node.here]
    here = [ids[node.name] for node in graph.nodes if node.here]
    if visited:
        lines.append(f"    class {','.join(visited)} taken")
    if here:
        lines.append(f"    class {','.join(here)} here")
    return lines


def _quoted(text: str) -> str:
    """Text for inside Mermaid's double quotes: markup and quotes as entities, on one line."""
    escaped = one_line(text, 60).replace("&", "&amp;").replace("#", "#35;")
    return escaped.replace('"', "#quot;").replace("<", "&lt;").replace(">", "&gt;")
