"""Effects that take back what others did: registered with an intent, dropped when there is nothing
to take back, performed in reverse when the run does not complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from abstractruntime.core.checkpoint import OpenStep
from abstractruntime.core.machine.draft import Draft

UNDO = "undo:"
"""What the branch of an undo begins with; its number in the run follows."""

RESULT = "$result"
"""The one key of an object in an undo's payload that stands for a part of the recorded result."""


def is_undo(step: OpenStep) -> bool:
    """Whether the step takes back what another one did."""
    return step.branch.startswith(UNDO)


def branch_of(entry: Mapping[str, Any]) -> str:
    """The branch that this undo is performed as."""
    return f"{UNDO}{entry['n']}"


def register(
    draft: Draft, step: OpenStep, effect: Mapping[str, Any], *, now: str, line_id: str
) -> None:
    """The step's intent is in the draft: its undo is known from the same commit on."""
    undos = draft.terms.undos or []
    n = undos[-1]["n"] + 1 if undos else 1
    entry = {"n": n, "step": step.step_id, "at": draft.revision + 1}
    draft.terms = replace(draft.terms, undos=[*undos, entry])
    draft.note(
        "undo_registered", line_id=line_id, now=now, visit=step.visit, of=step.step_id, undo=effect
    )


def performed(draft: Draft, step: OpenStep) -> None:
    """A step has completed: an undo is done with; of others is noted where their result stands."""
    if is_undo(step):
        drop(draft, step)
        return
    draft.terms = replace(
        draft.terms,
        undos=[
            {**each, "done": draft.revision + 1} if each["step"] == step.step_id else each
            for each in draft.terms.undos or ()
        ],
    )


def not_performed(draft: Draft, step: OpenStep, *, now: str, line_id: str) -> None:
    """The step failed for good and is known to have done nothing: its undo is dropped."""
    if any(each["step"] == step.step_id for each in draft.terms.undos or ()):
        draft.note("undo_dropped", line_id=line_id, now=now, visit=step.visit, of=step.step_id)
        forget(draft, step.step_id)


def drop(draft: Draft, step: OpenStep) -> None:
    """The undo that this step is needs no more to be done."""
    _keep(draft, [each for each in draft.terms.undos or () if branch_of(each) != step.branch])


def forget(draft: Draft, step_id: str) -> None:
    """The undo of that step needs not be done."""
    _keep(draft, [each for each in draft.terms.undos or () if each["step"] != step_id])


def _keep(draft: Draft, undos: list[dict[str, Any]]) -> None:
    draft.terms = replace(draft.terms, undos=undos or None)


def names_result(payload: Any) -> bool:
    """Whether some part of the payload stands for a part of the result."""
    if isinstance(payload, dict):
        return _is_name(payload) or any(map(names_result, payload.values()))
    return isinstance(payload, list) and any(map(names_result, payload))


def filled(payload: Any, result: Any) -> Any:
    """The payload with each {"$result": "dotted.path"} replaced by what stands there in `result`,
    null where nothing does; the empty path is the result itself."""
    if isinstance(payload, dict):
        if _is_name(payload):
            return _at(result, payload[RESULT])
        return {name: filled(value, result) for name, value in payload.items()}
    return [filled(value, result) for value in payload] if isinstance(payload, list) else payload


def _is_name(payload: dict[str, Any]) -> bool:
    return len(payload) == 1 and isinstance(payload.get(RESULT), str)


def _at(result: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        if isinstance(result, dict):
            result = result.get(name)
        elif isinstance(result, list) and name.isascii() and name.isdigit():
            result = result[int(name)] if int(name) < len(result) else None
        else:
            return None
    return result
