"""start_subworkflow {workflow_id, vars?, async?, resume_to_node?, close_policy?}: decides; the flow
drives it."""

from __future__ import annotations

from collections.abc import Callable

from abstractruntime.core.budget import Budget
from abstractruntime.core.spec import WorkflowSource
from abstractruntime.engine.effects import Decision, StartChild, StepFacts
from abstractruntime.engine.operations.cancel import ABANDON, POLICIES
from abstractruntime.engine.outcome import EffectOutcome
from abstractruntime.errors import InvalidInput

NO_REGISTRY = (
    "start_subworkflow requires a workflow_registry. Set it via "
    "Runtime(workflow_registry=...) or runtime.set_workflow_registry(...)"
)


class StartSubworkflow:
    """Start a child of payload.workflow_id, which the workflow source must know."""

    def __init__(self, source: Callable[[], WorkflowSource | None]) -> None:
        self._source = source

    def __call__(self, facts: StepFacts) -> Decision:
        payload = facts.payload
        workflow_id = payload.get("workflow_id")
        if not workflow_id or not isinstance(workflow_id, str):
            return EffectOutcome.failed("start_subworkflow requires payload.workflow_id")
        source = self._source()
        if source is None:
            return EffectOutcome.failed(NO_REGISTRY)
        if source.get(workflow_id) is None:
            return EffectOutcome.failed(f"Workflow '{workflow_id}' not found in registry")
        vars = payload.get("vars")
        if vars is not None and not isinstance(vars, dict):
            return EffectOutcome.failed("start_subworkflow payload.vars must be an object")
        policy = payload.get("close_policy", ABANDON)
        if policy not in POLICIES:
            known = ", ".join(POLICIES)
            return EffectOutcome.failed(f"start_subworkflow payload.close_policy is one of {known}")
        said = payload.get("budget")
        try:
            budget = None if said is None else Budget.from_dict(said)
        except InvalidInput as error:
            return EffectOutcome.failed(f"start_subworkflow payload.budget: {error.message}")
        return StartChild(
            workflow_id,
            dict(vars or {}),
            wait=not payload.get("async", False),
            closing=None if policy == ABANDON else policy,
            budget=budget,
        )
