"""A message and the end of its wait's time, from two processes at once: one of them wins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Effect, Runtime, StepPlan, WorkflowSpec, open_store
from abstractruntime.core.times import plus
from abstractruntime.errors import Contended
from abstractruntime.storage.base import Store
from abstractruntime.testing.clock import EPOCH, VirtualClock
from tests.races.test_elsewhere import context

LIMIT_S = 60.0
PATIENCE_S = 17.0


def hurried() -> WorkflowSpec:
    """Waits for k for a minute, then for something else."""

    def first(run: Any, ctx: Any) -> StepPlan:
        payload = {"wait_key": "k", "timeout_s": LIMIT_S, "timeout_node": "late"}
        return StepPlan("first", Effect("wait_event", payload, "said"), "heard")

    def rest(name: str) -> Any:
        return lambda run, ctx: StepPlan(name, Effect("wait_event", {"wait_key": "rest"}), name)

    nodes = {"first": first, "heard": rest("heard"), "late": rest("late")}
    return WorkflowSpec("hurried", "first", nodes)


def move(url: str, now: str, run_ids: list[str], sends: bool, barrier: Any) -> None:
    """One process: it sends in time, or looks when the time is over."""
    work = hurried()
    with open_store(url) as store:
        runtime = Runtime(store=store, context=VirtualClock(now))
        for run_id in run_ids:
            barrier.wait(PATIENCE_S)
            if sends:
                runtime.send(run_id, "k", {"from": os.getpid()})
            try:
                runtime.tick(workflow=work, run_id=run_id)
            except Contended:
                continue  # the other one has the run


def raced(url: str, count: int) -> dict[str, int]:
    """How often each cause won."""
    work, clock = hurried(), VirtualClock()
    run_ids = [f"run-{n}" for n in range(count)]
    with open_store(url) as store:
        runtime = Runtime(store=store, context=clock)
        for run_id in run_ids:
            runtime.start(workflow=work, run_id=run_id)
            runtime.tick(workflow=work, run_id=run_id)
    made = context()
    barrier = made.Barrier(2)
    movers = [
        made.Process(target=move, args=(url, now, run_ids, sends, barrier), daemon=True)
        for now, sends in ((EPOCH, True), (plus(EPOCH, LIMIT_S), False))
    ]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join()
        assert mover.exitcode == 0
    wins: dict[str, int] = {}
    with open_store(url) as store:
        for run_id in run_ids:
            cause = winner(store, run_id)
            wins[cause] = wins.get(cause, 0) + 1
    return wins


def winner(store: Store, run_id: str) -> str:
    """What moved the run; all else agrees with it."""
    (said,) = [
        record["result"]
        for record in store.list_records(run_id)
        if record["effect"] is None and (record["result"] or {}).get("kind") == "resumed"
    ]
    loaded = store.load(run_id)
    assert loaded is not None
    left = store.list_messages(run_id)
    if said["cause"] == "message":
        assert (loaded.run.current_node, left) == ("heard", [])
        assert loaded.run.vars["said"] == said["payload"]
    else:
        assert said["cause"] == "timeout"
        assert loaded.run.current_node == "late"
        assert [message.name for message in left] == ["k"], "the late message stays readable"
    return str(said["cause"])


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["sqlite", "files"])
def test_of_a_message_and_a_timeout_one_wins(kind: str, tmp_path: Path) -> None:
    wins = raced(f"{kind}:///{tmp_path}/runs.db", 60)
    assert sum(wins.values()) == 60
    print(f"{kind}: {wins}")
