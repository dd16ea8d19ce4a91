"""A run is cancelled, edited, ticked or robbed of its driver by another process, mid-effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Effect, RunStatus, Runtime, StepPlan, WorkflowSpec, open_store
from abstractruntime.errors import NotWaiting, RunBusy
from abstractruntime.scheduler.recovery import orphaned
from abstractruntime.storage.base import Store
from abstractruntime.testing.witness import FileWitness
from tests.crashes.verdict import check_ledger
from tests.faults.campaign import context

PATIENCE_S = 10.0


def held(folder: Path, hold: Any) -> WorkflowSpec:
    """One effect that tells its process's parent, and waits for leave to end; then another node."""
    witness = FileWitness(folder / "effects")

    def work(step: Any) -> str:
        witness.perform(step)
        hold()
        return "worked"

    return WorkflowSpec(
        "held",
        "work",
        {
            "work": lambda run, context: StepPlan(
                "work", Effect("call", {"function": "work"}, "did"), "end"
            ),
            "end": lambda run, context: StepPlan("end", complete_output=dict(run.vars)),
        },
        functions={"work": work},
    )


def tick_in_a_process(folder: Path, run_id: str, pipe: Any) -> None:
    """Tick, saying when the effect is under way and going on when told; then say how it ended."""

    def hold() -> None:
        pipe.send("inside")
        pipe.recv()

    with open_store(f"sqlite:///{folder}/runs.db") as store:
        state = Runtime(store=store).tick(workflow=held(folder, hold), run_id=run_id)
        pipe.send(state.status.value)


class Elsewhere:
    """A run whose effect is under way in another process."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.store = store
        self.spec = held(folder, lambda: None)
        self.witness = FileWitness(folder / "effects")
        self.runtime = Runtime(store=store)
        self.run_id = self.runtime.start(workflow=self.spec)
        made = context()
        self._pipe, there = made.Pipe()
        arguments = (folder, self.run_id, there)
        self.process = made.Process(target=tick_in_a_process, args=arguments, daemon=True)
        self.process.start()
        there.close()
        assert self._heard() == "inside"

    def go_on(self) -> str:
        """Let the effect end; the status its process saw at the end."""
        self._pipe.send("go on")
        status = self._heard()
        self.process.join(PATIENCE_S)
        return status

    def _heard(self) -> str:
        assert self._pipe.poll(PATIENCE_S), "the other process says nothing"
        return str(self._pipe.recv())


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Elsewhere]:
    with open_store(f"sqlite:///{tmp_path}/runs.db") as store:
        other = Elsewhere(tmp_path, store)
        yield other
        if other.process.is_alive():
            other.process.kill()
        other.process.join(PATIENCE_S)


def test_a_cancel_from_another_process_ends_the_run_and_keeps_the_outcome(
    elsewhere: Elsewhere,
) -> None:
    state = elsewhere.runtime.cancel_run(elsewhere.run_id, reason="enough")
    assert state.status is RunStatus.CANCELLED
    assert elsewhere.go_on() == "cancelled"
    (kept,) = elsewhere.store.list_evidence(elsewhere.run_id)
    assert kept.outcome["result"] == "worked"
    assert kept.outcome["idempotency_key"] == elsewhere.witness.performed[0].key
    check_ledger(elsewhere.store, elsewhere.run_id)


def test_an_edit_from_another_process_and_the_outcome_are_both_kept(elsewhere: Elsewhere) -> None:
    run = elsewhere.runtime.get_state(elsewhere.run_id)
    run.vars["note"] = "by hand"
    elsewhere.runtime.run_store.save(run)
    assert elsewhere.go_on() == "completed"
    output = elsewhere.runtime.get_state(elsewhere.run_id).output
    assert output is not None
    assert (output["note"], output["did"]) == ("by hand", "worked")
    assert len(elsewhere.witness.performed) == 1
    check_ledger(elsewhere.store, elsewhere.run_id)


def test_a_run_driven_by_another_process_is_busy_and_not_touched(elsewhere: Elsewhere) -> None:
    before = elsewhere.runtime.get_state(elsewhere.run_id)
    with pytest.raises(RunBusy) as caught:
        elsewhere.runtime.tick(workflow=elsewhere.spec, run_id=elsewhere.run_id)
    assert caught.value.where["driver"]["pid"] == elsewhere.process.pid
    with pytest.raises(NotWaiting):
        elsewhere.runtime.resume(
            workflow=elsewhere.spec, run_id=elsewhere.run_id, wait_key=None, payload="no"
        )
    assert orphaned(elsewhere.store) == []
    assert elsewhere.runtime.get_state(elsewhere.run_id) == before
    assert elsewhere.go_on() == "completed"


def test_a_run_whose_process_was_killed_is_taken_over_at_once(elsewhere: Elsewhere) -> None:
    elsewhere.process.kill()
    elsewhere.process.join(PATIENCE_S)
    assert orphaned(elsewhere.store) == [elsewhere.run_id]
    state = elsewhere.runtime.tick(workflow=elsewhere.spec, run_id=elsewhere.run_id)
    assert state.status is RunStatus.COMPLETED
    first, second = elsewhere.witness.performed
    assert (first.key, first.attempt) == (second.key, second.attempt)
    assert first.pid != second.pid
    kinds = [
        (record["result"] or {}).get("kind")
        for record in elsewhere.runtime.get_ledger(elsewhere.run_id)
        if record["effect"] is None
    ]
    assert "recovered" in kinds


@contextmanager
def _unreaped(process: Any) -> Iterator[None]:
    """The killed process stays a zombie until its parent looks: the fork server does not."""
    process.kill()
    yield
    process.join(PATIENCE_S)


def test_a_dead_process_that_nobody_has_looked_at_yet_is_dead(elsewhere: Elsewhere) -> None:
    with _unreaped(elsewhere.process):
        # It dies within moments of the signal; until then the run is busy, and nothing happens.
        while not orphaned(elsewhere.store):
            pass
        state = elsewhere.runtime.tick(workflow=elsewhere.spec, run_id=elsewhere.run_id)
    assert state.status is RunStatus.COMPLETED
