"""Fifty answers to one wait come at once: one wins, 49 get a typed error, from anywhere."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Effect, RunStatus, Runtime, StepPlan, WorkflowSpec, open_store
from abstractruntime.engine.outcome import StepContext
from abstractruntime.errors import NotWaiting, RevisionConflict, StaleAnswer
from abstractruntime.storage.base import Store
from abstractruntime.testing.witness import FileWitness, Witness
from abstractruntime.testing.workflows import Seer
from tests.crashes.verdict import check_ended
from tests.faults.campaign import context

ANSWERS = 50


def asked(seer: Seer) -> WorkflowSpec:
    """A wait, and an effect that follows the answer."""

    def act(step: StepContext) -> None:
        seer.perform(step)

    return WorkflowSpec(
        "asked",
        "ask",
        {
            "ask": lambda run, context: StepPlan(
                "ask", Effect("ask_user", {"prompt": "?"}, "said"), "act"
            ),
            "act": lambda run, context: StepPlan("act", Effect("call", {"function": "act"}), "end"),
            "end": lambda run, context: StepPlan("end", complete_output=dict(run.vars)),
        },
        functions={"act": act},
    )


def answer_at_once(
    runtime: Runtime, spec: WorkflowSpec, run_id: str, names: list[str], ready: Any, **wait: Any
) -> dict[str, str]:
    """Each name answers in a thread of its own, all from a barrier; what each was told."""
    told: dict[str, str] = {}
    barrier = threading.Barrier(len(names) + 1)

    def answer(name: str) -> None:
        barrier.wait()
        try:
            runtime.resume(
                workflow=spec, run_id=run_id, wait_key=None, payload=name, max_steps=100, **wait
            )
            told[name] = "accepted"
        except Exception as error:
            told[name] = type(error).__name__

    threads = [threading.Thread(target=answer, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    ready()
    barrier.wait()
    for thread in threads:
        thread.join()
    return told


def check(store: Store, run_id: str, told: dict[str, str], performed: list[Any]) -> None:
    counts = Counter(told.values())
    losers = sum(counts[error.__name__] for error in (NotWaiting, RevisionConflict, StaleAnswer))
    assert (counts["accepted"], losers) == (1, ANSWERS - 1), counts
    (winner,) = [name for name, said in told.items() if said == "accepted"]
    loaded = store.load(run_id)
    assert loaded is not None
    assert loaded.run.status is RunStatus.COMPLETED
    assert loaded.run.output is not None
    assert loaded.run.output["said"] == winner
    assert len(performed) == 1
    check_ended(store, loaded.run)


@pytest.mark.parametrize("named", [False, True], ids=["by key", "by wait id"])
@pytest.mark.parametrize("url", ["memory://", "sqlite"])
def test_of_fifty_answers_from_threads_one_wins(url: str, named: bool, tmp_path: Path) -> None:
    with open_store(url if url != "sqlite" else f"sqlite:///{tmp_path}/runs.db") as store:
        witness = Witness()
        spec, runtime = asked(witness), Runtime(store=store)
        run_id = runtime.start(workflow=spec)
        waiting = runtime.tick(workflow=spec, run_id=run_id)
        assert waiting.checkpoint is not None
        wait = {"wait_id": waiting.checkpoint.waits[""].wait_id} if named else {}
        names = [f"a{number}" for number in range(ANSWERS)]
        told = answer_at_once(runtime, spec, run_id, names, lambda: None, **wait)
        check(store, run_id, told, witness.performed)


def answer_in_a_process(folder: Path, run_id: str, names: list[str], here: Any, gate: Any) -> None:
    with open_store(f"sqlite:///{folder}/runs.db") as store:
        spec = asked(FileWitness(folder / "effects"))
        here.send(answer_at_once(Runtime(store=store), spec, run_id, names, gate.wait))


def test_of_fifty_answers_from_five_processes_one_wins(tmp_path: Path) -> None:
    made = context()
    gate = made.Barrier(5)
    with open_store(f"sqlite:///{tmp_path}/runs.db") as store:
        spec, runtime = asked(Witness()), Runtime(store=store)
        run_id = runtime.start(workflow=spec)
        runtime.tick(workflow=spec, run_id=run_id)
    ends = []
    for number in range(5):
        there, here = made.Pipe(duplex=False)
        names = [f"{number}:{each}" for each in range(ANSWERS // 5)]
        arguments = (tmp_path, run_id, names, here, gate)
        made.Process(target=answer_in_a_process, args=arguments, daemon=True).start()
        here.close()
        ends.append(there)
    told: dict[str, str] = {}
    for there in ends:
        told.update(there.recv())
    with open_store(f"sqlite:///{tmp_path}/runs.db") as store:
        check(store, run_id, told, FileWitness(tmp_path / "effects").performed)
    print(Counter(told.values()))
