"""Branches of every kind, killed anywhere: the workflow, and the judge of its join."""

from __future__ import annotations

from collections import Counter
from typing import Any

from abstractruntime import Effect, EffectOutcome, Retry, RunStatus, StepPlan, WorkflowSpec
from abstractruntime.core.models import EffectType, RunState
from abstractruntime.core.policy import DefaultEffectPolicy
from abstractruntime.core.times import plus
from abstractruntime.engine.outcome import StepContext
from abstractruntime.engine.runtime import Runtime
from abstractruntime.testing.clock import EPOCH
from abstractruntime.testing.host import Host
from abstractruntime.testing.witness import Witness
from abstractruntime.testing.workflows import Built
from tests.crashes.classes import DeliveryTrial
from tests.crashes.host import Answers
from tests.crashes.verdict import check_ended, standing


def six(witness: Witness) -> Built:
    """A call, a person, a time, a child, a call that fails once and one that is at most once."""

    def does(n: int, step: StepContext) -> int:
        witness.perform(step)
        return n

    def flaky(n: int, step: StepContext) -> int:
        if step.attempt == 1:
            raise OSError("the first attempt fails")
        return does(n, step)

    def call(function: str, n: int, **options: Any) -> Effect:
        return Effect("call", {"function": function, "arguments": {"n": n}}, **options)

    effects = (
        call("does", 0),
        Effect(EffectType.ASK_USER, {"prompt": "1"}),
        Effect(EffectType.WAIT_UNTIL, {"until": plus(EPOCH, 3600.0)}),
        Effect(EffectType.START_SUBWORKFLOW, {"workflow_id": "below", "vars": {}}),
        call("flaky", 4, retry=Retry(attempts=9, backoff_s=0)),
        call("does", 5, delivery="at_most_once"),
    )
    functions = {"does": does, "flaky": flaky}
    below = WorkflowSpec(
        "below",
        "work",
        {
            "work": lambda run, ctx: StepPlan("work", call("does", 3), "end"),
            "end": lambda run, ctx: StepPlan("end", complete_output={"below": 3}),
        },
        functions=functions,
    )
    return _built({"below": below}, fan(effects, functions))


def many(witness: Witness, *, count: int) -> Built:
    """`count` questions at once."""
    effects = [Effect(EffectType.ASK_USER, {"prompt": str(n)}) for n in range(count)]
    return _built({}, fan(effects, {}))


def fan(effects: Any, functions: Any) -> WorkflowSpec:
    def end(run: RunState, context: Any) -> StepPlan:
        run.vars["ended"] = run.vars.get("ended", 0) + 1
        return StepPlan("end", complete_output={"all": run.vars["all"], "n": run.vars["ended"]})

    return WorkflowSpec(
        "branches",
        "split",
        {
            "split": lambda run, ctx: StepPlan(
                "split", effects=effects, next_node="end", into="all"
            ),
            "end": end,
        },
        functions=functions,
    )


def _built(below: dict[str, WorkflowSpec], spec: WorkflowSpec) -> Built:
    return Built(spec, {"branches": spec, **below}, {}, DefaultEffectPolicy(), frozenset())


class BranchTrial(DeliveryTrial):
    """`judge_branches` asserts that the join fired once, in order, and nothing was done again."""

    order: list[int] | None = None

    def _host(self, runtime: Runtime) -> Host:
        host = super()._host(runtime)
        assert isinstance(host, Answers)
        host.order = self.order
        return host

    def says(self, intent: dict[str, Any]) -> Any:
        said = super().says(intent)
        if said == "retry":
            return said
        return EffectOutcome.completed(5)

    def judge_branches(self, results: list[Any]) -> None:
        assert self.run_id is not None
        beneath = self.ground.beneath
        loaded = beneath.load(self.run_id)
        assert loaded is not None
        run = loaded.run
        assert run.status is RunStatus.COMPLETED, (run.status, run.error)
        assert run.output is not None
        joined = {**run.output["all"]}
        joined["results"] = [
            {"below": r["output"]} if isinstance(r, dict) and "sub_run_id" in r else r
            for r in joined["results"]
        ]
        assert joined == {"results": results, "errors": {}, "cancelled": []}
        assert run.output["n"] == 1
        check_ended(beneath, run)
        records = standing(beneath.list_records(self.run_id))
        kinds = Counter((r["result"] or {}).get("kind") for r in records if not r["effect"])
        assert kinds["joined"] == 1, kinds
        assert self.witness.repeated == [], "performed again after its commit"
        keys = {seen.key for seen in self.witness.performed}
        assert len(self.witness.performed) <= len(keys) + 6 * self.crashes
        assert len(beneath.list_children(parent_run_id=self.run_id)) <= 1
        self._judge_once(records)

    def _judge_once(self, records: list[dict[str, Any]]) -> None:
        """Steps that are performed at most once were."""
        once = {
            r["idempotency_key"]
            for r in records
            if r["effect"] and (r["effect"].get("options") or {}).get("delivery") == "at_most_once"
        }
        times = Counter(seen.key for seen in self.witness.performed)
        assert all(times[key] <= 1 for key in once), "at most once, performed twice"
