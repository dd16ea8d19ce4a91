"""The edges of a workflow, for drawing and checking: declared, or read from the nodes' source.

Reading a source tells where a node may go only when its targets are written out; where they are
not, the node's edges are marked as not all known.
"""

from __future__ import annotations

import ast
import builtins
import inspect
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from abstractruntime.authoring import branches, plans
from abstractruntime.core.machine.plan import ENDS, MAY_STAY
from abstractruntime.core.models import Effect, EffectType, StepPlan, type_name
from abstractruntime.core.spec import WorkflowSpec


@dataclass(frozen=True)
class Edge:
    """One way from node to node; `label` is the effect performed on it, "" when there is none."""

    source: str
    target: str
    label: str = ""


@dataclass(frozen=True)
class NodeEdges:
    """The edges that leave a node. `strangers` are functions it goes to that are no nodes."""

    edges: tuple[Edge, ...]
    known: bool
    """Whether these are all."""
    strangers: tuple[str, ...] = ()


class HasSpec(Protocol):
    """A builder of a workflow."""

    @property
    def spec(self) -> WorkflowSpec: ...


def edges_of(workflow: WorkflowSpec | HasSpec) -> list[Edge]:
    """The edges between nodes that are declared or can be read from the source, in node order."""
    spec = workflow if isinstance(workflow, WorkflowSpec) else workflow.spec
    return [
        edge
        for node in read_edges(spec).values()
        for edge in node.edges
        if edge.target in spec.nodes
    ]


def read_edges(spec: WorkflowSpec) -> dict[str, NodeEdges]:
    """What is known of the edges of each node, by node; targets may be no nodes."""
    names: dict[int, str] = {}
    for node_id, handler in spec.nodes.items():
        names[id(handler)] = names[id(getattr(handler, "function", handler))] = node_id

    def node_name(value: object) -> str | None:
        while value is not None:
            if id(value) in names:
                return names[id(value)]
            value = getattr(value, "__wrapped__", None)
        return None

    return {node_id: _read(node_id, spec.nodes[node_id], node_name) for node_id in spec.nodes}


NodeName = Callable[[object], str | None]


def _read(node_id: str, handler: Any, node_name: NodeName) -> NodeEdges:
    declared = getattr(handler, "declared", None)
    function = getattr(handler, "function", handler)
    if declared is None:
        parsed = _parsed(function)
        if parsed is None:
            return NodeEdges((), known=False)
        reader = _Reader(node_id, _Scope(function), node_name)
        reader.read(parsed)
    else:
        reader = _Reader(node_id, _Scope(None), node_name)
        for target in declared:
            reader.go(target, "")
    return NodeEdges(
        tuple(dict.fromkeys(reader.edges)), reader.known, tuple(dict.fromkeys(reader.strangers))
    )


def _parsed(function: Any) -> ast.FunctionDef | None:
    """The syntax of a function; None when its source is not there or is not its own."""
    try:
        plain = inspect.unwrap(function)
        source = inspect.getsource(plain)
    except (OSError, TypeError, ValueError):
        return None
    if source[:1].isspace():
        source = f"if True:\n{source}"
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    first = tree.body[0] if tree.body else None
    if isinstance(first, ast.If):
        first = first.body[0]
    # A file edited since it was imported may show another function's lines.
    if isinstance(first, ast.FunctionDef) and first.name == getattr(plain, "__name__", None):
        return first
    return None


class _Unknown:
    """What a name stands for when the source does not tell."""


_UNKNOWN = _Unknown()


class _Scope:
    """What the names in a function stand for, as far as can be told without running it."""

    def __init__(self, function: Any) -> None:
        plain: Any = None if function is None else inspect.unwrap(function)
        plain = getattr(plain, "__func__", plain)
        code = getattr(plain, "__code__", None)
        self._local = frozenset(() if code is None else (*code.co_varnames, *code.co_cellvars))
        self._globals: dict[str, Any] = getattr(plain, "__globals__", {})
        self._cells: dict[str, Any] = {}
        if code is not None:
            self._cells = dict(zip(code.co_freevars, plain.__closure__ or (), strict=True))

    def value(self, expression: ast.expr) -> Any:
        """The object an expression stands for; _UNKNOWN unless it is a constant or a fixed name."""
        match expression:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self._named(name)
            case ast.Attribute(value=base, attr=attribute):
                owner = self.value(base)
                # Attributes of modules and classes are as good as names; of others they may change.
                if inspect.ismodule(owner) or inspect.isclass(owner):
                    return getattr(owner, attribute, _UNKNOWN)
        return _UNKNOWN

    def _named(self, name: str) -> Any:
        if name in self._local:
            return _UNKNOWN
        if name in self._cells:
            try:
                return self._cells[name].cell_contents
            except ValueError:  # not assigned yet
                return _UNKNOWN
        return self._globals.get(name, getattr(builtins, name, _UNKNOWN))


