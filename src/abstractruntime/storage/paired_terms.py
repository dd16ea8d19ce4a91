"""Under which terms a run moves whose store dropped its checkpoint, as far as the ledger tells it.

Deadlines and a child's own close policy stand in no record: they are lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from abstractruntime.core.checkpoint import NO_TERMS, Terms
from abstractruntime.core.machine.ending import over
from abstractruntime.core.machine.undo import UNDO
from abstractruntime.storage.paired_journal import THEN, Record, kind_of, revision_of


def terms_told(records: Sequence[Record]) -> Terms:
    """The terms after these records."""
    terms = NO_TERMS
    undoing: dict[str, str] = {}
    for record in records:
        if record.get("effect"):
            terms = _after_step(terms, record, undoing)
        else:
            terms = _after_note(terms, kind_of(record), record)
    return NO_TERMS if terms == NO_TERMS else terms


def _after_step(terms: Terms, record: Record, undoing: dict[str, str]) -> Terms:
    effect, step_id = record["effect"], record["step_id"]
    branch = record.get("branch") or (effect.get(THEN) or {}).get("branch") or ""
    if branch.startswith(UNDO):
        undoing[step_id] = branch
    if record["status"] == "started":
        policy = (effect.get("payload") or {}).get("close_policy")
        closes = effect["type"] == "start_subworkflow" and policy in ("cancel", "request")
        return replace(terms, closes=True) if closes else terms
    if not terms.undos or record["status"] != "completed":
        return terms
    number = undoing.get(step_id)
    if number is not None:
        return _keeping(terms, [u for u in terms.undos if f"{UNDO}{u['n']}" != number])
    at = revision_of(record) or 1
    return _keeping(terms, [{**u, "done": at} if u["step"] == step_id else u for u in terms.undos])


def _after_note(terms: Terms, kind: str | None, record: Record) -> Terms:
    said: dict[str, Any] = record.get("result") or {}
    at, undos = record["started_at"], terms.undos or []
    match kind:
        case "paused":
            names = {"cause": said.get("cause"), "reason": said.get("reason")}
            return replace(terms, paused=_set(at=at, **names))
        case "unpaused":
            return replace(terms, paused=None)
        case "undo_registered":
            n = undos[-1]["n"] + 1 if undos else 1
            entry = {"n": n, "step": said["of"], "at": revision_of(record) or 1}
            return _keeping(terms, [*undos, entry])
        case "undo_dropped":
            return _keeping(terms, [u for u in undos if u["step"] != said["of"]])
        case "ending":
            known = _set(at=at, error=said.get("error"))
            return replace(terms, ending={"as": said["end"], **known})
        case "cancel_requested":
            asked = _set(at=at, actor=said.get("requested_by"), reason=said.get("reason"))
            asked = {"as": "cancelled", **asked, **(terms.ending or {})}
            more = {"tree": True} if said.get("tree") else {}
            return replace(terms, ending={**asked, **more}, paused=None)
        case "cancelled" | "ended":
            return over(terms)
        case _:
            return over(terms) if said.get("completed") is True else terms


def _keeping(terms: Terms, undos: list[dict[str, Any]]) -> Terms:
    return replace(terms, undos=undos or None)


def _set(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
