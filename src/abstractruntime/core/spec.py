"""A workflow as data: named nodes, an entry, and the functions its steps may call.

It does not run anything and does not judge the graph; `authoring` builds and checks graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from abstractruntime.core.models import RunState, StepPlan
from abstractruntime.errors import UnknownNode


class RunContext(Protocol):
    """What a node is given beside its run."""

    def now_iso(self) -> str:
        """Now in UTC as ISO-8601 with microseconds."""
        ...


NodeHandler = Callable[[RunState, RunContext], StepPlan]
"""A node: reads and changes `run.vars`, returns what it wants next."""


@dataclass(frozen=True)
class WorkflowSpec:
    """A workflow graph. `functions` are what its `call` effects may name."""

    workflow_id: str
    entry_node: str
    nodes: Mapping[str, NodeHandler]
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    version: str | None = None

    def get_node(self, node_id: str) -> NodeHandler:
        """The handler of a node; UnknownNode (a KeyError) when there is none."""
        try:
            return self.nodes[node_id]
        except KeyError:
            raise UnknownNode(
                f"Unknown node_id '{node_id}' in workflow '{self.workflow_id}'",
                node=node_id,
                workflow=self.workflow_id,
                fix=f"use one of its nodes: {', '.join(map(str, self.nodes)) or 'it has none'}",
            ) from None

    def is_terminal(self, node_id: str) -> bool:
        """False: whether a run ends at a node is said by its plan, never by the graph."""
        return False


class WorkflowSource(Protocol):
    """Where the engine finds workflows by id; the scheduler's registry is one."""

    def get(self, workflow_id: str) -> WorkflowSpec | None:
        """The workflow of that id, None when unknown."""
        ...


class BuildsWorkflow(Protocol):
    """Something with a workflow in it, such as the builder of `authoring`."""

    @property
    def spec(self) -> WorkflowSpec:
        """The workflow as built."""
        ...


AnyWorkflow = WorkflowSpec | BuildsWorkflow
"""What programs may give where a workflow is asked for."""
