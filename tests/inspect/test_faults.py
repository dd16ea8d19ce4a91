"""The doctor names each way in which a run contradicts itself, and none where it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import (
    Effect,
    EffectOutcome,
    Retry,
    RunState,
    RunStatus,
    Runtime,
    StepPlan,
    WaitReason,
    WaitState,
    WorkflowSpec,
    open_store,
)
from abstractruntime.core.checkpoint import (
    MAIN,
    Checkpoint,
    Driver,
    Join,
    OpenStep,
    OpenWait,
    Terms,
)
from abstractruntime.inspect.doctor import examine
from abstractruntime.inspect.faults import faults_of
from abstractruntime.inspect.standing import STANDINGS, standing_of
from abstractruntime.storage.base import Store
from abstractruntime.testing.commits import Script

NOW = "2026-05-01T12:00:00.000000+00:00"
WAIT = OpenWait("w", "s", "n", 1, 1, key="k", wait={"reason": "user"})
JOIN = Join("n", 1, "m", total=3, need=0, completed=1)
DRIVER = Driver("host", "boot", 1, "1", "token")
ASKS = WaitState(reason=WaitReason.USER, wait_key="k")


def step(**fields: Any) -> OpenStep:
    return OpenStep("s", "n", 1, {"type": "t", "payload": {}, "result_key": None}, "k", NOW, 1, **fields)  # fmt: skip # noqa: E501


def run_of(status: str, at: dict[str, Any], **fields: Any) -> RunState:
    return RunState(
        "r", "w", RunStatus(status), "n", checkpoint=Checkpoint(revision=3, **at), **fields
    )


BROKEN = [
    ("waiting", {}, {"waiting": ASKS}, "no open wait"),
    ("waiting", {"waits": {MAIN: WAIT}}, {}, "nothing says for what"),
    (
        "waiting",
        {"waits": {MAIN: WAIT}, "open_steps": {MAIN: step()}},
        {"waiting": ASKS},
        "has an open step",
    ),
    (
        "waiting",
        {"waits": {"1": WAIT}, "open_steps": {"0": step(branch="0", unknown="?")},
         "join": replace(JOIN, total=3)},
        {"waiting": ASKS},
        "nobody is asked",
    ),
    ("running", {"waits": {MAIN: WAIT}}, {}, "running and has an open wait"),
    ("running", {}, {"waiting": ASKS}, "running and has an open wait"),
    ("running", {"open_steps": {MAIN: step()}}, {}, "nobody performs it"),
    ("running", {"open_steps": {"0": step(branch="0")}}, {}, "belongs to no join"),
    ("running", {"join": JOIN, "open_steps": {"0": step(branch="0")}}, {}, "are 2"),
    (
        "running",
        {"join": JOIN, "waits": {"0": WAIT, "1": WAIT, "2": WAIT}},
        {},
        "1 completed, 0 failed and 3 open are 4",
    ),
    (
        "running",
        {"join": replace(JOIN, total=1), "open_steps": {MAIN: step()}, "driver": DRIVER},
        {},
        "a step beside them",
    ),
    (
        "running",
        {"join": replace(JOIN, total=2), "waits": {"0": WAIT},
         "open_steps": {"0": step(branch="0")}},
        {},
        "is being performed and waits",
    ),
    ("failed", {"join": JOIN}, {"error": "e"}, "failed and has an open join"),
    ("failed", {"queued_at": NOW}, {"error": "e"}, "in a queue"),
    ("failed", {}, {}, "nothing says why"),
    ("completed", {}, {}, "no output"),
    ("completed", {"open_steps": {MAIN: step()}}, {"output": {}}, "has an open step"),
    ("cancelled", {"waits": {MAIN: WAIT}}, {}, "has an open wait"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "at", "fields", "said"), BROKEN)
def test_each_contradiction_is_named(
    status: str, at: dict[str, Any], fields: dict[str, Any], said: str
) -> None:
    assert said in "; ".join(faults_of(run_of(status, at, **fields)))


SOUND = [
    ("running", {}, {}, "parked"),
    ("running", {"open_steps": {MAIN: step()}, "driver": DRIVER}, {}, "driven"),
    ("running", {"open_steps": {MAIN: step(wake_at=NOW)}}, {}, "timed"),
    ("running", {"queued_at": NOW}, {}, "queued"),
    ("running", {"open_steps": {MAIN: step()}, "terms": Terms(paused={"at": NOW})}, {}, "parked"),
    (
        "waiting",
        {"open_steps": {MAIN: step(unknown="?")}, "waits": {MAIN: WAIT}},
        {"waiting": ASKS},
        "waiting",
    ),
    (
        "waiting",
        {"join": JOIN, "waits": {"0": WAIT, "2": WAIT}},
        {"waiting": ASKS},
        "waiting",
    ),
    (
        "waiting",
        {"join": JOIN, "waits": {"0": WAIT, "2": replace(WAIT, wait={"reason": "until", "until": NOW})}},  # noqa: E501
        {"waiting": ASKS},
        "timed",
    ),
    (
        "running",
        {"join": JOIN, "waits": {"0": WAIT}, "open_steps": {"2": step(branch="2", begun=False)},
         "driver": DRIVER},
        {},
        "driven",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("status", "at", "fields", "standing"), SOUND)
def test_a_live_run_is_exactly_one_thing_and_no_contradiction(
    status: str, at: dict[str, Any], fields: dict[str, Any], standing: str
) -> None:
    run = run_of(status, at, **fields)
    assert list(faults_of(run)) == []
    assert standing_of(run, live=lambda _: True) == standing
    assert standing in STANDINGS


def test_a_broken_run_in_a_store_is_found() -> None:
    store = open_store("memory://")
    script = Script("r")
    store.commit(script.commit())
    store.commit(script.commit(kernel={"join": JOIN, "waits": {"1": WAIT}}))
    health = examine(store, now=NOW, verify=False)
    assert (health.damage, health.lost, health.broken) == ((), (), None)
    assert not health.ok
    assert "1 completed, 0 failed and 1 open are 2" in health.troubles[0].faults[0]


# ---- what the engine leaves behind is sound


@pytest.fixture(params=["memory://", "sqlite:///{}/runs.db", "files:///{}"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(request.param.format(tmp_path))


def several(*effects: Effect, **options: Any) -> WorkflowSpec:
    return WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", effects=effects, next_node="b", **options),
            "b": lambda run, ctx: StepPlan("b", complete_output={}),
        },
    )


def asks(n: int) -> Effect:
    return Effect("ask_user", {"prompt": f"{n}?", "wait_key": f"q{n}"})


def fails(run: Any, effect: Any) -> EffectOutcome:
    return EffectOutcome.failed("no")


def unknown(run: Any, effect: Any) -> EffectOutcome:
    return EffectOutcome.unknown("?")


LEFT: list[tuple[WorkflowSpec, Callable[..., Any] | None]] = [
    (several(asks(0), asks(1), asks(2)), None),
    (several(asks(0), Effect("pay", {}), failures=1), fails),
    (several(asks(0), Effect("pay", {}, delivery="at_most_once")), unknown),
    (several(asks(0), Effect("pay", {}, retry=Retry(1, 0, on_exhausted="pause"))), fails),
    (several(Effect("pay", {}, delivery="at_most_once")), unknown),
]


@pytest.mark.parametrize("number", range(len(LEFT)))
def test_what_the_engine_leaves_of_branches_is_sound(store: Store, number: int) -> None:
    spec, handler = LEFT[number]
    runtime = Runtime(store=store, effect_handlers={"pay": handler} if handler else {})
    run_id = runtime.start(workflow=spec)
    runtime.tick(workflow=spec, run_id=run_id)
    for _ in range(2):
        health = examine(store, now=NOW, verify=False)
        assert health.troubles == ()
        run = runtime.get_state(run_id)
        assert run.checkpoint is not None
        if "q0" not in {wait.key for wait in run.checkpoint.waits.values()}:
            break
        if run.checkpoint.terms.paused is None:
            runtime.resume(workflow=spec, run_id=run_id, wait_key="q0", payload="yes")
    runtime.cancel_run(run_id)
    assert examine(store, now=NOW, verify=False).troubles == ()


def test_paused_runs_are_shown_with_how_they_stand(store: Store) -> None:
    spec = several(asks(0))
    runtime = Runtime(store=store)
    run_id = runtime.start(workflow=spec)
    runtime.pause_run(run_id, reason="audit")
    health = examine(store, now="2036-05-01T12:00:00+00:00", verify=False)
    (row,) = health.paused
    assert (row.run_id, row.paused) == (run_id, True)
    assert row.idle_s > 86400
    assert health.held == {"parked": 1}
    assert health.parked == ()
    assert health.to_dict()["paused"][0]["run_id"] == run_id
