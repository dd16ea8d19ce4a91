"""A pair that seals its own commits: whatever is cut off, what it lists verifies."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from abstractruntime import Effect, Runtime, StepPlan, WorkflowSpec, verify_ledger_chain
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.paired import PairedStore
from abstractruntime.testing.commits import evidence_of
from tests.storage.broken_stores import Breaker, Died

STEPS = 4
CALLS = 2 * STEPS + 4
"""More than the watched calls of a whole run."""


def node(run: RunState, context: Any) -> StepPlan:
    turn = run.vars.get("turn", 0)
    if turn == STEPS:
        return StepPlan("node", complete_output={"sum": run.vars["said"]})
    run.vars["turn"] = turn + 1
    payload = {"function": "say", "arguments": {"turn": turn}}
    return StepPlan("node", Effect("call", payload, f"said.{turn}"), "node")


SPEC = WorkflowSpec("flow", "node", {"node": node}, functions={"say": lambda turn: {"é": turn}})


@pytest.mark.parametrize("chain", [1, 2])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", range(1, CALLS))
def test_what_is_listed_verifies_wherever_a_process_died(
    chain: int, call: int, after: bool
) -> None:
    runs, ledger, breaker = InMemoryRunStore(), InMemoryLedgerStore(), Breaker()
    store = PairedStore(runs, ledger, hash_chain=chain)
    run_id = Runtime(store=store).start(workflow=SPEC)
    breaker.watch(runs, "save")
    breaker.watch(ledger, "append_many")
    breaker.break_at(call, after=after)
    with suppress(Died):
        Runtime(store=store).tick(workflow=SPEC, run_id=run_id)
    breaker.mend()
    again = PairedStore(runs, ledger, hash_chain=chain)
    run = Runtime(store=again).tick(workflow=SPEC, run_id=run_id)
    again.keep_evidence(evidence_of(run_id, 1))
    assert run.status is RunStatus.COMPLETED
    assert run.output == {"sum": {str(turn): {"é": turn} for turn in range(STEPS)}}
    verdict = verify_ledger_chain(again.list_records(run_id))
    assert verdict["ok"], verdict["errors"]
    assert verdict["count"] >= 2 * STEPS + 1
