"""Graphs show a workflow's edges and a run's path, in Mermaid and SVG, whatever nodes are named."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from abstractruntime import Runtime, open_store
from abstractruntime.authoring import Workflow, ask_user, call, complete, goto
from abstractruntime.inspect.graph import (
    Graph,
    GraphEdge,
    GraphNode,
    graph_of_run,
    graph_of_workflow,
    to_mermaid,
)
from abstractruntime.inspect.layout import Box, Way, place
from abstractruntime.inspect.svg import to_svg

SVG = "{http://www.w3.org/2000/svg}"
flow = Workflow("flow")


@flow.node
def begin(run):  # type: ignore[no-untyped-def]
    run.vars["n"] = 0
    return goto(work)


@flow.node
def work(run):  # type: ignore[no-untyped-def]
    run.vars["n"] += 1
    return call(nothing, then=work) if run.vars["n"] < 4 else goto(ask)


@flow.node
def ask(run):  # type: ignore[no-untyped-def]
    return ask_user("Again?", then=end if run.vars["n"] else begin)


@flow.node
def end(run):  # type: ignore[no-untyped-def]
    return complete({})


@flow.function
def nothing():  # type: ignore[no-untyped-def]
    return None


def edges(graph: Graph) -> dict[tuple[str, str], int]:
    return {(edge.source, edge.target): edge.taken for edge in graph.edges}


def graph_of(answered: bool, *, spec: bool = True) -> Graph:
    store = open_store("memory://")
    runtime = Runtime(store=store)
    run_id = runtime.start(workflow=flow.spec)
    run = runtime.tick(workflow=flow.spec, run_id=run_id)
    if answered:
        run = runtime.resume(workflow=flow.spec, run_id=run_id, wait_key=None, payload="yes")
    return graph_of_run(run, store.list_records(run_id), flow.spec if spec else None)


def test_a_workflow_shows_its_nodes_and_edges_with_their_effects() -> None:
    graph = graph_of_workflow(flow.spec)
    assert [node.name for node in graph.nodes] == ["begin", "work", "ask", "end"]
    assert [node.name for node in graph.nodes if node.entry] == ["begin"]
    labels = {(edge.source, edge.target): edge.labels for edge in graph.edges}
    assert labels["work", "work"] == ("call",)
    assert labels["ask", "end"] == labels["ask", "begin"] == ("ask_user",)
    assert labels["begin", "work"] == ()


def test_a_run_shows_its_path_with_counts_and_where_it_stands() -> None:
    graph = graph_of(answered=False)
    assert edges(graph)["begin", "work"] == 1
    assert edges(graph)["work", "work"] == 3
    assert edges(graph)["work", "ask"] == 1
    assert edges(graph)["ask", "end"] == 0
    assert {node.name: node.visits for node in graph.nodes} == {
        "begin": 1,
        "work": 4,
        "ask": 1,
        "end": 0,
    }
    assert [node.name for node in graph.nodes if node.here] == ["ask"]
    assert graph.note == "waits for a person"


def test_a_run_that_has_ended_shows_the_whole_path() -> None:
    graph = graph_of(answered=True)
    assert edges(graph)["ask", "end"] == 1
    assert graph.note == "completed"


def test_without_its_workflow_a_run_shows_what_it_went_by() -> None:
    graph = graph_of(answered=True, spec=False)
    assert [node.name for node in graph.nodes] == ["begin", "work", "ask", "end"]
    assert all(not edge.planned for edge in graph.edges)
    labels = {(edge.source, edge.target): edge.labels for edge in graph.edges}
    assert labels["work", "work"] == ("call",)
    assert labels["work", "ask"] == ()
    assert labels["ask", "end"] == ("ask_user",)


def test_a_run_that_has_only_begun_stands_at_its_entry() -> None:
    store = open_store("memory://")
    runtime = Runtime(store=store)
    run = runtime.get_state(runtime.start(workflow=flow.spec))
    graph = graph_of_run(run, [], flow.spec)
    assert [(node.name, node.visits) for node in graph.nodes if node.here] == [("begin", 0)]
    assert "begin" in to_svg(graph)


def test_a_restored_run_shows_no_edge_from_where_it_was_put_back() -> None:
    records = [
        {"node_id": "a", "visit": 1, "effect": {}, "result": None},
        {"node_id": "b", "visit": 1, "effect": {}, "result": None},
        {"node_id": "b", "effect": None, "result": {"kind": "restored", "fresh": True}},
        {"node_id": "a", "visit": 1, "effect": {}, "result": None},
        {"node_id": "c", "visit": 1, "effect": {}, "result": None},
    ]
    store = open_store("memory://")
    run = Runtime(store=store).get_state(Runtime(store=store).start(workflow=flow.spec))
    run.current_node = "c"
    assert edges(graph_of_run(run, records)) == {("a", "b"): 1, ("a", "c"): 1}


NASTY = [
    '<b>&"x"</b>',
    "a\x1b[31m\x00b",
    "日本語のノード",
    "]]>",
    "x" * 250,
    "--> n1",
    "{{}}",
    "\ud800",
]


def nasty() -> Graph:
    nodes = tuple(GraphNode(name, entry=not n) for n, name in enumerate(NASTY))
    ways = tuple(GraphEdge(one, two, (one,)) for one, two in pairwise(NASTY))
    return Graph("evil <script>", nodes, ways, "run\x1b", "waiting", "waits & sees")


def test_any_name_makes_a_well_formed_picture() -> None:
    text = to_svg(nasty())
    root = ElementTree.fromstring(text)
    words = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert '<b>&"x"</b>' in words
    assert max(map(len, words)) < 70
    assert "<script>" not in text
    titles = [element.text or "" for element in root.iter(f"{SVG}title")]
    assert "x" * 250 in titles  # the whole name is in the tooltip


def test_any_name_is_quoted_in_mermaid() -> None:
    lines = to_mermaid(nasty()).splitlines()
    for line in lines[1:]:
        assert re.fullmatch(
            r'    (n\d+(\(\["[^"]*"\]\)|\["[^"]*"\])'
            r'|n\d+ (-->|-\.->)(\|"[^"]*"\|)? n\d+|classDef .*|class .*|linkStyle .*)',
            line,
        ), line
    assert "<b>" not in "\n".join(lines)


def random_graph(seed: int, size: int) -> tuple[list[Box], list[Way]]:
    dice = random.Random(seed)
    boxes = [Box(dice.uniform(90, 240), dice.choice([38, 46])) for _ in range(size)]
    ways = {(dice.randrange(max(0, n - 6), n), n) for n in range(1, size)}
    ways |= {(dice.randrange(size), dice.randrange(size)) for _ in range(size // 2)}
    return boxes, [Way(*way, dice.choice([0, 60]), 16) for way in sorted(ways)]


@pytest.mark.parametrize("seed", range(12))
def test_boxes_never_overlap_and_every_way_meets_its_boxes(seed: int) -> None:
    boxes, ways = random_graph(seed, 3 + seed * 3)
    placed = place(boxes, ways)
    spans = [
        (x - box.width / 2, x + box.width / 2, y - box.height / 2, y + box.height / 2)
        for box, (x, y) in zip(boxes, placed.boxes, strict=True)
    ]
    for number, (left, right, top, bottom) in enumerate(spans):
        assert 0 <= left < right <= placed.width
        assert 0 <= top < bottom <= placed.height
        for other in spans[number + 1 :]:
            beside = right <= other[0] or other[1] <= left
            assert beside or bottom <= other[2] or other[3] <= top
    for way, points in zip(ways, placed.ways, strict=True):
        if way.source == way.target:
            assert points == ()
            continue
        for box, (x, y) in ((way.source, points[0]), (way.target, points[-1])):
            left, right, top, bottom = spans[box]
            assert left <= x <= right
            assert y in (pytest.approx(top), pytest.approx(bottom))


def test_a_chain_is_drawn_straight_down() -> None:
    placed = place([Box(100, 40)] * 4, [Way(0, 1), Way(1, 2), Way(2, 3)])
    assert len({round(x) for x, _ in placed.boxes}) == 1
    ys = [y for _, y in placed.boxes]
    assert ys == sorted(ys)


def test_an_edge_back_is_drawn_upwards_to_its_target() -> None:
    placed = place([Box(100, 40)] * 3, [Way(0, 1), Way(1, 2), Way(2, 0)])
    back = placed.ways[2]
    assert back[0][1] > back[-1][1]


def test_crossings_that_need_not_be_are_taken_away() -> None:
    """Two pairs that would cross in the order they were given."""
    placed = place([Box(100, 40)] * 5, [Way(0, 1), Way(0, 2), Way(1, 4), Way(2, 3), Way(1, 4)])
    (one, two), (three, four) = placed.boxes[1:3], placed.boxes[3:5]
    assert (one[0] < two[0]) == (four[0] < three[0])


def test_a_graph_without_nodes_is_an_empty_picture() -> None:
    ElementTree.fromstring(to_svg(Graph("empty", (), ())))
