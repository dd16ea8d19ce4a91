"""Undos in a draft: registered, marked, dropped; and what stands for a result in their payloads."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.core.checkpoint import NO_TERMS, Terms
from abstractruntime.core.machine import ending, undo
from tests.unit.machine.builder import NOW, STEP, draft_of

EFFECT = {"type": "unbook", "payload": {}, "result_key": None}


def registered(n: int = 1) -> Any:
    draft = draft_of()
    for i in range(n):
        undo.register(draft, STEP, EFFECT, now=NOW, line_id=f"line-{i}")
    return draft


def test_a_registered_undo_names_its_step_and_stands_in_the_ledger() -> None:
    draft = registered(2)
    at = draft.revision + 1
    assert draft.terms.undos == [
        {"n": 1, "step": STEP.step_id, "at": at},
        {"n": 2, "step": STEP.step_id, "at": at},
    ]
    record = draft.lines[-1].record
    assert record["result"] == {"kind": "undo_registered", "of": STEP.step_id, "undo": EFFECT}


def test_a_step_that_completes_is_marked_and_one_that_did_nothing_is_forgotten() -> None:
    draft = registered()
    undo.performed(draft, STEP)
    assert draft.terms.undos[0]["done"] == draft.revision + 1
    undo.not_performed(draft, STEP, now=NOW, line_id="line")
    assert draft.terms.undos is None
    assert draft.lines[-1].record["result"] == {"kind": "undo_dropped", "of": STEP.step_id}
    lines = len(draft.lines)
    undo.not_performed(draft, STEP, now=NOW, line_id="line")
    assert len(draft.lines) == lines


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", {"a": [{"b": 7}]}),
        ("a", [{"b": 7}]),
        ("a.0.b", 7),
        ("a.1.b", None),
        ("a.-1", None),
        ("a.0.b.c", None),
        ("x", None),
    ],
)
def test_a_part_of_the_result_is_found_by_its_path(path: str, found: Any) -> None:
    payload = {"deep": [{"id": {"$result": path}}], "plain": 1}
    assert undo.names_result(payload)
    assert undo.filled(payload, {"a": [{"b": 7}]}) == {"deep": [{"id": found}], "plain": 1}


@pytest.mark.parametrize("payload", [{}, {"$result": 1}, {"$result": "a", "b": 1}, [1, "x"]])
def test_what_looks_much_like_it_stands_for_nothing(payload: Any) -> None:
    assert not undo.names_result(payload)
    assert undo.filled(payload, {"a": 1}) == payload


def test_a_run_with_nothing_left_to_do_may_end_at_once() -> None:
    assert not ending.begin(draft_of(), "failed", now=NOW, line_id="line", error="e")
    assert not ending.begin(registered(), "completed", now=NOW, line_id="line")


def test_a_run_with_undos_is_queued_until_it_may_end() -> None:
    draft = registered()
    assert ending.begin(draft, "failed", now=NOW, line_id="line", error="e")
    assert draft.terms.ending == {"as": "failed", "at": NOW, "error": "e"}
    assert (draft.terms.phase, draft.queued_at) == ("failing", NOW)
    assert ending.busy(draft)
    assert ending.left(draft)
    assert ending.over(draft.terms) == NO_TERMS


def test_a_cancel_asked_for_again_changes_nothing_unless_it_is_of_the_tree() -> None:
    draft = draft_of()
    assert ending.ask(draft, reason="r", now=NOW, line_id="line", actor_id="ann")
    assert not ending.ask(draft, reason="s", now=NOW, line_id="line")
    assert ending.ask(draft, reason="s", now=NOW, line_id="line", tree=True)
    assert draft.terms == Terms(
        ending={"as": "cancelled", "at": NOW, "actor": "ann", "reason": "r", "tree": True}
    )
