"""Runs are cancelled and edited while others move them: what was performed is never dropped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import RunStatus, Runtime, WorkflowSpec, open_store, verify_ledger_chain
from abstractruntime.core.machine.table import ENDED
from abstractruntime.errors import Contended
from abstractruntime.storage.base import Store
from abstractruntime.testing.witness import Witness, committed_keys
from tests.races.race import Told, race, raced

RUNS = 60
THREADS = 6


class Scene:
    """Runs that movers move while somebody interferes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.witness = Witness()
        self.spec: WorkflowSpec = raced(self.witness)
        self.runtime = Runtime(store=store)
        self.run_ids = [self.runtime.start(workflow=self.spec) for _ in range(RUNS)]
        self.told = Told()
        self.errors: list[str] = []

    def play(self, *interferers: Callable[[], None]) -> None:
        threads = [threading.Thread(target=self._guarded, args=(each,)) for each in interferers]

        def ready() -> None:
            for thread in threads:
                thread.start()

        race(self.runtime, self.spec, self.run_ids, threads=THREADS, told=self.told, ready=ready)
        for thread in threads:
            thread.join()
        assert (self.errors, self.told.untyped) == ([], [])

    def _guarded(self, interfere: Callable[[], None]) -> None:
        try:
            interfere()
        except Exception as error:
            self.errors.append(f"{type(error).__name__}: {error}")

    def check_nothing_dropped(self) -> None:
        """Each performed outcome stands in the ledger, or as evidence that the ledger links."""
        for run_id in self.run_ids:
            performed = [seen.key for seen in self.witness.performed if seen.run_id == run_id]
            assert len(performed) == len(set(performed)), "nothing is performed twice"
            kept = [item.outcome["idempotency_key"] for item in self.store.list_evidence(run_id)]
            recorded = committed_keys(self.store, run_id)
            assert set(performed) == recorded | set(kept)
            assert not recorded & set(kept)
            assert verify_ledger_chain(self.store.list_records(run_id))["ok"]


@pytest.fixture(params=["memory", "sqlite"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/runs.db"
    with open_store(url) as store:
        yield Scene(store)


def test_runs_cancelled_while_they_are_moved_end_and_keep_what_was_performed(scene: Scene) -> None:
    def cancel() -> None:
        for run_id in scene.run_ids[::2]:
            state = scene.runtime.cancel_run(run_id, reason="enough")
            assert state.status in ENDED

    scene.play(cancel)
    states = [scene.runtime.get_state(run_id) for run_id in scene.run_ids]
    assert {state.status for state in states[1::2]} == {RunStatus.COMPLETED}
    assert {state.status for state in states[::2]} <= {RunStatus.COMPLETED, RunStatus.CANCELLED}
    assert any(state.status is RunStatus.CANCELLED for state in states)
    for state in states:
        assert state.checkpoint is not None
        assert not state.checkpoint.open_steps
        if state.status is RunStatus.COMPLETED:
            assert scene.store.list_evidence(state.run_id) == []
    scene.check_nothing_dropped()


def test_edits_while_runs_are_moved_are_all_kept_and_cost_no_outcome(scene: Scene) -> None:
    accepted: dict[str, int] = dict.fromkeys(scene.run_ids, 0)

    def edit() -> None:
        for run_id in scene.run_ids * 3:
            run = scene.runtime.get_state(run_id)
            if run.status in ENDED:
                continue
            run.vars["edits"] = run.vars.get("edits", 0) + 1
            try:
                scene.runtime.run_store.save(run)
            except Contended:
                continue
            accepted[run_id] += 1

    def limit() -> None:
        for run_id in scene.run_ids:
            scene.runtime.update_limits(run_id, {"max_tokens": 77})

    scene.play(edit, limit)
    for run_id in scene.run_ids:
        state = scene.runtime.get_state(run_id)
        assert state.status is RunStatus.COMPLETED
        assert state.output is not None
        assert state.output.get("edits", 0) == accepted[run_id], "no edit is lost or made twice"
        assert state.vars["_limits"]["max_tokens"] == 77
    assert sum(accepted.values()) > 0
    scene.check_nothing_dropped()
