"""The `Workflow` builder: decorated functions become nodes of a checked WorkflowSpec.

It runs nothing. What the graph looks like is read by `authoring.edges`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from abstractruntime.authoring.edges import Edge, NodeEdges, edges_of, read_edges
from abstractruntime.authoring.plans import Plan
from abstractruntime.core.models import RunState, StepPlan
from abstractruntime.core.options import durable
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.errors import InvalidPlan, InvalidWorkflow

F = TypeVar("F", bound=Callable[..., Any])
Next = str | Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Node:
    """A node function as a NodeHandler. `declared` are the nodes it says it goes to, if it does."""

    name: str
    function: Callable[..., Any]
    takes_context: bool
    workflow: Workflow
    declared: tuple[Next, ...] | None

    def __call__(self, run: RunState, ctx: RunContext) -> StepPlan:
        plan = self.function(run, ctx) if self.takes_context else self.function(run)
        if isinstance(plan, Plan):
            plan.write(run.vars)
            return plan.to_step_plan(self.name, self.workflow)
        if isinstance(plan, StepPlan):
            return plan
        raise InvalidPlan(
            f"Node '{self.name}' returned {type(plan).__name__}, not a plan",
            node=self.name,
            fix="return ask_user(…), call(…), goto(…), complete(…) or a StepPlan",
        )


class Workflow:
    """Builds a workflow from functions; usable wherever a WorkflowSpec is.

    A node function takes `(run)` or `(run, ctx)` and returns a plan. The first node is the entry
    unless another is declared with entry=True. `@wf.function` makes a function one that `call`
    finds by name.
    """

    def __init__(self, workflow_id: str, *, version: str | None = None) -> None:
        if not isinstance(workflow_id, str) or not workflow_id:
            raise InvalidWorkflow("A workflow needs a name: Workflow('greet')")
        self.workflow_id = workflow_id
        self.version = version
        self._nodes: dict[str, Node] = {}
        self._node_names: dict[Callable[..., Any], str] = {}
        self._functions: dict[str, Callable[..., Any]] = {}
        self._function_names: dict[Callable[..., Any], str] = {}
        self._entry: str | None = None
        self._spec: WorkflowSpec | None = None

    # -- what it is made of

    @overload
    def node(self, function: F, /) -> F: ...

    @overload
    def node(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        entry: bool = False,
        next: Iterable[Next] | None = None,
    ) -> Callable[[F], F]: ...

    def node(
        self,
        function: F | None = None,
        /,
        *,
        name: str | None = None,
        entry: bool = False,
        next: Iterable[Next] | None = None,
    ) -> F | Callable[[F], F]:
        """Make the decorated function a node; the function itself stays as it is.

        `name` is its own unless given. `next` lists all nodes it may go to, where reading its
        source does not tell. InvalidWorkflow: a name that is taken, a second entry, a signature
        that is neither (run) nor (run, ctx).
        """

        def register(function: F) -> F:
            node_name = self._name(function, name, self._nodes, "node")
            if entry and self._entry is not None:
                raise self._refusal(f"both '{self._entry}' and '{node_name}' are the entry")
            node = Node(
                name=node_name,
                function=function,
                takes_context=self._takes_context(function, node_name),
                workflow=self,
                declared=None if next is None else tuple(next),
            )
            if entry:
                self._entry = node_name
            self._nodes[node_name] = node
            self._node_names[function] = node_name
            self._spec = None
            return function

        return register if function is None else register(function)

    @overload
    def function(self, function: F, /) -> F: ...

    @overload
    def function(
        self, function: None = None, /, *, name: str | None = None, **options: Any
    ) -> Callable[[F], F]: ...

    def function(
        self, function: F | None = None, /, *, name: str | None = None, **options: Any
    ) -> F | Callable[[F], F]:
        """Make the decorated function, sync or async, one that `call` effects may name.

        `options` say how it is performed wherever it is called, as in `core.options.durable`:
        delivery, retry, timeout_s, total_timeout_s, heartbeat_s, approval, reconcile.
        """

        def register(function: F) -> F:
            if options:
                durable(**options)(function)
            own_name = self._name(function, name, self._functions, "function")
            self._functions[own_name] = function
            self._function_names[function] = own_name
            self._spec = None
            return function

        return register if function is None else register(function)

    def node_name(self, function: Callable[..., Any]) -> str | None:
        """The node that a function is, also behind decorators put on it later; None: none."""
        return _found(self._node_names, function)

    def function_name(self, function: Callable[..., Any]) -> str | None:
        """The name that `call` finds a function by; None when it is not of this workflow."""
        return _found(self._function_names, function)

    # -- what it becomes

    @property
    def spec(self) -> WorkflowSpec:
        """The workflow as built; the same object until something is added."""
        if self._spec is None:
            self._spec = self.build()
        return self._spec

    def build(self) -> WorkflowSpec:
        """The checked WorkflowSpec.

        InvalidWorkflow names what is wrong: no node, a node that is not there, one that cannot be
        reached. Reachability is judged only where all edges of reached nodes are known.
        """
        if not self._nodes:
            raise self._refusal("it has no node")
        spec = WorkflowSpec(
            workflow_id=self.workflow_id,
            entry_node=self._entry or next(iter(self._nodes)),
            nodes=dict(self._nodes),
            functions=dict(self._functions),
            version=self.version,
        )
        found = read_edges(spec)
        faults = [*_strange(found, spec), *_unreachable(found, spec)]
        if faults:
            raise self._refusal("; ".join(faults))
        return spec

    def edges(self) -> list[Edge]:
        """The edges that are declared or can be read from the source, for drawing."""
        return edges_of(self.spec)

    # -- refusals

    def _refusal(self, reason: str) -> InvalidWorkflow:
        return InvalidWorkflow(
            f"Workflow '{self.workflow_id}': {reason}", workflow=self.workflow_id
        )

    def _name(self, function: object, name: str | None, taken: dict[str, Any], what: str) -> str:
        if not callable(function):
            raise self._refusal(f"{function!r} is no function")
        name = name or getattr(function, "__name__", None)
        if not name or name == "<lambda>":
            raise self._refusal(f"{function!r} needs a name: @wf.{what}(name=…)")
        if name in taken:
            raise self._refusal(f"the {what} '{name}' is there twice")
        return name

    def _takes_context(self, function: Callable[..., Any], name: str) -> bool:
        if inspect.iscoroutinefunction(function):
            raise self._refusal(
                f"node '{name}' is async; a node only plans, what takes time is an effect"
            )
        parameters = list(inspect.signature(function).parameters.values())
        kinds = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
        positional = [each for each in parameters if each.kind in kinds]
        needed = [
            each
            for each in parameters
            if each.default is each.empty
            and each.kind not in {each.VAR_POSITIONAL, each.VAR_KEYWORD}
        ]
        several = any(each.kind is each.VAR_POSITIONAL for each in parameters)
        if len(needed) > 2 or not (positional or several) or not set(needed) <= set(positional):
            raise self._refusal(f"node '{name}' must take (run) or (run, ctx)")
        if len(positional) < 2:
            return several
        # A second parameter with a default is the author's own, unless it is named as the context.
        return positional[1] in needed or positional[1].name in {"ctx", "context"}


def _found(names: dict[Callable[..., Any], str], function: Callable[..., Any]) -> str | None:
    seen: Any = function
    while seen is not None:
        if seen in names:
            return names[seen]
        seen = getattr(seen, "__wrapped__", None)
    return None


def _strange(found: dict[str, NodeEdges], spec: WorkflowSpec) -> list[str]:
    """What is wrong with the targets of nodes."""
    faults = []
    for node_id, node in found.items():
        for stranger in node.strangers:
            faults.append(f"node '{node_id}' goes to {stranger}, which is no node")
        for target in dict.fromkeys(edge.target for edge in node.edges):
            if target not in spec.nodes:
                faults.append(f"node '{node_id}' goes to '{target}', which is no node")
    return faults


def _unreachable(found: dict[str, NodeEdges], spec: WorkflowSpec) -> list[str]:
    reached = {spec.entry_node}
    waiting = [spec.entry_node]
    while waiting:
        node = found[waiting.pop()]
        if not node.known:
            return []  # it may go anywhere
        new = {edge.target for edge in node.edges if edge.target in found} - reached
        reached |= new
        waiting += new
    return [
        f"node '{node_id}' cannot be reached from '{spec.entry_node}'"
        for node_id in spec.nodes
        if node_id not in reached
    ]
