"""One effect of each delivery class, killed anywhere: the workflow, its trials and their judge."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from abstractruntime import Effect, EffectOutcome, RunStatus, StepPlan, WorkflowSpec, durable
from abstractruntime.core.models import RunState
from abstractruntime.core.policy import DefaultEffectPolicy
from abstractruntime.engine.outcome import StepContext
from abstractruntime.engine.runtime import Runtime
from abstractruntime.storage.base import Capability
from abstractruntime.testing.host import Host
from abstractruntime.testing.witness import Witness
from abstractruntime.testing.workflows import Built
from tests.crashes.host import Answers
from tests.crashes.trial import Trial
from tests.crashes.verdict import check_ended

TABLE = "CREATE TABLE IF NOT EXISTS rows_of_test (key TEXT, run TEXT)"
INSERT = "INSERT INTO rows_of_test VALUES (?, ?)"
ROWS = "SELECT key FROM rows_of_test WHERE run = ?"


def classes(witness: Witness, *, sql: bool) -> Built:
    """note (at_least_once) → pay (at_most_once) → book (transactional, on SQL) → note again."""

    def does(step: StepContext) -> dict[str, Any]:
        witness.perform(step)
        return {"key": step.key}

    @durable(delivery="transactional")
    def book(step: StepContext) -> dict[str, Any]:
        assert step.transaction is not None
        step.transaction.execute(TABLE)
        witness.fuse.guard("row", lambda: step.transaction.execute(INSERT, (step.key, step.run_id)))
        return {"key": step.key}

    def node(name: str, function: str, after: str, **options: Any) -> Any:
        effect = Effect("call", {"function": function, "arguments": {}}, name, **options)
        return lambda run, context: StepPlan(name, effect, after)

    def end(run: RunState, context: Any) -> StepPlan:
        names = ("first", "pay", "book", "last")
        return StepPlan("end", complete_output={n: n in run.vars for n in names})

    nodes = {
        "first": node("first", "does", "pay"),
        "pay": node("pay", "does", "book" if sql else "last", delivery="at_most_once"),
        "book": node("book", "book", "last"),
        "last": node("last", "does", "end"),
        "end": end,
    }
    spec = WorkflowSpec("classes", "first", nodes, functions={"does": does, "book": book})
    effects = frozenset(("classes", name, 1) for name in ("first", "pay", "last"))
    return Built(spec, {"classes": spec}, {}, DefaultEffectPolicy(), effects)


@dataclass
class DeliveryTrial(Trial):
    """Somebody who knows resolves what is in doubt; who is told `gives_up` says "fail" instead of
    "retry"."""

    gives_up: bool = False
    surfaced: Counter[str] = field(default_factory=Counter)

    def _host(self, runtime: Runtime) -> Host:
        ground = self.ground
        host = Answers(runtime, self.clock, awaiting=ground.awaiting, max_steps=ground.max_steps)
        host.says, host.surfaced = self.says, self.surfaced
        return host

    def says(self, intent: dict[str, Any]) -> EffectOutcome | str:
        if any(seen.key == intent["key"] for seen in self.witness.performed):
            return EffectOutcome.completed({"key": intent["key"]})
        return "fail" if self.gives_up else "retry"

    def judge_classes(self) -> None:
        """No at_most_once twice, what was in doubt surfaced, rows exactly once, one key a step."""
        assert self.run_id is not None
        beneath = self.ground.beneath
        loaded = beneath.load(self.run_id)
        assert loaded is not None
        run = loaded.run
        failed = self.gives_up and bool(self.surfaced) and run.status is RunStatus.FAILED
        assert failed or run.status is RunStatus.COMPLETED, (run.status, run.error)
        check_ended(beneath, run)
        assert self.witness.repeated == [], "performed again after its outcome was committed"
        times = Counter(seen.node_id for seen in self.witness.performed)
        keys = {(seen.node_id, seen.key) for seen in self.witness.performed}
        assert len(keys) == len(times), "a step keeps its key"
        assert times["pay"] == (0 if failed else 1), times
        assert max(times["first"], times["last"]) <= 1 + self.crashes
        self._judge_surfaced()
        if Capability.TRANSACTIONAL in beneath.capabilities and not failed:
            assert len(rows_of(beneath, self.run_id)) == 1

    def _judge_surfaced(self) -> None:
        """Each attempt of `pay` that a crash cut short was shown to somebody."""
        assert self.run_id is not None
        records = self.ground.beneath.list_records(self.run_id)
        mine = [r for r in records if r["effect"] and r["node_id"] == "pay"]
        unknown = sum("unknown" in (r["result"] or {}) for r in mine)
        resolved = sum((r["result"] or {}).get("kind") == "resolved" for r in records)
        assert unknown == resolved


def rows_of(store: Any, run_id: str) -> list[Any]:
    """The rows that the transactional step of the run wrote."""
    found: list[Any] = []

    def read(transaction: Any) -> None:
        transaction.execute(TABLE)
        found.extend(transaction.execute(ROWS, (run_id,)))

    store.transact(read, seconds=10.0)
    return found
