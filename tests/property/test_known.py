"""What the machine has found: each the smallest order of actions that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from abstractruntime import RunStatus
from abstractruntime.errors import RevisionConflict
from abstractruntime.testing.crashes import Crash, When
from tests.property.world import World


@contextmanager
def world(kind: str, folder: Path) -> Iterator[World]:
    made = World(kind, folder)
    try:
        yield made
    finally:
        made.close()


def rewind(made: World, run_id: str, node: str = "n0") -> None:
    """The host sets the run running at a node, with what `mend` asks for in its vars."""
    run = made.state(run_id)
    run.status, run.current_node, run.waiting, run.output = RunStatus.RUNNING, node, None, None
    run.error = None
    made.runtime.run_store.save(run)


def performed(made: World, run_id: str) -> list[int]:
    return [count for entry, count in made.programs.performed.items() if entry[0] == run_id]


def test_on_a_ledger_of_plain_dicts_a_rewound_step_is_not_performed_again(tmp_path: Path) -> None:
    with world("asdict plain", tmp_path) as made:
        run_id = made.runtime.start(workflow=made.programs.get("work"))
        made.tick(run_id, "work", False)
        rewind(made, run_id)
        made.tick(run_id, "work", False)
        assert performed(made, run_id) == [1]


@pytest.mark.parametrize("kind", ["memory", "sqlite", "pair", "files", "plain"])
def test_a_run_cancelled_in_a_rewind_and_set_running_recalls_its_steps(
    kind: str, tmp_path: Path
) -> None:
    with world(kind, tmp_path) as made:
        run_id = made.runtime.start(workflow=made.programs.get("work"))
        made.tick(run_id, "work", False)
        rewind(made, run_id)
        made.runtime.cancel_run(run_id)
        rewind(made, run_id)
        made.tick(run_id, "work", False)
        assert performed(made, run_id) == [1]


def test_a_run_that_failed_in_a_rewind_and_was_reopened_recalls_its_steps(tmp_path: Path) -> None:
    program = "brittle+work"
    with world("memory", tmp_path) as made:
        run_id = made.runtime.start(workflow=made.programs.get(program), vars={"mended": True})
        made.tick(run_id, program, False)
        for mended in (False, True):
            run = made.state(run_id)
            run.vars["mended"] = mended
            made.runtime.run_store.save(run)
            if mended:
                made.runtime.reopen(run_id)
            else:
                rewind(made, run_id)
            made.tick(run_id, program, False)
        assert performed(made, run_id) == [1, 1]


def test_a_rewound_run_that_takes_another_way_performs_no_recorded_step_again(
    tmp_path: Path,
) -> None:
    program = "loop+work"  # n0 is visited until it was entered 3, 6, … times
    with world("memory", tmp_path) as made:
        run_id = made.runtime.start(workflow=made.programs.get(program))
        made.tick(run_id, program, False)
        rewind(made, run_id)
        made.tick(run_id, program, False)
        assert made.programs.performed[(run_id, "n1", 1)] == 1


def test_a_void_record_of_a_chained_ledger_is_no_visit(tmp_path: Path) -> None:
    with world("chained pair", tmp_path) as made:
        run_id = made.runtime.start(workflow=made.programs.get("timer"))
        made.tick(run_id, "timer", False)
        made.forward(2)
        made.tick(run_id, "timer", False)
        rewind(made, run_id)
        made.arm(5, When.AFTER)
        with pytest.raises(Crash):
            made.tick(run_id, "timer", False)
        made.begin()
        made.tick(run_id, "timer", False)
        at = made.state(run_id).checkpoint
        assert at is not None
        assert at.visits["n0"] == 2


def test_a_rewind_that_drops_the_checkpoint_voids_no_record_in_the_next_process(
    tmp_path: Path,
) -> None:
    with world("plain", tmp_path) as made:
        run_id = made.runtime.start(workflow=made.programs.get("work"))
        made.tick(run_id, "work", False)
        run = made.state(run_id)
        run.status, run.current_node, run.output = RunStatus.RUNNING, "n0", None
        run.checkpoint = None
        made.runtime.run_store.save(run)
        made.begin()
        made.state(run_id)
        said = made.log(made.store.list_records(run_id))
        assert said[:2] == [("step completed", "n0", 1), ("completed", "end", 1)]


@pytest.mark.parametrize("kind", ["pair", "files"])
def test_an_object_loaded_before_a_commit_of_another_process_is_stale(
    kind: str, tmp_path: Path
) -> None:
    with world(kind, tmp_path) as made:
        run_id = made.runtime.start(workflow=made.programs.get("event"))
        for number in (1, 2):
            run = made.state(run_id)
            run.vars["edits"], run.checkpoint = number, None
            made.runtime.run_store.save(run)
        old = made.state(run_id)
        made.begin()
        made.tick(run_id, "event", False)
        with pytest.raises(RevisionConflict):
            made.runtime.run_store.save(old)


@pytest.mark.parametrize("kind", ["pair", "files"])
def test_a_wait_whose_end_was_void_once_is_a_wait_when_the_run_is_rewound(
    kind: str, tmp_path: Path
) -> None:
    program = "work+child:event"
    with world(kind, tmp_path) as made:
        run_id = made.runtime.start(workflow=made.programs.get(program))
        made.tick(run_id, program, False)
        child = made.store.list_children(parent_run_id=run_id)[0]
        made.runtime.cancel_run(child.run_id)
        made.begin()
        made.fuse.at, made.fuse.when, made.fuse.verb = 1, When.AFTER, "append_many"
        with pytest.raises(Crash):
            made.tick(run_id, program, False)
        made.begin()
        made.tick(run_id, program, False)  # the wait fails, for good this time
        rewind(made, run_id)
        made.tick(run_id, program, False)
        assert made.state(run_id).status is RunStatus.WAITING


@pytest.mark.parametrize("kind", ["memory", "sqlite", "pair", "files", "plain"])
def test_a_step_older_than_the_last_entry_of_the_rewound_node_is_recalled(
    kind: str, tmp_path: Path
) -> None:
    program = "fresh+loop"  # n0 diverges at each rewind, n1 is visited until it was entered 3, 6, …
    with world(kind, tmp_path) as made:
        run_id = made.runtime.start(workflow=made.programs.get(program))
        made.tick(run_id, program, False, max_steps=3)
        for _ in range(3):  # the first one leaves n1:2 ahead of what n0's next entry counts
            rewind(made, run_id)
            made.tick(run_id, program, False)
        assert performed(made, run_id) == [1] * 9
