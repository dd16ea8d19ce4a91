"""A host edits the vars of a run in its own store, and a process dies: both changes are there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from abstractruntime import Effect, Runtime, StepPlan, WorkflowSpec
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.storage.base import LedgerStore, RunStore
from abstractruntime.storage.paired import PairedStore
from tests.contract.plain_stores import AsdictLedger, AsdictRuns, DictLedger, DictRuns, ObjectRuns
from tests.storage.broken_stores import Breaker, Died

KINDS: dict[str, tuple[Callable[[], RunStore], Callable[[], LedgerStore]]] = {
    "keeps all": (AsdictRuns, AsdictLedger),
    "drops revisions": (ObjectRuns, DictLedger),
    "drops checkpoints": (DictRuns, AsdictLedger),
    "drops both": (DictRuns, DictLedger),
}
SAVES = 7
"""Before this one at the latest the run has ended."""


def ping(run: RunState, context: Any) -> StepPlan:
    return StepPlan("ping", Effect("call", {"function": "say", "arguments": {}}, "a"), "pong")


def pong(run: RunState, context: Any) -> StepPlan:
    turn = run.vars["turn"] = run.vars.get("turn", 0) + 1
    if turn == 3:
        return StepPlan("pong", complete_output=dict(run.vars))
    return StepPlan("pong", Effect("call", {"function": "say", "arguments": {}}, "b"), "ping")


class Scene:
    """A run of five effects; `edits` is called as each is performed."""

    def __init__(self, kind: str) -> None:
        runs, ledger = KINDS[kind]
        self.runs, self.ledger, self.breaker = runs(), ledger(), Breaker()
        self.performed = 0
        self.edits: Callable[[], None] = lambda: None
        nodes = {"ping": ping, "pong": pong}
        self.spec = WorkflowSpec("flow", "ping", nodes, functions={"say": self._say})
        self.run_id = Runtime(store=self.opened()).start(workflow=self.spec)
        self.breaker.watch(self.runs, "save")

    def _say(self) -> dict[str, int]:
        self.performed += 1
        self.edits()
        return {"é": self.performed}

    def opened(self) -> PairedStore:
        return PairedStore(self.runs, self.ledger)

    def edit(self) -> None:
        """The host changes the vars in its own store, past the breaker and the pair."""
        run = self.runs.load(self.run_id)
        assert run is not None
        vars = {**run.vars, "host": run.vars.get("host", 0) + 1}
        type(self.runs).save(self.runs, replace(run, vars=vars))

    def ends(self) -> RunState:
        run = Runtime(store=self.opened()).tick(workflow=self.spec, run_id=self.run_id)
        assert run.status is RunStatus.COMPLETED
        return run

    def dies(self, save: int) -> None:
        self.breaker.break_at(save)
        with suppress(Died):
            Runtime(store=self.opened()).tick(workflow=self.spec, run_id=self.run_id)
        self.breaker.mend()

    def outcomes(self) -> list[dict[str, Any]]:
        records = self.opened().list_records(self.run_id)
        return [each for each in records if each["effect"] and each["status"] == "completed"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("save", range(1, SAVES))
def test_an_outcome_that_met_an_edit_is_redone(kind: str, save: int) -> None:
    scene = Scene(kind)
    scene.edits = scene.edit
    scene.dies(save)
    run = scene.ends()
    assert scene.performed == 5
    assert run.output is not None
    assert run.output["host"] == 5
    assert [each["result"] for each in scene.outcomes()] == [{"é": n} for n in range(1, 6)]


@pytest.mark.parametrize("kind", ["keeps all", "drops checkpoints"])
@pytest.mark.parametrize("save", range(1, SAVES))
def test_an_edit_of_vars_before_an_outcome_is_redone_is_no_jump(kind: str, save: int) -> None:
    scene = Scene(kind)
    scene.dies(save)
    scene.edit()
    run = scene.ends()
    assert run.output is not None
    assert run.output["host"] == 1
    assert [each["visit"] for each in scene.outcomes()] == [1, 1, 2, 2, 3]
    said = [record["result"] for record in scene.ledger.list(scene.run_id)]
    edits = [each for each in said if each is not None and each.get("kind") == "edited"]
    assert [each.get("changed") for each in edits] == [None] * len(edits)