_LABELS: dict[Any, str] = {
    plans.ask_user: EffectType.ASK_USER.value,
    plans.call: EffectType.CALL.value,
    plans.start_subworkflow: EffectType.START_SUBWORKFLOW.value,
    plans.wait_event: EffectType.WAIT_EVENT.value,
    plans.wait_until: EffectType.WAIT_UNTIL.value,
}
# For a name imported inside the node, where its object cannot be looked up.
_BY_NAME: dict[str, Any] = {
    each.__name__: each
    for each in (
        *_LABELS,
        plans.goto,
        plans.complete,
        plans.effect,
        branches.parallel,
        branches.for_each,
        StepPlan,
        Effect,
    )
}


class _Reader:
    """Collects the edges that the plans returned by one node describe."""

    def __init__(self, node_id: str, scope: _Scope, node_name: NodeName) -> None:
        self.edges: list[Edge] = []
        self.known = True
        self.strangers: list[str] = []
        self._node_id = node_id
        self._scope = scope
        self._node_name = node_name
        self._assigned: dict[str, list[ast.expr]] = {}

    def read(self, function: ast.FunctionDef) -> None:
        own = list(_own_nodes(function))
        self._assigned = _assignments(own)
        for node in own:
            if isinstance(node, ast.Return) and node.value is not None:
                self._plan(node.value)

    def go(self, target: Any, label: str) -> None:
        """An edge to a node's name or function; None stays at the node."""
        if target is None:
            target = self._node_id
        elif not isinstance(target, str):
            named = self._node_name(target)
            if named is None:
                if callable(target):
                    called = getattr(target, "__qualname__", None) or repr(target)
                    self.strangers.append(f"the function {called}")
                self.known = False
                return
            target = named
        self.edges.append(Edge(self._node_id, target, label))

    def _values(self, expression: ast.expr, depth: int = 8) -> Iterator[ast.expr]:
        """What an expression may come to: its branches, and what a local name was assigned."""
        match expression:
            case ast.IfExp(body=one, orelse=other):
                yield from self._values(one, depth)
                yield from self._values(other, depth)
            case ast.BoolOp(values=values):
                for value in values:
                    yield from self._values(value, depth)
            case ast.NamedExpr(value=value):
                yield from self._values(value, depth)
            case ast.Name(id=name) if name in self._assigned and depth > 0:
                for value in self._assigned[name]:
                    yield from self._values(value, depth - 1)
            case _:
                yield expression

    def _plan(self, expression: ast.expr) -> None:
        for value in self._values(expression):
            if isinstance(value, ast.Call):
                self._call(_Call(value, self._scope))
            elif not (isinstance(value, ast.Constant) and value.value is None):
                self.known = False

    def _call(self, call: _Call) -> None:
        if call.base is not None:
            self._exhausted(call)
            self._plan(call.base)
        elif call.callee in (branches.parallel, branches.for_each):
            self._then(call, "parallel", stays=True)
        elif call.callee is StepPlan:
            self._step_plan(call)
        elif call.callee is plans.goto:
            self._targets(call.argument(0), "")
        elif call.callee is plans.effect:
            label = self._label(call.argument(0, "type"))
            resumes = self._resume(call.argument(1, "payload"), label)
            self._then(call, label, stays=label in MAY_STAY and not resumes)
        elif call.callee in _LABELS:
            label = _LABELS[call.callee]
            wait = call.argument(None, "wait")
            detached = isinstance(wait, ast.Constant) and not wait.value
            self._then(call, label, stays=label in MAY_STAY and not detached)
            late = call.argument(None, "late")
            if late is not None and not _is_none(late):
                self._targets(late, "timeout")
        elif call.callee is not plans.complete:
            self.known = False

    def _exhausted(self, call: _Call) -> None:
        """An edge to the node that `with_(retry=Retry(on_exhausted=…))` names."""
        retry = call.argument(None, "retry")
        for value in () if retry is None else self._values(retry):
            made = _Call(value, self._scope) if isinstance(value, ast.Call) else None
            node = None if made is None else made.argument(5, "on_exhausted")
            for target in () if node is None else self._values(node):
                said = self._scope.value(target)
                if isinstance(said, str) and said not in ENDS:
                    self.go(said, "exhausted")

    def _then(self, call: _Call, label: str, *, stays: bool) -> None:
        then = call.argument(None, "then")
        if then is not None:
            self._targets(then, label)
        elif call.spreads:
            self.known = False
        elif stays:
            self.go(None, label)

    def _step_plan(self, call: _Call) -> None:
        effect, next_node = call.argument(1, "effect"), call.argument(2, "next_node")
        output = call.argument(3, "complete_output")
        if call.spreads:
            self.known = False
        label, resumes = "parallel" if call.argument(4, "effects") else "", False
        for value in () if effect is None else self._values(effect):
            if isinstance(value, ast.Constant):
                continue
            made = _Call(value, self._scope) if isinstance(value, ast.Call) else None
            if made is None or made.callee is not Effect:
                self.known = False
                continue
            label = self._label(made.argument(0, "type"))
            resumes = self._resume(made.argument(1, "payload"), label) or resumes
        if next_node is not None and not _is_none(next_node):
            self._targets(next_node, label)
        elif not resumes and label in MAY_STAY and (output is None or _is_none(output)):
            self.go(None, label)

    def _label(self, type_: ast.expr | None) -> str:
        value = None if type_ is None else self._scope.value(type_)
        return type_name(value) if isinstance(value, str) else ""

    def _resume(self, payload: ast.expr | None, label: str) -> bool:
        """Edges to resume_to_node in a payload; whether there are, or may be, such."""
        found = False
        for value in () if payload is None else self._values(payload):
            if not isinstance(value, ast.Dict):
                self.known = False
                found = True
                continue
            for key, target in zip(value.keys, value.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "resume_to_node":
                    self._targets(target, label)
                    found = True
                elif isinstance(key, ast.Constant) and key.value == "timeout_node":
                    self._targets(target, "timeout")
                elif key is None:  # {**other}
                    self.known = False
                    found = True
        return found

    def _targets(self, expression: ast.expr | None, label: str) -> None:
        for value in () if expression is None else self._values(expression):
            target = self._scope.value(value)
            if target is _UNKNOWN:
                self.known = False
            else:
                self.go(target, label)


class _Call:
    """One call as written: what is called, and its arguments by place or name."""

    def __init__(self, call: ast.Call, scope: _Scope) -> None:
        self._call = call
        self.base: ast.expr | None = None
        if isinstance(call.func, ast.Attribute) and call.func.attr == plans.Plan.with_.__name__:
            self.base = call.func.value
        self.spreads = any(isinstance(each, ast.Starred) for each in call.args) or any(
            keyword.arg is None for keyword in call.keywords
        )
        self.callee = scope.value(call.func)
        if self.callee is _UNKNOWN:
            name = getattr(call.func, "id", None) or getattr(call.func, "attr", None)
            self.callee = _BY_NAME.get(name or "", _UNKNOWN)
        if not isinstance(self.callee, Hashable):
            self.callee = _UNKNOWN

    def argument(self, place: int | None, name: str | None = None) -> ast.expr | None:
        for keyword in self._call.keywords:
            if name is not None and keyword.arg == name:
                return keyword.value
        if place is None or place >= len(self._call.args):
            return None
        return self._call.args[place]


def _is_none(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Constant) and expression.value is None


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The syntax of a function's body without that of functions and classes defined in it."""
    waiting: list[ast.AST] = list(reversed(function.body))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting.extend(reversed(list(ast.iter_child_nodes(node))))


def _assignments(own: list[ast.AST]) -> dict[str, list[ast.expr]]:
    """What local names are assigned, for names that are only ever assigned plainly."""
    plain: dict[str, list[ast.expr]] = {}
    stores: Counter[str] = Counter()
    for node in own:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    if isinstance(target, ast.Name):
                        plain.setdefault(target.id, []).append(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                plain.setdefault(name, []).append(value)
            case ast.NamedExpr(target=ast.Name(id=name), value=value):
                plain.setdefault(name, []).append(value)
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                stores[name] += 1
    return {name: values for name, values in plain.items() if len(values) == stores[name]}
