"""Workflows by id, for whoever moves runs and has only their stored state.

It fulfils the engine's WorkflowSource. It does not start, move or store anything.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.errors import InvalidWorkflow, UnknownWorkflow

if TYPE_CHECKING:
    from abstractruntime.authoring import Workflow


class WorkflowRegistry:
    """Workflows by id. Changes are seen by whoever holds the registry, from any thread."""

    def __init__(self) -> None:
        self._workflows: dict[str, WorkflowSpec] = {}
        self._lock = threading.Lock()

    def register(self, workflow: WorkflowSpec | Workflow) -> None:
        """Add a workflow; InvalidWorkflow (a ValueError) when its id is taken."""
        spec = workflow if isinstance(workflow, WorkflowSpec) else workflow.spec
        with self._lock:
            if spec.workflow_id in self._workflows:
                raise InvalidWorkflow(
                    f"Workflow '{spec.workflow_id}' is already registered. "
                    "Use unregister() first if you want to replace it.",
                    workflow=spec.workflow_id,
                )
            self._workflows[spec.workflow_id] = spec

    def unregister(self, workflow_id: str) -> None:
        """Take a workflow away; UnknownWorkflow (a KeyError) when it is not there."""
        if self._workflows.pop(workflow_id, None) is None:
            raise UnknownWorkflow(
                f"Workflow '{workflow_id}' is not registered.", workflow=workflow_id
            )

    def get(self, workflow_id: str) -> WorkflowSpec | None:
        """The workflow, or None."""
        return self._workflows.get(workflow_id)

    def get_or_raise(self, workflow_id: str) -> WorkflowSpec:
        """The workflow; UnknownWorkflow (a KeyError) when it is not there."""
        spec = self._workflows.get(workflow_id)
        if spec is None:
            raise UnknownWorkflow(
                f"Workflow '{workflow_id}' is not registered. "
                "Register it with registry.register(workflow) before starting the scheduler.",
                workflow=workflow_id,
            )
        return spec

    def list_ids(self) -> list[str]:
        """Ids of all workflows, in the order they were registered."""
        return list(self._workflows)

    def __len__(self) -> int:
        return len(self._workflows)

    def __contains__(self, workflow_id: object) -> bool:
        return workflow_id in self._workflows
