"""Trees of runs: cancelled and paused from the top, closed by the policies of children."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from abstractruntime import (
    Effect,
    EffectOutcome,
    RunState,
    RunStatus,
    Runtime,
    Scheduler,
    StepPlan,
    WorkflowRegistry,
    WorkflowSpec,
)
from abstractruntime.core.machine.table import ENDED
from abstractruntime.storage.base import Capability, Store
from abstractruntime.testing.crashes import Crash, CrashingStore, Fuse, When
from tests.engine.conftest import Clock, World

LEAVES = 9


def waiter(name: str = "leaf") -> WorkflowSpec:
    wait = Effect("wait_event", {"wait_key": "go"}, "got")
    return WorkflowSpec(
        name,
        "only",
        {
            "only": lambda run, ctx: StepPlan("only", wait, "end"),
            "end": lambda run, ctx: StepPlan("end", complete_output={}),
        },
    )


def starter(name: str, child: str, n: int, **payload: Any) -> WorkflowSpec:
    """Starts `n` detached children, then waits."""

    def start(run: RunState, ctx: Any) -> StepPlan:
        i = run.vars.get("i", 0)
        if i >= n:
            return StepPlan("start", Effect("wait_event", {"wait_key": "go"}), "end")
        run.vars["i"] = i + 1
        payload_ = {"workflow_id": child, "async": True, **payload}
        return StepPlan("start", Effect("start_subworkflow", payload_, f"c{i}"), "start")

    nodes = {"start": start, "end": lambda run, ctx: StepPlan("end", complete_output={})}
    return WorkflowSpec(name, "start", nodes)


def grow(store: Store, clock: Any, middles: int = 9, leaves: int = 10) -> str:
    """A tree of 1 + middles + middles * leaves waiting runs; its root."""
    registry = registry_of(middles, leaves)
    runtime = Runtime(store=store, context=clock, workflow_registry=registry)
    root = runtime.start(workflow=registry.get_or_raise("root"))
    waiting = [root]
    while waiting:
        run = runtime.get_state(waiting.pop())
        runtime.tick(workflow=registry.get_or_raise(run.workflow_id), run_id=run.run_id)
        waiting += [c.run_id for c in store.list_children(parent_run_id=run.run_id)]
    return root


def registry_of(middles: int = 9, leaves: int = 10) -> WorkflowRegistry:
    registry = WorkflowRegistry()
    registry.register(starter("root", "middle", middles))
    registry.register(starter("middle", "leaf", leaves))
    registry.register(waiter())
    return registry


def tree(store: Store, run_id: str) -> Iterator[RunState]:
    loaded = store.load(run_id)
    assert loaded is not None
    yield loaded.run
    for child in store.list_children(parent_run_id=run_id):
        yield from tree(store, child.run_id)


def check_cancelled(store: Store, root: str, *, actor: str = "ann", reason: str = "over") -> int:
    """Every run of the tree is cancelled, with one record that says by whom and why."""
    count = 0
    for run in tree(store, root):
        count += 1
        assert (run.status, run.error) == (RunStatus.CANCELLED, reason), run.workflow_id
        said = [
            (r["actor_id"], r["result"]["reason"])
            for r in store.list_records(run.run_id)
            if (r["result"] or {}).get("kind") == "cancelled"
        ]
        assert said == [(actor, reason)]
    return count


def test_a_tree_of_a_hundred_runs_is_cancelled_whole(world: World) -> None:
    root = grow(world.store, world.clock)
    assert world.store.load(root) is not None
    state = world.runtime.cancel_run(root, reason="over", actor_id="ann", tree=True)
    assert state.status is RunStatus.CANCELLED
    assert check_cancelled(world.store, root) == 100
    assert world.store.list_due("9999-01-01T00:00:00.000000+00:00") == []
    assert world.runtime.cancel_tree(root, reason="again") == []
    assert check_cancelled(world.store, root) == 100


def cancel(store: Store, root: str) -> list[RunState]:
    return Runtime(store=store, context=Clock()).cancel_tree(root, reason="over", actor_id="ann")


def calls_of_a_cancel(store: Store) -> list[str]:
    fuse = Fuse()
    cancel(CrashingStore(store, fuse), grow(store, Clock(), 2, 2))
    return fuse.calls


@pytest.mark.parametrize("finisher", ["caller", "scheduler"])
def test_a_cancel_cut_short_at_any_call_is_finished_by_the_next_caller_or_a_scheduler(
    store: Store, finisher: str
) -> None:
    calls = calls_of_a_cancel(store)
    assert calls.count("commit") + calls.count("submit") >= 10
    # Files are slow: there each finisher comes to other calls.
    stride = 6 if Capability.DURABLE in store.capabilities and "pair" in store.url else 1
    for at in range(1 + 3 * (finisher == "caller") % stride, len(calls) + 1, stride):
        for when in When:
            root = grow(store, Clock(), 2, 2)
            with pytest.raises(Crash):
                cancel(CrashingStore(store, Fuse(at, when)), root)
            live = [run for run in tree(store, root) if run.status not in ENDED]
            asked = any(run.checkpoint and run.checkpoint.terms.ending for run in live)
            if finisher == "caller" or (live and not asked):
                cancel(store, root)
            else:
                registry = registry_of()
                runtime = Runtime(store=store, context=Clock(), workflow_registry=registry)
                Scheduler(runtime=runtime, registry=registry).poll_once()
            assert check_cancelled(store, root) == 7, (at, when)


# -- driven runs


def driven(world: World, *, undo: bool = False) -> tuple[WorkflowSpec, list[str], Any]:
    """A workflow whose handler sees the cancel of its run, cleans up and fails."""
    seen: list[str] = []
    begun = threading.Event()

    def work(run: RunState, effect: Effect, step: Any) -> EffectOutcome:
        assert not step.cancelled
        begun.set()
        while not step.cancelled:
            if gone.wait(0.001):
                break
        seen.append("cleaned up")
        return EffectOutcome.failed("cancelled while at work")

    def undone(run: RunState, effect: Effect) -> None:
        seen.append("undone")

    gone = threading.Event()
    world.make(effect_handlers={"work": work, "undo": undone})
    effect = Effect("work", {}, undo=Effect("undo") if undo else None)
    before = Effect("undo", {}, undo=Effect("undo") if undo else None)
    spec = WorkflowSpec(
        "driven",
        "before" if undo else "a",
        {
            "before": lambda run, ctx: StepPlan("before", before, "a"),
            "a": lambda run, ctx: StepPlan("a", effect, "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output={}),
        },
    )
    world.registry.register(spec)
    return spec, seen, begun


@pytest.mark.parametrize("undo", [False, True])
def test_a_driven_run_is_asked_its_handler_cleans_up_and_it_ends_cancelled(
    world: World, undo: bool
) -> None:
    spec, seen, begun = driven(world, undo=undo)
    run_id = world.start(spec)
    said: list[RunState] = []

    def ask() -> None:
        begun.wait(10)
        said.append(
            world.runtime.cancel_run(run_id, reason="over", actor_id="ann", request=not undo)
        )

    thread = threading.Thread(target=ask)
    thread.start()
    state = world.tick(spec, run_id)
    thread.join()
    assert [run.status for run in said] == [RunStatus.RUNNING]
    assert said[0].checkpoint is not None
    assert said[0].checkpoint.terms.phase == "cancelling"
    # Its attempt failed: there is nothing of it to undo, but of the step before it.
    assert seen == (["undone", "cleaned up", "undone"] if undo else ["cleaned up"])
    assert (state.status, state.error) == (RunStatus.CANCELLED, "over")
    check_cancelled(world.store, run_id)


def test_a_tree_is_cancelled_under_the_flow_that_drives_it(world: World) -> None:
    _, seen, begun = driven(world)
    start = Effect("start_subworkflow", {"workflow_id": "driven"}, "sub")
    parent = WorkflowSpec("parent", "p", {"p": lambda run, ctx: StepPlan("p", start, "p")})
    run_id = world.start(parent)

    def ask() -> None:
        begun.wait(10)
        world.runtime.cancel_run(run_id, reason="over", actor_id="ann", tree=True)

    thread = threading.Thread(target=ask)
    thread.start()
    state = world.tick(parent, run_id)
    thread.join()
    assert state.status is RunStatus.CANCELLED
    assert seen == ["cleaned up"]
    assert check_cancelled(world.store, run_id) == 2


def test_a_request_to_a_run_whose_driver_died_ends_it_at_once(world: World) -> None:
    class Died(BaseException):
        pass

    def work(run: RunState, effect: Effect) -> None:
        raise Died

    world.make(effect_handlers={"work": work})
    spec = WorkflowSpec("w", "a", {"a": lambda run, ctx: StepPlan("a", Effect("work"), "a")})
    run_id = world.start(spec)
    with pytest.raises(Died):
        world.tick(spec, run_id)
    state = world.runtime.cancel_run(run_id, reason="over", actor_id="ann", request=True)
    assert state.status is RunStatus.CANCELLED
    check_cancelled(world.store, run_id)


# -- pauses


def test_a_paused_tree_holds_every_run_of_it_until_it_is_unpaused(world: World) -> None:
    root = grow(world.store, world.clock, 2, 2)
    leaf = waiter()
    runs = list(tree(world.store, root))
    ended = runs[-1].run_id
    world.resume(leaf, ended, None)
    world.runtime.pause_run(root, reason="wait", actor_id="ann", tree=True)
    for run in tree(world.store, root):
        assert run.checkpoint is not None
        paused = run.checkpoint.terms.paused
        assert (paused is None) == (run.run_id == ended)
        assert paused is None or (paused["actor"], paused["reason"]) == ("ann", "wait")
    world.runtime.unpause_run(root, tree=True)
    phases = [run.checkpoint.terms.phase for run in tree(world.store, root) if run.checkpoint]
    assert phases == [None] * 7


def test_a_pause_lets_nobody_start_more_children(world: World) -> None:
    """A driven parent lets go at its next commit: what is below it is held as a whole."""
    spec, _, begun = driven(world)
    run_id = world.start(spec)

    def hold() -> None:
        begun.wait(10)
        world.runtime.pause_run(run_id, tree=True)
        world.runtime.cancel_run(run_id, reason="over", actor_id="ann", request=True)

    thread = threading.Thread(target=hold)
    thread.start()
    state = world.tick(spec, run_id)
    thread.join()
    assert state.status is RunStatus.CANCELLED, "a cancel lifts the pause"


def test_branches_under_way_see_the_cancel_and_are_waited_for(world: World) -> None:
    seen: list[int] = []
    begun = threading.Barrier(4)

    def work(run: RunState, effect: Effect, step: Any) -> EffectOutcome:
        begun.wait(10)
        while not step.cancelled:
            gone.wait(0.001)
        seen.append(effect.payload["n"])
        return EffectOutcome.completed(None)

    gone = threading.Event()
    world.make(effect_handlers={"work": work})
    effects = [Effect("work", {"n": n}) for n in range(3)]
    spec = WorkflowSpec(
        "w", "a", {"a": lambda run, ctx: StepPlan("a", effects=effects, next_node="a")}
    )
    run_id = world.start(spec)

    def ask() -> None:
        begun.wait(10)
        world.runtime.cancel_run(run_id, reason="over", actor_id="ann", request=True)

    thread = threading.Thread(target=ask)
    thread.start()
    state = world.tick(spec, run_id)
    thread.join()
    assert state.status is RunStatus.CANCELLED
    assert sorted(seen) == [0, 1, 2]
    check_cancelled(world.store, run_id)
