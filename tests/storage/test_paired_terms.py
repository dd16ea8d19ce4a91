"""Terms that a ledger tells of, where the run store dropped the checkpoint that held them."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.checkpoint import NO_TERMS, Terms
from abstractruntime.storage.paired_terms import terms_told

AT = "2026-01-01T00:00:00.000000+00:00"


def note(kind: str, revision: int = 1, **said: Any) -> dict[str, Any]:
    return {
        "step_id": "line", "effect": None, "status": "completed", "started_at": AT,
        "revision": revision, "result": {"kind": kind, **said},
    }  # fmt: skip


def step(step_id: str, status: str, revision: int = 1, **effect: Any) -> dict[str, Any]:
    return {
        "step_id": step_id, "effect": {"type": "book", "payload": {}, **effect}, "status": status,
        "started_at": AT, "revision": revision, "result": None,
    }  # fmt: skip


def test_a_ledger_without_terms_tells_none() -> None:
    assert terms_told([step("s", "started"), step("s", "completed")]) is NO_TERMS
    assert terms_told([note("paused", cause="asked"), note("unpaused")]) is NO_TERMS


def test_undos_are_told_from_their_registration_to_their_end() -> None:
    lines = [
        step("s1", "started", 2),
        note("undo_registered", 2, of="s1"),
        step("s1", "completed", 3),
        note("undo_registered", 3, of="s2"),
        note("undo_registered", 4, of="s3"),
        note("undo_dropped", 5, of="s3"),
    ]
    first = {"n": 1, "step": "s1", "at": 2, "done": 3}
    second = {"n": 2, "step": "s2", "at": 3}
    assert terms_told(lines) == Terms(undos=[first, second])
    lines.append(note("ending", 5, end="failed", error="e"))
    lines.append(step("u2", "started", 6, then={"branch": "undo:2"}))
    ending = {"as": "failed", "at": AT, "error": "e"}
    assert terms_told(lines) == Terms(undos=[first, second], ending=ending)
    lines.append(step("u2", "completed", 7))
    assert terms_told(lines) == Terms(undos=[first], ending=ending)
    lines.append(note("ended", 8, end="failed"))
    assert terms_told(lines) is NO_TERMS


def test_a_requested_cancel_and_a_pause_are_told() -> None:
    lines = [note("paused", cause="asked", reason="r")]
    assert terms_told(lines) == Terms(paused={"at": AT, "cause": "asked", "reason": "r"})
    lines.append(note("cancel_requested", requested_by="ann", reason="over", tree=True))
    asked = {"as": "cancelled", "at": AT, "actor": "ann", "reason": "over", "tree": True}
    assert terms_told(lines) == Terms(ending=asked)
    lines.append(note("cancelled", reason="over"))
    assert terms_told(lines) is NO_TERMS


def test_a_child_with_a_close_policy_is_told() -> None:
    effect = {"type": "start_subworkflow", "payload": {"close_policy": "request"}}
    lines = [step("s", "started", **effect)]
    assert terms_told(lines) == Terms(closes=True)
    done = note("", 9)
    done["result"] = {"completed": True}
    assert terms_told([*lines, done]) is NO_TERMS
