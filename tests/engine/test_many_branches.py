"""Many branches: what they cost on disk grows with their number, and every revision is readable."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from abstractruntime import RunStatus, Runtime, open_store
from abstractruntime.core.head import head_of
from abstractruntime.core.models import RunState
from tests.engine.test_parallel import asks, fan


def answered(store_url: str, count: int) -> tuple[RunState, dict[int, RunState]]:
    """A run whose `count` questions were answered in any order, and its revisions as they were."""
    spec, seen = fan(asks(count)), {}
    with open_store(store_url, durability="process") as store:
        runtime = Runtime(store=store)
        state = runtime.tick(workflow=spec, run_id=runtime.start(workflow=spec))
        assert state.checkpoint is not None
        waits = [wait.wait_id for wait in state.checkpoint.waits.values()]
        random.Random(7).shuffle(waits)
        for wait_id in waits:
            state = runtime.resume(
                workflow=spec, run_id=state.run_id, wait_key=None, wait_id=wait_id, payload="yes"
            )
            assert state.checkpoint is not None
            seen[state.checkpoint.revision] = state
        for revision, run in list(seen.items())[:: max(count // 20, 1)]:
            assert head_of(store.load_at(run.run_id, revision).run) == head_of(run)
    return state, seen


@pytest.mark.parametrize("count", [3, 70])
def test_each_revision_of_a_run_with_branches_is_rebuilt(count: int, tmp_path: Path) -> None:
    state, seen = answered(f"sqlite:///{tmp_path}/runs.db", count)
    assert state.status is RunStatus.COMPLETED
    assert len(seen) == count


def test_a_branch_costs_the_same_among_many(tmp_path: Path) -> None:
    def bytes_of(count: int) -> int:
        folder = tmp_path / str(count)
        folder.mkdir()
        answered(f"sqlite:///{folder}/runs.db", count)
        return sum(file.stat().st_size for file in folder.iterdir())

    few, many = bytes_of(30), bytes_of(120)
    print(f"{few // 30} bytes for each of 30 branches, {many // 120} for each of 120")
    assert many < 4 * 1.5 * few
