"""Ten thousand messages to one run: in order, each once, and no slower for their number."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Effect, Runtime, StepPlan, WorkflowSpec
from tests.engine.conftest import STORES, open_kind
from tests.faults.conftest import IN_MEMORY

MANY = 10_000


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where syncing costs nothing, if there is such a place: each send is synced."""
    where = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as made:
        yield Path(made)


def counting() -> WorkflowSpec:
    """Hears one message after another; counts those that came in order."""

    def hear(run: Any, ctx: Any) -> StepPlan:
        if "last" in run.vars:
            assert run.vars.pop("last") == run.vars["next"]
            run.vars["next"] += 1
        if run.vars["next"] == run.vars["wanted"]:
            return StepPlan("hear", complete_output={"heard": run.vars["next"]})
        return StepPlan("hear", Effect("wait_event", {"wait_key": "k"}, "last"))

    return WorkflowSpec("counting", "hear", {"hear": hear})


def played(runtime: Runtime, run_id: str, many: int) -> tuple[float, float]:
    """Seconds to send so many, before the run is there, and to read them."""
    begun = time.perf_counter()
    for n in range(many):
        runtime.send(run_id, "k", n)
    sent = time.perf_counter()
    work = counting()
    runtime.start(workflow=work, run_id=run_id, vars={"next": 0, "wanted": many})
    state = runtime.tick(workflow=work, run_id=run_id, max_steps=many + 2)
    assert state.output == {"heard": many}
    return sent - begun, time.perf_counter() - sent


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", STORES)
def test_ten_thousand_messages_are_read_in_order_and_none_costs_more_than_the_first(
    kind: str, folder: Path
) -> None:
    with open_kind(kind, folder) as store:
        runtime = Runtime(store=store)
        small = played(runtime, "few", MANY // 10)
        large = played(runtime, "many", MANY)
        assert store.list_messages("many") == []
        print(f"{kind}: {MANY} sent in {large[0]:.1f} s, read in {large[1]:.1f} s")
    # Ten times the messages take some ten times as long, by a generous measure.
    assert large[1] < 40 * small[1] + 2
