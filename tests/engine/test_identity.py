"""A step is (generation, node, visit, branch): loops perform each time, rewinds perform nothing."""

from __future__ import annotations

import itertools
from typing import Any

from abstractruntime import Effect, EffectOutcome, RunStatus, StepPlan, WorkflowSpec
from abstractruntime.core.policy import DefaultEffectPolicy, compute_idempotency_key
from tests.engine.conftest import Counter, World


def loop(times: int) -> WorkflowSpec:
    def again(run: Any, ctx: Any) -> StepPlan:
        run.vars["n"] = run.vars.get("n", 0) + 1
        if run.vars["n"] > times:
            return StepPlan("again", complete_output={"n": run.vars["n"]})
        return StepPlan("again", Effect("probe", {"same": True}, "got"), "again")

    return WorkflowSpec("loop", "again", {"again": again})


def test_a_loop_performs_the_same_payload_at_every_visit(world: World) -> None:
    counter = Counter()
    world.make(effect_handlers={"probe": counter})
    state = world.run(loop(5))
    assert len(counter.performed) == 5
    started = [r for r in world.runtime.get_ledger(state.run_id) if r["status"] == "started"]
    assert [r["visit"] for r in started] == [1, 2, 3, 4, 5]
    keys = [r["idempotency_key"] for r in started]
    assert len(set(keys)) == 5
    first = compute_idempotency_key(
        run_id=state.run_id, node_id="again", effect=Effect("probe", {"same": True})
    )
    assert keys[0] == first


def chain() -> WorkflowSpec:
    """n1 → n2 → n3 (three times) → n4 → n5 → end."""

    def node(name: str, after: str) -> Any:
        def step(run: Any, ctx: Any) -> StepPlan:
            if name == "n3":
                run.vars["round"] = run.vars.get("round", 0) + 1
                target = after if run.vars["round"] >= 3 else "n3"
                return StepPlan(name, Effect("probe", {"at": name}, f"got.{name}"), target)
            return StepPlan(name, Effect("probe", {"at": name}, f"got.{name}"), after)

        return step

    names = ["n1", "n2", "n3", "n4", "n5", "end"]
    nodes = {name: node(name, after) for name, after in itertools.pairwise(names)}
    nodes["end"] = lambda run, ctx: StepPlan("end", complete_output=dict(run.vars["got"]))
    return WorkflowSpec("chain", "n1", nodes)


def test_a_rewind_to_the_first_of_five_effect_nodes_performs_nothing(world: World) -> None:
    counter = Counter()
    world.make(effect_handlers={"probe": counter})
    work = chain()
    run_id = world.start(work)
    state = world.tick(work, run_id, max_steps=7)
    assert len(counter.performed) == 7
    output = dict(state.vars["got"])
    state.current_node = "n1"
    state.vars = {"_limits": state.vars["_limits"]}
    world.runtime._run_store.save(state)
    ended = world.tick(work, run_id)
    assert len(counter.performed) == 7
    assert ended.output == output
    assert world.kinds(run_id).count("recalled") == 7
    assert "edited" in world.kinds(run_id)


def test_a_rewind_in_single_steps_performs_nothing(world: World) -> None:
    counter = Counter()
    world.make(effect_handlers={"probe": counter})
    work = chain()
    run_id = world.start(work)
    state = world.tick(work, run_id, max_steps=7)
    state.current_node = "n1"
    state.vars = {}
    world.runtime._run_store.save(state)
    for _ in range(8):
        state = world.tick(work, run_id, max_steps=1)
    assert state.status is RunStatus.COMPLETED
    assert len(counter.performed) == 7


def test_a_rewound_step_with_another_payload_is_performed_as_a_new_visit(world: World) -> None:
    counter = Counter()
    world.make(effect_handlers={"probe": counter})

    def a(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("a", Effect("probe", {"q": run.vars.get("q", 1)}, "got"), "b")

    def b(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("b", complete_output={"got": run.vars["got"]})

    work = WorkflowSpec("w", "a", {"a": a, "b": b})
    run_id = world.start(work)
    state = world.tick(work, run_id, max_steps=1)
    state.current_node, state.vars["q"] = "a", 2
    world.runtime._run_store.save(state)
    assert world.tick(work, run_id).output == {"got": {"n": 2}}
    assert counter.performed == [{"q": 1}, {"q": 2}]
    (note,) = [
        r["result"]
        for r in world.runtime.get_ledger(run_id)
        if (r["result"] or {}).get("kind") == "diverged"
    ]
    assert (note["recorded_visit"], note["new_visit"]) == (1, 2)
    assert note["recorded_digest"] != note["planned_digest"]


def test_a_rewound_wait_opens_again_as_a_new_visit(world: World) -> None:
    def ask(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("ask", Effect("ask_user", {"prompt": "?"}, "said"), "end")

    def end(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("end", Effect("probe"), "end2")

    def end2(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("end2", complete_output={"said": run.vars["said"]})

    world.make(effect_handlers={"probe": Counter()})
    work = WorkflowSpec("w", "ask", {"ask": ask, "end": end, "end2": end2})
    run_id = world.run(work).run_id
    state = world.resume(work, run_id, "one", max_steps=1)
    state.current_node = "ask"
    world.runtime._run_store.save(state)
    state = world.tick(work, run_id)
    assert state.status is RunStatus.WAITING
    assert world.resume(work, run_id, "two").output == {"said": "two"}


class NamedKeys(DefaultEffectPolicy):
    """Keys of the user's own making."""

    def idempotency_key(self, *, run: Any, node_id: str, effect: Any) -> str:
        return f"order-{effect.payload['order']}"


def orders(*numbers: tuple[int, int]) -> WorkflowSpec:
    def pay(run: Any, ctx: Any) -> StepPlan:
        i = run.vars["i"] = run.vars.get("i", 0) + 1
        if i > len(numbers):
            return StepPlan("pay", complete_output={"got": run.vars["got"]})
        order, amount = numbers[i - 1]
        return StepPlan("pay", Effect("probe", {"order": order, "amount": amount}, "got"), "pay")

    return WorkflowSpec("orders", "pay", {"pay": pay})


def test_a_policys_own_key_that_recurs_with_the_same_effect_is_not_performed_again(
    world: World,
) -> None:
    counter = Counter()
    world.make(effect_handlers={"probe": counter}, effect_policy=NamedKeys())
    state = world.run(orders((1, 10), (1, 10), (2, 20), (1, 10)))
    assert [p["order"] for p in counter.performed] == [1, 2]
    assert state.output == {"got": {"n": 1}}


def test_a_policys_own_key_that_recurs_with_another_effect_fails_the_run(world: World) -> None:
    counter = Counter()
    world.make(effect_handlers={"probe": counter}, effect_policy=NamedKeys())
    state = world.run(orders((1, 10), (1, 11)))
    assert state.status is RunStatus.FAILED
    assert state.error is not None
    assert "order-1" in state.error
    assert len(counter.performed) == 1


def test_a_handler_sees_the_key_and_attempt_of_its_step(world: World) -> None:
    seen: list[Any] = []

    def probe(run: Any, effect: Any, step: Any) -> EffectOutcome:
        seen.append(step)
        return EffectOutcome.completed()

    world.make(effect_handlers={"probe": probe})
    work = WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", Effect("probe"), "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output={}),
        },
    )
    state = world.run(work)
    (step,) = seen
    record = world.runtime.get_ledger(state.run_id)[0]
    assert (step.key, step.attempt, step.visit) == (record["idempotency_key"], 1, 1)
    assert step.step_id == record["step_id"]
