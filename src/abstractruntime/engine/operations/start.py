"""start: a run comes to be at its entry node; nothing is executed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from abstractruntime.core.budget import Budget
from abstractruntime.core.commit import Loaded
from abstractruntime.core.identifiers import checked
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.core.times import normal
from abstractruntime.engine.children import new_run
from abstractruntime.engine.requests import Flow, Read
from abstractruntime.engine.settings import Settings
from abstractruntime.errors import (
    DuplicateRun,
    InvalidInput,
    InvalidWorkflow,
    RevisionConflict,
    UnsupportedByStore,
)
from abstractruntime.storage.base import Capability

ON_DUPLICATE = ("reject", "return")


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a new run begins with. Without `run_id` it gets an id of its own; `on_duplicate` says
    what to do with one that is taken: "reject", or "return" the run that has it. A run that has not
    ended by its `deadline`, a time with an offset, fails."""

    vars: dict[str, Any] | None = None
    actor_id: str | None = None
    session_id: str | None = None
    parent_run_id: str | None = None
    run_id: str | None = None
    on_duplicate: str = "reject"
    deadline: str | None = None
    budget: Budget | None = None


def start(settings: Settings, spec: WorkflowSpec, given: Beginning) -> Flow[str]:
    """The id of the new run, which is durable; of the one that is there where that was asked for.

    Raises InvalidWorkflow, InvalidIdentifier, NotJson, LimitExceeded, InvalidTime, DuplicateRun.
    """
    checked(spec.workflow_id, "workflow_id")
    for node_id in spec.nodes:
        checked(node_id, "node_id")
    for name in ("actor_id", "session_id", "run_id"):
        if (value := getattr(given, name)) is not None:
            checked(value, name)
    if given.on_duplicate not in ON_DUPLICATE:
        raise InvalidInput(f"on_duplicate must be 'reject' or 'return', not {given.on_duplicate!r}")
    if spec.entry_node not in spec.nodes:
        raise InvalidWorkflow(
            f"Workflow '{spec.workflow_id}' has no entry node '{spec.entry_node}'",
            fix=f"use one of its nodes: {', '.join(map(str, spec.nodes)) or 'it has none'}",
        )
    above = None
    if given.parent_run_id is not None and settings.counters:
        parent: Loaded | None = yield Read(lambda store: store.load(given.parent_run_id or ""))
        if parent is not None and parent.run.checkpoint is not None:
            above = parent.run.checkpoint.terms.account
    if given.budget is not None and not settings.counters:
        raise UnsupportedByStore(
            "A budget needs a store with counters: this one has none",
            fix="use memory:// or sqlite:///… where runs have budgets",
            capability=Capability.COUNTERS.value,
        )
    commit = new_run(
        settings,
        spec,
        run_id=given.run_id or settings.new_id(),
        vars=given.vars,
        actor_id=given.actor_id,
        session_id=given.session_id,
        parent_run_id=given.parent_run_id,
        deadline=None if given.deadline is None else normal(given.deadline, what="deadline"),
        budget=given.budget,
        above=above,
    )
    try:
        yield commit
    except RevisionConflict:
        yield from _taken(spec, commit.run_id, given)
        return commit.run_id
    settings.hooks.committed(commit)
    return commit.run_id


def _taken(spec: WorkflowSpec, run_id: str, given: Beginning) -> Flow[None]:
    """The id is taken: by the run that was meant, or DuplicateRun."""
    loaded: Loaded | None = yield Read(lambda store: store.load(run_id))
    found = None if loaded is None else loaded.run.workflow_id
    if given.on_duplicate == "reject" or found != spec.workflow_id:
        raise DuplicateRun(
            f"There is a run '{run_id}' already, of workflow '{found}'",
            run_id=run_id,
            workflow_id=found,
        )
