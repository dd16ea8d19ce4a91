"""How people write workflows: decorated functions that return small plans."""

from abstractruntime.authoring.branches import for_each, parallel
from abstractruntime.authoring.edges import Edge, edges_of
from abstractruntime.authoring.plans import (
    Plan,
    Undo,
    ask_user,
    call,
    complete,
    effect,
    goto,
    result_of,
    start_subworkflow,
    undo_by,
    wait_event,
    wait_until,
)
from abstractruntime.authoring.workflow import Workflow

__all__ = [
    "Edge",
    "Plan",
    "Undo",
    "Workflow",
    "ask_user",
    "call",
    "complete",
    "edges_of",
    "effect",
    "for_each",
    "goto",
    "parallel",
    "result_of",
    "start_subworkflow",
    "undo_by",
    "wait_event",
    "wait_until",
]
