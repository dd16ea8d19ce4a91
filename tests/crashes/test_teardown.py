"""A flow is torn down with an outcome in hand: it is kept, and nothing half-made with it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from abstractruntime import Effect, EffectOutcome, RunStatus, Runtime, StepPlan, WorkflowSpec
from abstractruntime.core.commit import Commit, Loaded
from abstractruntime.core.policy import DefaultEffectPolicy
from abstractruntime.errors import StoreBusy
from abstractruntime.storage.base import Handle
from abstractruntime.storage.memory_store import MemoryStore

CHILD = WorkflowSpec(
    "child", "only", {"only": lambda run, ctx: StepPlan("only", complete_output={})}
)


class Source:
    """Both workflows by id."""

    def get(self, workflow_id: str) -> WorkflowSpec | None:
        return {"child": CHILD, "w": two_effects("child")}.get(workflow_id)


def two_effects(second: str) -> WorkflowSpec:
    """An effect, then a node that counts its calls and plans the second effect."""

    def b(run: Any, ctx: Any) -> StepPlan:
        run.vars["counter"] = run.vars.get("counter", 0) + 1
        if second == "child":
            return StepPlan("b", Effect("start_subworkflow", {"workflow_id": "child"}), "c")
        return StepPlan("b", Effect(second), "c")

    return WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", Effect("probe", {}, "got"), "b"),
            "b": b,
            "c": lambda run, ctx: StepPlan("c", complete_output=dict(run.vars)),
        },
    )


class Probe:
    """A handler that counts, and answers with the count."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, run: Any, effect: Any) -> EffectOutcome:
        self.count += 1
        return EffectOutcome.completed(self.count)


class BusyOnce(MemoryStore):
    """The first question for a run that is not there meets a lock."""

    met = False

    def load(self, run_id: str) -> Loaded | None:
        found = super().load(run_id)
        if found is None and not self.met:
            self.met = True
            raise StoreBusy("locked")
        return found


def test_a_store_that_is_busy_after_a_node_does_not_make_the_node_count_twice() -> None:
    store, probe = BusyOnce(), Probe()
    runtime = Runtime(store=store, effect_handlers={"probe": probe}, workflow_registry=Source())
    spec = two_effects("child")
    run_id = runtime.start(workflow=spec)
    with pytest.raises(StoreBusy):
        runtime.tick(workflow=spec, run_id=run_id)
    # The outcome of `a` is kept; what `b` did to vars is not, for `b` will be called again.
    kept = runtime.get_state(run_id)
    assert (kept.current_node, kept.vars.get("got")) == ("b", 1)
    state = runtime.tick(workflow=spec, run_id=run_id)
    assert state.status is RunStatus.COMPLETED
    assert state.output is not None
    assert (probe.count, state.output["counter"]) == (1, 1)


class InterruptedOnce(DefaultEffectPolicy):
    """Ctrl-C comes while the policy makes the key of the second step."""

    keys = 0

    def idempotency_key(self, *, run: Any, node_id: str, effect: Any) -> str:
        type(self).keys += 1
        if self.keys == 2:
            raise KeyboardInterrupt
        return f"{run.run_id}:{node_id}"


def test_an_interrupt_after_a_node_does_not_make_the_node_count_twice() -> None:
    store, probe = MemoryStore(), Probe()
    runtime = Runtime(
        store=store, effect_handlers={"probe": probe}, effect_policy=InterruptedOnce()
    )
    spec = two_effects("probe")
    run_id = runtime.start(workflow=spec)
    with pytest.raises(KeyboardInterrupt):
        runtime.tick(workflow=spec, run_id=run_id)
    state = runtime.tick(workflow=spec, run_id=run_id)
    assert state.output is not None
    assert (probe.count, state.output["counter"]) == (2, 1)


@pytest.mark.parametrize("awaiting", [False, True], ids=["blocking", "awaiting"])
def test_what_a_handler_did_to_vars_survives_an_edit_that_came_meanwhile(awaiting: bool) -> None:
    store = MemoryStore()
    spec = two_effects("noop")

    def probe(run: Any, effect: Any) -> EffectOutcome:
        run.vars["handled"] = True
        edited = store.run_store.load(run.run_id)
        assert edited is not None
        edited.vars["edited"] = True
        store.run_store.save(edited)
        return EffectOutcome.completed(1)

    handlers = {"probe": probe, "noop": lambda run, effect: None}
    runtime = Runtime(store=store, effect_handlers=handlers)
    run_id = runtime.start(workflow=spec)
    if awaiting:
        state = asyncio.run(runtime.atick(workflow=spec, run_id=run_id))
    else:
        state = runtime.tick(workflow=spec, run_id=run_id)
    assert state.output is not None
    assert (state.output["got"], state.output.get("edited")) == (1, True)
    assert state.output.get("handled") is True, "it belongs to the outcome, which was kept"


class GatedStore(MemoryStore):
    """Commits after the second (start, intent) are written when the gate opens, not before."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.held = threading.Event()
        self.commits = 0

    def submit(self, commit: Commit) -> Handle:
        self.commits += 1
        if self.commits <= 2:
            return super().submit(commit)
        return _Gated(self, commit)


class _Gated:
    """A handle whose commit is written by a thread of its own once the gate is open."""

    def __init__(self, store: GatedStore, commit: Commit) -> None:
        self._done = threading.Event()
        self._inner: Handle | None = None
        self._callbacks: list[Any] = []
        self._thread = threading.Thread(target=self._write, args=(store, commit), daemon=True)
        self._thread.start()
        store.held.set()

    def _write(self, store: GatedStore, commit: Commit) -> None:
        store.gate.wait()
        self._inner = MemoryStore.submit(store, commit)
        self._done.set()
        for callback in self._callbacks:
            callback()

    def result(self) -> None:
        self._done.wait()
        assert self._inner is not None
        self._inner.result()

    def add_done_callback(self, callback: Any) -> None:
        self._callbacks.append(callback)


def test_a_cancelled_atick_does_not_end_before_the_commit_in_flight() -> None:
    """Else the next tick finds the step open without a driver and performs it again."""
    store, probe = GatedStore(), Probe()
    runtime = Runtime(store=store, effect_handlers={"probe": probe})
    spec = two_effects("probe")

    async def scenario() -> bool:
        run_id = await runtime.astart(workflow=spec)
        ticking = asyncio.create_task(runtime.atick(workflow=spec, run_id=run_id))
        while not store.held.is_set():
            await asyncio.sleep(0)
        ticking.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        early = ticking.done()
        store.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await ticking
        return early

    assert not asyncio.run(scenario()), "atick ended while its commit was still to be written"
