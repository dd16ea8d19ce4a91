"""A process dies before or after each call of a workflow whose effects have to be approved: each is
performed as its delivery class says, and never without a grant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Approval, Effect, EffectOutcome, RunStatus, Runtime, StepPlan
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.errors import AnswerRefused
from abstractruntime.storage.base import Store
from abstractruntime.testing.clock import VirtualClock
from abstractruntime.testing.crashes import Crash, Fuse
from tests.crashes.grounds import ground
from tests.crashes.trial import every_point
from tests.crashes.verdict import check_ledger

pytestmark = pytest.mark.timeout(120)

TWO = Approval(by=("ann", "bob"), quorum=2, remind_s=(30,))


def buyer() -> WorkflowSpec:
    """Pays at least once with two votes, pays at most once with an edit, and hears a refusal."""

    def pay(node: str, then: str, **options: Any) -> Callable[[Any, Any], StepPlan]:
        effect = Effect("pay", {"sum": 7, "at": node}, f"paid.{node}", **options)
        return lambda run, ctx: StepPlan(node, effect, then)

    return WorkflowSpec(
        "buyer",
        "a",
        {
            "a": pay("a", "b", approval=TWO),
            "b": pay("b", "c", approval=Approval(), delivery="at_most_once"),
            "c": pay("c", "never", approval=Approval(on_rejected="d")),
            "d": pay("d", "end", approval=Approval(expires_s=60, on_expired="end")),
            "end": lambda run, ctx: StepPlan("end", complete_output=run.vars["paid"]),
            "never": lambda run, ctx: StepPlan("never", complete_output={"never": True}),
        },
    )


class Till:
    """Counts payments outside the runtime, and looks beneath it whether each was granted."""

    def __init__(self, beneath: Store) -> None:
        self.beneath = beneath
        self.paid: list[tuple[str, int]] = []
        self.ungranted: list[Any] = []
        self.fuse = Fuse()

    def __call__(self, run: Any, effect: Any, *, step: Any) -> EffectOutcome:
        def pay() -> None:
            kinds = [
                (record["result"]["kind"], record["result"].get("begun_step"))
                for record in self.beneath.list_records(run.run_id)
                if record["effect"] is None and (record["result"] or {}).get("kind")
            ]
            if ("grant_used", step.step_id) not in kinds:
                self.ungranted.append(step)
            self.paid.append((effect.payload["at"], effect.payload["sum"]))

        self.fuse.guard("effect", pay)
        return EffectOutcome.completed({"sum": effect.payload["sum"]})


def live(store: Store, clock: VirtualClock, till: Till, run_id: str) -> None:
    """A host that starts, answers, resolves and waits; whoever begins again goes on."""
    spec = buyer()
    runtime = Runtime(store=store, context=clock, effect_handlers={"pay": till})
    runtime.start(workflow=spec, run_id=run_id, on_duplicate="return")
    for _ in range(60):
        state = runtime.tick(workflow=spec, run_id=run_id)
        if state.status is not RunStatus.WAITING:
            break
        waiting = state.waiting
        assert waiting is not None
        if (waiting.details or {}).get("unknown"):
            runtime.resolve(run_id, outcome=EffectOutcome.completed({"sum": 5}))
            continue
        asked = (waiting.details or {})["approval"]
        node, votes = asked["node_id"], len(asked["votes"])
        if waiting.until is not None and (node == "d" or votes == 0):
            clock.forward_to(waiting.until)  # a reminder, or the end of it
            runtime.tick(workflow=spec, run_id=run_id)
            if node == "d":
                continue
        answers: dict[str, Any] = {
            "a": {"decision": "approve"},
            "b": {"decision": "edit", "payload": {"sum": 5, "at": "b"}},
            "c": {"decision": "reject", "reason": "no"},
        }
        voted = [vote["by"] for vote in asked["votes"]]
        actor = next(each for each in ("ann", "bob") if each not in voted)
        try:
            runtime.resume(
                workflow=spec, run_id=run_id, wait_key=None, payload=answers[node], actor_id=actor
            )
        except AnswerRefused:
            raise AssertionError(f"{actor} was counted, and not shown") from None
    state = runtime.get_state(run_id)
    assert state.status is RunStatus.COMPLETED, f"{state.status}: {state.error} {state.waiting}"


def judge(store: Store, run_id: str, till: Till, crashed: str | None) -> None:
    loaded = store.load(run_id)
    assert loaded is not None
    output = loaded.run.output
    assert output is not None
    assert (output["a"], output["b"]) == ({"sum": 7}, {"sum": 5})
    assert output["c"]["decision"] == "rejected"
    assert output["d"]["decision"] == "expired"
    assert till.ungranted == [], "performed without a grant"
    counts = {node: till.paid.count((node, amount)) for node, amount in till.paid}
    assert set(counts) <= {"a", "b"}, "what was refused is not performed"
    assert counts.get("b", 0) <= 1, "at most once"
    assert counts["a"] == 1 or crashed
    assert ("b", 7) not in till.paid, "what was edited is not performed"
    check_ledger(store, run_id)


@pytest.mark.parametrize(
    "kind", ["memory", "sqlite", "pair", "files", "plain", "forgetful", "minimal"]
)
def test_a_crash_at_any_call_performs_nothing_without_a_grant(kind: str, tmp_path: Path) -> None:
    with ground(kind, tmp_path) as here:
        till = Till(here.beneath)

        def process(run_id: str, fuse: Fuse, clock: VirtualClock) -> bool:
            till.fuse = fuse
            with here.process(fuse, clock) as store:
                try:
                    live(store, clock, till, run_id)
                except Crash:
                    return False
            return True

        clean = Fuse()
        assert process("clean", clean, VirtualClock(step=0.001))
        judge(here.beneath, "clean", till, None)
        assert sorted(till.paid) == [("a", 7), ("b", 5)]
        failures, played = [], 0
        for at, when in every_point(clean.calls, reads=kind in ("memory", "sqlite")):
            played += 1
            run_id, clock = f"run-{played}", VirtualClock(step=0.001)
            till.paid.clear()
            fuse = Fuse(at, when)
            try:
                if not process(run_id, fuse, clock):
                    assert process(run_id, Fuse(), clock)
                judge(here.beneath, run_id, till, fuse.burnt)
            except Exception as error:
                failures.append(f"{fuse.burnt}: {type(error).__name__}: {str(error)[:300]}")
        assert not failures, f"{len(failures)} of {played}:\n" + "\n".join(failures[:6])
    print(f"{kind}: {played} crashes at {len(clean.calls)} calls")
