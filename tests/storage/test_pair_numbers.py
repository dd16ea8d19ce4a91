"""Revisions that a host's saves take: as durable as the saves, and never given out twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.models import RunState, StepRecord
from abstractruntime.errors import RevisionConflict
from abstractruntime.storage.base import RunStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.paired import PairedStore
from abstractruntime.testing.commits import Script
from abstractruntime.testing.contract_base import created
from tests.contract.plain_stores import AsdictLedger, AsdictRuns
from tests.storage.broken_stores import Breaker, Died

Opened = Callable[[], PairedStore]


@pytest.fixture(params=["memory", "files"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Opens one pair as a new process does."""
    if request.param == "files":
        folder = tmp_path / "runs"
        return lambda: PairedStore(JsonFileRunStore(folder), JsonlLedgerStore(folder))
    runs, ledger = InMemoryRunStore(), InMemoryLedgerStore()
    return lambda: PairedStore(runs, ledger)


def given(pair: PairedStore) -> RunState:
    """The run as the pair gives it out."""
    found = pair.load("r")
    assert found is not None
    return found.run


def at(run: RunState | None) -> Checkpoint:
    assert run is not None
    assert isinstance(run.checkpoint, Checkpoint)
    return run.checkpoint


def edit(runs: RunStore, *, bare: bool = False, **vars: object) -> RunState:
    """The host saves what it loaded from its own store, changed, perhaps without checkpoint."""
    run = runs.load("r")
    assert run is not None
    run = replace(run, vars={**run.vars, **vars}, checkpoint=None if bare else run.checkpoint)
    runs.save(run)
    return run


@pytest.mark.parametrize("bare", [False, True])
def test_a_save_takes_a_revision_that_every_process_gives_out(opened: Opened, bare: bool) -> None:
    one = opened()
    script = created(one, "r", vars={"n": 1})
    one.commit(script.begin())
    for n in (2, 3):
        edit(one.run_store, bare=bare, n=n)
    for pair in (one, opened()):
        run = given(pair)
        assert (at(run).revision, at(run).last_commit, run.vars) == (4, 2, {"n": 3})
        assert at(pair.run_store.load("r")).revision == 4
        assert list(at(run).open_steps) == [""]  # the kernel's fields are no host's to change


def test_of_two_objects_loaded_at_once_one_is_saved(opened: Opened) -> None:
    pair = opened()
    created(pair, "r", vars={"n": 1})
    loaded = [given(pair), given(opened()), pair.run_store.load("r")]
    for n, run in enumerate(loaded, 2):
        assert run is not None
        run.vars["n"] = n
        if n == 2:
            pair.run_store.save(run)
            run.vars["again"] = True
            pair.run_store.save(run)  # it carries the new number now
        else:
            with pytest.raises(RevisionConflict):
                pair.run_store.save(run)
    assert given(opened()).vars == {"n": 2, "again": True}


def test_an_edit_past_our_stores_is_no_longer_current_after_another_process_commits(
    tmp_path: Path,
) -> None:
    def opened() -> PairedStore:
        return PairedStore(JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path))

    one = opened()
    created(one, "r", vars={"n": 1})
    path = tmp_path / "run_r.json"
    for n in (2, 3):  # an editor knows of no revisions
        path.write_text(path.read_text().replace(f'"n": {n - 1}', f'"n": {n}'))
        old = given(one)
    other = opened()
    found = other.load("r")
    assert found is not None
    assert at(found.run).revision < at(old).revision  # that number will come again
    for _ in range(2):
        found = other.load("r")
        assert found is not None
        script = Script.of(found, start=50)
        other.commit(script.commit(vars={"n": 4}, records=[script.note("edited")]))
    with pytest.raises(RevisionConflict):
        one.run_store.save(old)
    assert given(opened()).vars == {"n": 4}


@pytest.mark.parametrize("edits", [1, 3])
def test_a_commit_that_a_crash_left_is_redone_beneath_later_edits(
    opened: Opened, edits: int
) -> None:
    pair, breaker = opened(), Breaker()
    script = created(pair, "r", vars={"n": 1})
    pair.commit(script.begin())
    breaker.watch(pair.run_store, "save_marked" if pair.url.count("Json") else "save")
    breaker.break_at(1)
    with pytest.raises(Died):
        pair.commit(script.finish({"said": 1}))
    breaker.mend()
    for n in range(edits):
        edit(pair.run_store, **{f"e{n}": n})
    old = pair.run_store.load("r")
    assert old is not None
    run = given(opened())
    assert run.vars["answer"] == {"said": 1}
    assert run.vars.items() >= {f"e{n}": n for n in range(edits)}.items()
    assert at(run).open_steps == {}
    assert at(run).last_commit == 3
    assert at(run).revision > at(old).revision  # what was loaded before the redo is stale
    with pytest.raises(RevisionConflict):
        pair.run_store.save(old)
    again = opened()
    found = again.load("r")
    assert found is not None
    later = Script.of(found, start=50)
    again.commit(later.begin())
    assert at(given(opened())).revision == at(run).revision + 1


def test_what_the_host_saved_without_checkpoint_hides_no_half_written_commit() -> None:
    runs, ledger = AsdictRuns(), AsdictLedger()
    pair, breaker = PairedStore(runs, ledger), Breaker()
    script = created(pair, "r", vars={"n": 1})
    pair.commit(script.begin())
    breaker.watch(ledger, "append")
    breaker.break_at(2)
    with pytest.raises(Died):
        pair.commit(script.commit(records=[script.note("one"), script.note("two")]))
    breaker.mend()
    edit(runs, bare=True, n=2)
    again = PairedStore(runs, ledger)
    assert given(again).vars == {"n": 2}
    kinds = [(record["result"] or {}).get("kind") for record in again.list_records("r")]
    assert "one" not in kinds
    assert "voided" in kinds
    assert list(at(given(again)).open_steps) == [""]


def test_a_save_between_the_two_writes_of_a_commit_stays_and_so_does_the_commit() -> None:
    runs, ledger = InMemoryRunStore(), InMemoryLedgerStore()
    pair = PairedStore(runs, ledger)
    script = created(pair, "r", vars={"n": 1})
    pair.commit(script.begin())
    append_many = ledger.append_many

    def meanwhile(records: Sequence[StepRecord]) -> None:
        append_many(records)
        edit(runs, host=1)

    ledger.append_many = meanwhile  # type: ignore[method-assign]
    with pytest.raises(RevisionConflict):
        pair.commit(script.finish({"said": 1}))
    ledger.append_many = append_many  # type: ignore[method-assign]
    for one in (pair, PairedStore(runs, ledger)):
        run = given(one)
        assert (run.vars["host"], run.vars["answer"]) == (1, {"said": 1})
        assert at(run).open_steps == {}
        assert at(run).last_commit == 3
