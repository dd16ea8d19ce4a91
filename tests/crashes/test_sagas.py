"""A process dies at each call that a saga or the cancel of a tree makes: what was done is taken
back once and in reverse, and every run of the tree ends with one record that says by whom."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Effect, EffectOutcome, RunStatus, Runtime, StepPlan, WorkflowSpec
from abstractruntime.core.checkpoint import Terms
from abstractruntime.core.policy import DefaultEffectPolicy
from abstractruntime.core.records import holding
from abstractruntime.testing.clock import VirtualClock
from abstractruntime.testing.crashes import Crash, Fuse, When
from abstractruntime.testing.workflows import Built, Seer
from tests.crashes.grounds import ATOMIC, PAIRS, ground
from tests.crashes.trial import READS, Ground, Point, Trial
from tests.engine.test_trees import check_cancelled, grow

pytestmark = pytest.mark.timeout(90)

STEPS, FAILS_AT = 10, 7


def saga(seer: Seer) -> Built:
    """Ten bookings, each with an undo; the seventh fails."""

    def node(i: int) -> Any:
        undo = Effect("unbook", {"seat": i, "id": {"$result": "id"}})
        effect = Effect("book", {"seat": i}, undo=undo)
        return lambda run, ctx: StepPlan(f"n{i}", effect, f"n{i + 1}")

    def book(run: Any, effect: Effect, step: Any) -> EffectOutcome:
        if effect.payload["seat"] == FAILS_AT:
            return EffectOutcome.failed("no seat left")
        seer.perform(step)
        return EffectOutcome.completed({"id": f"b{effect.payload['seat']}"})

    def unbook(run: Any, effect: Effect, step: Any) -> EffectOutcome:
        assert effect.payload["id"] == f"b{effect.payload['seat']}"
        seer.perform(step)
        return EffectOutcome.completed(None)

    nodes: dict[str, Any] = {f"n{i}": node(i) for i in range(1, STEPS + 1)}
    end = f"n{STEPS + 1}"
    nodes[end] = lambda run, ctx: StepPlan(end, complete_output={})
    spec = WorkflowSpec("saga", "n1", nodes)
    handlers = {"book": book, "unbook": unbook}
    return Built(spec, {"saga": spec}, handlers, DefaultEffectPolicy(), frozenset())


def check_saga(trial: Trial) -> None:
    """Six bookings and their undos in reverse, each with one key, performed again only after a
    crash that its outcome did not survive."""
    assert trial.run_id is not None
    loaded = trial.ground.beneath.load(trial.run_id)
    assert loaded is not None
    run = loaded.run
    assert (run.status, run.error) == (
        RunStatus.FAILED,
        "Effect failed after 1 attempts: no seat left",
    )
    assert run.checkpoint is not None
    assert run.checkpoint.terms == Terms()
    keys: dict[str, str] = {}
    for seen in trial.witness.performed:
        keys.setdefault(seen.key, seen.node_id)
    done = [f"n{i}" for i in range(1, FAILS_AT)]
    assert list(keys.values()) == done + done[::-1]
    again = len(trial.witness.performed) - len(keys)
    assert again <= trial.crashes
    lines = holding(trial.ground.beneath.list_records(trial.run_id))
    steps = [r for r in lines if r["effect"] and r["effect"]["type"] == "unbook"]
    completed = [r["node_id"] for r in steps if r["status"] == "completed"]
    assert completed == done[::-1]


def saga_points(here: Ground) -> list[Point]:
    trial = Trial(here, saga).play()
    check_saga(trial)
    assert len(trial.witness.performed) == 12
    return [
        (at, when)
        for at, name in enumerate(trial.fuses[0].calls, 1)
        if name not in READS
        for when in When
    ]


@pytest.mark.parametrize("awaiting", [False, True], ids=["blocking", "awaiting"])
@pytest.mark.parametrize("kind", [*ATOMIC, *PAIRS])
def test_a_saga_takes_back_what_it_did_once_whenever_its_process_dies(
    kind: str, awaiting: bool, tmp_path: Path
) -> None:
    if awaiting and kind not in ATOMIC:
        pytest.skip("one driver is enough between the two writes of a pair")
    with ground(kind, tmp_path, awaiting=awaiting) as here:
        for point in saga_points(here):
            trial = Trial(here, saga).play(point)
            try:
                check_saga(trial)
            except AssertionError as error:
                raise AssertionError(f"{point} {trial.fuses[0].burnt}: {error}") from error


def cancelled_by(here: Ground, root: str, fuse: Fuse) -> None:
    clock = VirtualClock()
    with here.process(fuse, clock) as store:
        Runtime(store=store, context=clock).cancel_run(
            root, reason="over", actor_id="ann", tree=True
        )


@pytest.mark.parametrize("kind", [*ATOMIC, *PAIRS])
def test_a_tree_is_cancelled_whole_wherever_the_canceller_died(kind: str, tmp_path: Path) -> None:
    with ground(kind, tmp_path) as here:
        plant = partial(grow, here.beneath, VirtualClock(), 1, 2)
        fuse = Fuse()
        root = plant()
        cancelled_by(here, root, fuse)
        assert check_cancelled(here.beneath, root) == 4
        for at, name in enumerate(fuse.calls, 1):
            for when in When if name not in READS else ():
                root = plant()
                with pytest.raises(Crash):
                    cancelled_by(here, root, Fuse(at, when))
                cancelled_by(here, root, Fuse())
                assert check_cancelled(here.beneath, root) == 4, (at, name, when)
