"""start: a run comes to be at its entry node; nothing is executed."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.identifiers import checked
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.engine.children import new_run
from abstractruntime.engine.requests import Flow
from abstractruntime.engine.settings import Settings
from abstractruntime.errors import InvalidWorkflow


def start(
    settings: Settings,
    spec: WorkflowSpec,
    *,
    vars: dict[str, Any] | None,
    actor_id: str | None,
    session_id: str | None,
    parent_run_id: str | None,
) -> Flow[str]:
    """The id of the new run, which is durable.

    Raises InvalidWorkflow, InvalidIdentifier, NotJson, LimitExceeded.
    """
    checked(spec.workflow_id, "workflow_id")
    for node_id in spec.nodes:
        checked(node_id, "node_id")
    for name, value in (("actor_id", actor_id), ("session_id", session_id)):
        if value is not None:
            checked(value, name)
    if spec.entry_node not in spec.nodes:
        raise InvalidWorkflow(
            f"Workflow '{spec.workflow_id}' has no entry node '{spec.entry_node}'",
            fix=f"use one of its nodes: {', '.join(map(str, spec.nodes)) or 'it has none'}",
        )
    commit = new_run(
        settings,
        spec,
        run_id=settings.new_id(),
        vars=vars,
        actor_id=actor_id,
        session_id=session_id,
        parent_run_id=parent_run_id,
    )
    yield commit
    settings.hooks.committed(commit)
    return commit.run_id
