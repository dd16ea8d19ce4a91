"""Parents and children are moved by many at once, and by a scheduler: each hears of each once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import (
    Effect,
    RunStatus,
    Runtime,
    Scheduler,
    StepPlan,
    WorkflowRegistry,
    WorkflowSpec,
    open_store,
)
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState
from abstractruntime.errors import Contended, NotWaiting, WaitKeyMismatch
from abstractruntime.testing.witness import Witness
from abstractruntime.testing.workflows import Seer
from tests.crashes.verdict import check_ended, family
from tests.races.race import hasty_threads

FAMILIES = 30
PATIENCE_S = 15.0


def child(seer: Seer) -> WorkflowSpec:
    def work(step: Any) -> int:
        seer.perform(step)
        return int(step.visit)

    def effect(node_id: str, after: str) -> Any:
        call = Effect("call", {"function": "work"}, node_id)
        return lambda run, context: StepPlan(node_id, call, after)

    return WorkflowSpec(
        "child",
        "a",
        {
            "a": effect("a", "ask"),
            "ask": lambda run, context: StepPlan(
                "ask", Effect("wait_event", {"wait_key": "go"}, "said"), "b"
            ),
            "b": effect("b", "end"),
            "end": lambda run, context: StepPlan("end", complete_output={"said": run.vars["said"]}),
        },
        functions={"work": work},
    )


def parent() -> WorkflowSpec:
    def count(run: RunState, context: Any) -> StepPlan:
        run.vars["heard"] = run.vars.get("heard", 0) + 1
        after = "start" if run.vars["heard"] < 2 else "end"
        return StepPlan("count", next_node=after)

    return WorkflowSpec(
        "parent",
        "start",
        {
            "start": lambda run, context: StepPlan(
                "start", Effect("start_subworkflow", {"workflow_id": "child"}, "sub"), "count"
            ),
            "count": count,
            "end": lambda run, context: StepPlan(
                "end", complete_output={"heard": run.vars["heard"], "sub": run.vars["sub"]}
            ),
        },
    )


class Busybody:
    """Ticks every run it finds, parents and children, and answers whatever waits for an answer."""

    def __init__(self, runtime: Runtime, specs: dict[str, WorkflowSpec], errors: list[str]) -> None:
        self._runtime = runtime
        self._specs = specs
        self._errors = errors

    def work(self, parents: list[str]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and len(self._errors) < 20:
            runs = [self._runtime.get_state(run_id) for run_id in parents]
            if all(run.status in ENDED for run in runs):
                return
            for run in runs:
                self._try(lambda run=run: self._move(run))
                for each in self._runtime.store.list_children(parent_run_id=run.run_id):
                    self._try(lambda each=each: self._move(each))

    def _move(self, run: RunState) -> None:
        spec = self._specs[run.workflow_id]
        state = self._runtime.tick(workflow=spec, run_id=run.run_id)
        if state.waiting is not None and state.waiting.wait_key == "go":
            self._runtime.resume(workflow=spec, run_id=run.run_id, wait_key="go", payload="yes")

    def _try(self, move: Callable[[], None]) -> None:
        try:
            move()
        except (Contended, NotWaiting, WaitKeyMismatch):
            pass
        except Exception as error:
            self._errors.append(f"{type(error).__name__}: {error}")


@pytest.mark.parametrize("scheduled", [False, True], ids=["movers", "movers and a scheduler"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_parents_and_children_moved_by_all_at_once_hear_of_each_other_once(
    kind: str, scheduled: bool, tmp_path: Path
) -> None:
    url = "memory://" if kind == "memory" else f"sqlite:///{tmp_path}/runs.db"
    witness = Witness()
    registry = WorkflowRegistry()
    specs = {"parent": parent(), "child": child(witness)}
    for spec in specs.values():
        registry.register(spec)
    errors: list[str] = []
    with open_store(url) as store:
        runtime = Runtime(store=store, workflow_registry=registry)
        scheduler = Scheduler(
            runtime=runtime,
            registry=registry,
            poll_interval_s=0.01,
            on_run_failed=lambda run_id, error: errors.append(f"{run_id}: {error!r}"),
        )
        parents = [runtime.start(workflow=specs["parent"]) for _ in range(FAMILIES)]
        if scheduled:
            scheduler.start()
        bodies = [Busybody(runtime, specs, errors) for _ in range(6)]
        threads = [threading.Thread(target=body.work, args=(parents,)) for body in bodies]
        with hasty_threads():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        scheduler.stop()
        assert errors == []
        for run_id in parents:
            first, *children = family(store, run_id)
            assert (first.status, len(children)) == (RunStatus.COMPLETED, 2)
            assert first.output is not None
            assert first.output["heard"] == 2
            assert first.output["sub"]["output"] == {"said": "yes"}
            for run in (first, *children):
                check_ended(store, run)
    performed = Counter((seen.run_id, seen.node_id) for seen in witness.performed)
    assert len(performed) == FAMILIES * 4
    assert set(performed.values()) == {1}
