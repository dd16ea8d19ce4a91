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
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
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


class Moved:
    """A run a → b → c → end that dies when a's outcome is in the ledger and not in the run."""

    def __init__(self, kind: str) -> None:
        runs, ledger = {**KINDS, "ours": (InMemoryRunStore, InMemoryLedgerStore)}[kind]
        self.runs, self.ledger = runs(), ledger()
        self.said: list[str] = []
        nodes = {"a": self._node("a", "b"), "b": self._node("b", "c"), "c": self._node("c", "end")}
        nodes["end"] = lambda run, context: StepPlan("end", complete_output=dict(run.vars))
        self.spec = WorkflowSpec("moved", "a", nodes, functions={"say": self._say})
        self.run_id = Runtime(store=self.opened()).start(workflow=self.spec)
        breaker = Breaker()
        breaker.watch(self.runs, "save")
        breaker.break_at(2)
        with suppress(Died):
            Runtime(store=self.opened()).tick(workflow=self.spec, run_id=self.run_id)
        breaker.mend()
        assert self.said == ["a"]

    def opened(self) -> PairedStore:
        return PairedStore(self.runs, self.ledger)

    def _say(self, node: str) -> str:
        self.said.append(node)
        return node

    @staticmethod
    def _node(name: str, after: str) -> Callable[[RunState, Any], StepPlan]:
        arguments = {"function": "say", "arguments": {"node": name}}
        return lambda run, context: StepPlan(name, Effect("call", arguments, name), after)

    def put(self, **changes: Any) -> None:
        run = self.runs.load(self.run_id)
        assert run is not None
        self.runs.save(replace(run, **changes))

    def ends(self) -> RunState:
        return Runtime(store=self.opened()).tick(workflow=self.spec, run_id=self.run_id)


@pytest.mark.parametrize("kind", ["ours", "keeps all", "drops revisions"])
@pytest.mark.parametrize(
    ("node", "said"),
    [("a", ["a", "b", "c"]), ("b", ["a", "b", "c"]), ("c", ["a", "c"]), ("end", ["a"])],
)
def test_a_host_that_moves_a_run_whose_outcome_is_to_be_redone_is_followed(
    kind: str, node: str, said: list[str]
) -> None:
    scene = Moved(kind)
    scene.put(current_node=node)
    run = scene.ends()
    assert run.status is RunStatus.COMPLETED
    assert [name for name in ("a", "b", "c") if name in run.vars] == said
    assert scene.said == said  # what was performed is performed once, and nothing is that was left


@pytest.mark.parametrize("kind", ["ours", "keeps all", "drops revisions"])
def test_a_run_that_its_host_ended_before_an_outcome_was_redone_stays_ended(kind: str) -> None:
    scene = Moved(kind)
    scene.put(status=RunStatus.CANCELLED, error="by hand")
    run = scene.ends()
    assert (run.status, run.error, run.vars["a"]) == (RunStatus.CANCELLED, "by hand", "a")
