"""How people write workflows: decorated functions that return small plans."""

from abstractruntime.authoring.branches import for_each, parallel
from abstractruntime.authoring.edges import Edge, edges_of
from abstractruntime.authoring.plans import (
    Plan,
    ask_user,
    call,
    complete,
    effect,
    goto,
    start_subworkflow,
    wait_event,
    wait_until,
)
from abstractruntime.authoring.workflow import Workflow

__all__ = [
    "Edge",
    "Plan",
    "Workflow",
    "ask_user",
    "call",
    "complete",
    "edges_of",
    "effect",
    "for_each",
    "goto",
    "parallel",
    "start_subworkflow",
    "wait_event",
    "wait_until",
]
