"""One byte of an approved effect is changed in the store itself: it is not performed."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import RunStatus, WorkflowSpec
from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.engine.operations.resume import Answer, answer
from abstractruntime.errors import RevisionConflict, StoreCorrupt
from abstractruntime.storage.base import Store
from tests.engine.conftest import Clock, Counter, World, open_kind
from tests.engine.test_approvals import YES, begun, details, said


def granted(world: World, **options: Any) -> tuple[WorkflowSpec, str, Counter]:
    """A run whose effect is approved, and has not begun: whoever answered is gone."""
    spec, run_id, counter = begun(world, **options)
    world.runtime._drive(
        lambda _: answer(world.runtime._settings, None, Answer(run_id, YES, actor_id="ann"))
    )
    state = world.runtime.get_state(run_id)
    assert state.status is RunStatus.RUNNING
    assert len(said(world, run_id, "granted")) == 1
    assert counter.performed == []
    return spec, run_id, counter


def refused(world: World, spec: WorkflowSpec, run_id: str, counter: Counter) -> None:
    state = world.tick(spec, run_id)
    assert state.status is RunStatus.FAILED
    assert str(state.error).startswith("ApprovalMismatch: The effect stored for node 'a'")
    assert counter.performed == []
    assert ("a", "started") not in world.statuses(run_id)
    # Opened again the node plans anew, and what it plans is asked for.
    world.runtime.reopen(run_id)
    assert details(world.tick(spec, run_id))["effect"]["payload"]["sum"] == 7
    world.resume(spec, run_id, YES, actor_id="ann")
    assert [payload["sum"] for payload in counter.performed] == [7]


def test_a_grant_whose_holder_died_is_used_by_the_next_driver(world: World) -> None:
    spec, run_id, counter = granted(world)
    assert world.store.list_due(world.clock.now) == [run_id]
    assert world.tick(spec, run_id).status is RunStatus.COMPLETED
    assert len(counter.performed) == 1
    assert len(said(world, run_id, "grant_used")) == 1


# ---- in the file itself


@pytest.fixture(params=("blocking", "awaiting"))
def on_sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(open_kind("sqlite", tmp_path), request.param, Clock())


def change_rows(store: Store, *, with_sums: bool) -> None:
    """The amount in the log, from 7 to 8, by somebody with an editor for databases."""
    import apsw

    with contextlib.closing(apsw.Connection(store.facts()["path"])) as connection:
        connection.execute("PRAGMA busy_timeout = 5000")
        tables = connection.execute("PRAGMA table_info(commits)").fetchall()
        columns = [str(row[1]) for row in tables]
        (sums,) = [name for name in columns if "records" in name and "sum" in name]
        connection.execute(
            "UPDATE commits SET records = replace(records, '\"sum\":7', '\"sum\":8')"
        )
        assert connection.changes() > 0
        if with_sums:
            connection.execute(f"UPDATE commits SET {sums} = NULL")


def test_a_changed_row_is_found_by_its_checksum(on_sqlite: World) -> None:
    spec, run_id, counter = granted(on_sqlite)
    change_rows(on_sqlite.store, with_sums=False)
    with pytest.raises(StoreCorrupt):
        on_sqlite.tick(spec, run_id)
    assert counter.performed == []


def test_a_changed_row_without_its_checksum_is_found_by_the_grant(on_sqlite: World) -> None:
    spec, run_id, counter = granted(on_sqlite)
    change_rows(on_sqlite.store, with_sums=True)
    refused(on_sqlite, spec, run_id, counter)


def test_a_changed_file_is_found_by_the_grant(tmp_path: Path) -> None:
    world = World(open_kind("files", tmp_path), "blocking", Clock())
    spec, run_id, counter = granted(world)
    world.store.close()
    path = tmp_path / "runs" / f"run_{run_id}.json"
    text = path.read_text()
    assert text.count('"sum": 7') == 1
    path.write_text(text.replace('"sum": 7', '"sum": 8'))
    world = World(open_kind("files", tmp_path), "blocking", world.clock)
    world.make(effect_handlers={"pay": counter})
    refused(world, spec, run_id, counter)


def test_a_changed_file_is_found_after_a_crash_in_mid_effect(tmp_path: Path) -> None:
    """The grant is used up then, and its digest still binds what recovery performs."""

    class Died(BaseException):
        pass

    def dies(n: int) -> Any:
        raise Died

    world = World(open_kind("files", tmp_path), "blocking", Clock())
    spec, run_id, counter = begun(world, answer=dies)
    with pytest.raises(Died):
        world.resume(spec, run_id, YES, actor_id="ann")
    world.store.close()
    path = tmp_path / "runs" / f"run_{run_id}.json"
    data = json.loads(path.read_text())
    step = data["checkpoint"]["open_steps"][""]
    assert "grant" not in step["approval"]
    step["effect"]["payload"]["sum"] = 8
    path.write_text(json.dumps(data))
    world = World(open_kind("files", tmp_path), "blocking", world.clock)
    world.make(effect_handlers={"pay": counter})
    state = world.tick(spec, run_id)
    assert state.status is RunStatus.FAILED
    assert "ApprovalMismatch" in str(state.error)
    assert len(counter.performed) == 1


# ---- through the host's own save


@pytest.mark.parametrize("before_the_grant", [True, False])
def test_a_save_cannot_change_what_was_approved(world: World, before_the_grant: bool) -> None:
    spec, run_id, counter = begun(world) if before_the_grant else granted(world)
    run = copy.deepcopy(world.runtime.get_state(run_id))
    assert run.checkpoint is not None
    run.checkpoint = Checkpoint.coerce(run.checkpoint)
    run.checkpoint.open_steps[""].effect["payload"]["sum"] = 8
    run.vars["n"] = 1
    with contextlib.suppress(RevisionConflict):
        world.runtime.run_store.save(run)
    if before_the_grant:
        world.resume(spec, run_id, YES, actor_id="ann")
    else:
        world.tick(spec, run_id)
    state = world.runtime.get_state(run_id)
    # Ours keep their own checkpoint; a pair is given this one, and the grant finds it out.
    assert [payload["sum"] for payload in counter.performed] in ([7], [])
    if not counter.performed:
        assert state.status is RunStatus.FAILED
        assert "ApprovalMismatch" in str(state.error)


def test_what_the_host_writes_into_the_wait_does_not_change_what_is_asked(world: World) -> None:
    spec, run_id, counter = begun(world)
    run = world.runtime.get_state(run_id)
    assert run.waiting is not None
    assert run.waiting.details is not None
    run.waiting.details["approval"]["effect"]["payload"]["sum"] = 8
    world.runtime.run_store.save(run)
    world.resume(spec, run_id, YES, actor_id="ann")
    assert [payload["sum"] for payload in counter.performed] == [7]
