"""The small, often changing part of a run as one JSON object, and what changed between two.

A head holds all of a run but its vars and its fixed fields; stores keep histories as changed heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.models import RunState, RunStatus, wait_from_dict, wait_to_dict

FIXED = (
    "run_id",
    "workflow_id",
    "created_at",
    "actor_id",
    "session_id",
    "parent_run_id",
)
"""The fields of a run that are no part of its head."""


def head_of(run: RunState) -> dict[str, Any]:
    """The head of a run; open steps stand without their payloads (the ledger holds those)."""
    assert run.checkpoint is not None
    return {
        "status": run.status._value_,
        "current_node": run.current_node,
        "updated_at": run.updated_at,
        "waiting": None if run.waiting is None else wait_to_dict(run.waiting),
        "output": run.output,
        "error": run.error,
        "checkpoint": run.checkpoint.to_dict(payloads=False),
    }


BRANCHED = ("open_steps", "waits")
"""The kernel fields that are maps by branch: of many branches few change in one commit."""


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What changed between two heads: {"set": {…}, "checkpoint": {…}, "visits": {…}, "gone": […],
    "branches": {map: {"set": {branch: …}, "gone": [branch]}}}.

    `checkpoint` holds its changed keys except visits, `gone` the checkpoint keys that vanished;
    `visits` holds changed counters, or stands whole under "checkpoint" when one went away.
    `branches` holds what changed of a map that had several branches; others stand whole.
    """
    public, kernel, branches = {}, {}, {}
    old, new = before["checkpoint"], after["checkpoint"]
    for name, value in after.items():
        if name != "checkpoint" and before.get(name) != value:
            public[name] = value
    for name, value in new.items():
        if name == "visits":
            continue
        stood = old.get(name)
        if stood is None or name not in BRANCHED or len(stood) < 2:
            if stood != value:
                kernel[name] = value
        elif (differences := _differences(stood, value)) is not None:
            branches[name] = differences
    result: dict[str, Any] = {}
    old_visits, new_visits = old.get("visits", {}), new.get("visits", {})
    if old_visits is not new_visits and old_visits != new_visits:
        if old_visits.keys() <= new_visits.keys():
            result["visits"] = {
                node: count for node, count in new_visits.items() if old_visits.get(node) != count
            }
        elif "visits" in new:
            kernel["visits"] = new_visits
    if public:
        result["set"] = public
    if kernel:
        result["checkpoint"] = kernel
    if branches:
        result["branches"] = branches
    gone = [name for name in old if name not in new]
    if gone:
        result["gone"] = gone
    return result


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any] | None:
    """{"set": …, "gone": …}, only what is not empty; None when nothing changed."""
    came = {branch: value for branch, value in new.items() if old.get(branch) != value}
    gone = [branch for branch in old if branch not in new]
    said: dict[str, Any] = {}
    if came:
        said["set"] = came
    if gone:
        said["gone"] = gone
    return said or None


def apply_changed(head: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The head after `change`, as a new object: the inverse of `changed`."""
    kernel = dict(head["checkpoint"])
    for name in change.get("gone", ()):
        kernel.pop(name, None)
    kernel.update(change.get("checkpoint", {}))
    if "visits" in change:
        kernel["visits"] = {**kernel.get("visits", {}), **change["visits"]}
    for name, said in change.get("branches", {}).items():
        stood = dict(kernel[name])
        for branch in said.get("gone", ()):
            del stood[branch]
        stood.update(said.get("set", {}))
        kernel[name] = stood
    return {**head, **change.get("set", {}), "checkpoint": kernel}


def run_from_head(
    fixed: Mapping[str, Any],
    head: Mapping[str, Any],
    vars: dict[str, Any],
    payloads: Mapping[str, Any] | None = None,
    *,
    evidence: int = 0,
) -> RunState:
    """A run from its fixed fields, head and vars; `payloads` are those of open steps, by branch."""
    kernel = {**head["checkpoint"], "evidence": evidence}
    if payloads:
        kernel["open_steps"] = {
            branch: {**step, "effect": {**step["effect"], "payload": payloads[branch]}}
            for branch, step in kernel.get("open_steps", {}).items()
        }
    waiting = head.get("waiting")
    return RunState(
        run_id=fixed["run_id"],
        workflow_id=fixed["workflow_id"],
        status=RunStatus(head["status"]),
        current_node=head["current_node"],
        vars=vars,
        waiting=None if waiting is None else wait_from_dict(waiting),
        output=head.get("output"),
        error=head.get("error"),
        created_at=fixed["created_at"],
        updated_at=head["updated_at"],
        actor_id=fixed.get("actor_id"),
        session_id=fixed.get("session_id"),
        parent_run_id=fixed.get("parent_run_id"),
        checkpoint=Checkpoint.from_dict(kernel),
    )
