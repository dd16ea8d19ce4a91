"""Two processes on one folder of JSON files: each sees what the other did, whole or half-way."""

import os
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Effect, Runtime, StepPlan, WorkflowSpec, open_store
from abstractruntime.core.commit import Commit, Loaded
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.errors import RevisionConflict, StoreCorrupt
from abstractruntime.storage.base import Store
from abstractruntime.storage.json_files import JsonlLedgerStore
from abstractruntime.storage.ledger_chain import verify_ledger_chain
from abstractruntime.storage.paired import PairedStore
from abstractruntime.testing.commits import Script, evidence_of, waiting_for
from abstractruntime.testing.contract_base import created
from bench.speed import loop_workflow
from tests.storage.broken_stores import Breaker, Died
from tests.storage.test_files_locks import is_free_elsewhere


def opened(folder: Path) -> PairedStore:
    """The folder as a process sees it."""
    store = open_store(f"files:///{folder}")
    assert isinstance(store, PairedStore)
    return store


@pytest.fixture
def one(tmp_path: Path) -> PairedStore:
    return opened(tmp_path)


@pytest.fixture
def two(tmp_path: Path) -> PairedStore:
    return opened(tmp_path)


def loaded(store: Store, run_id: str) -> Loaded:
    found = store.load(run_id)
    assert found is not None
    return found


def revision(store: Store, run_id: str = "r") -> int:
    run = loaded(store, run_id).run
    assert run.checkpoint is not None
    return run.checkpoint.revision


def dies(store: PairedStore, commit: Commit, *, at: str) -> None:
    """The process of `store` dies in the commit, before this call does its work."""
    breaker = Breaker()
    breaker.watch(store.run_store, "save_marked")
    breaker.watch(store.ledger_store, "append_many")
    breaker.break_at({"append_many": 1, "save_marked": 2}[at])
    with pytest.raises(Died):
        store.commit(commit)


def kinds(store: Store, run_id: str = "r") -> list[str]:
    results = [record["result"] or {} for record in store.list_records(run_id)]
    return [result["kind"] for result in results if "kind" in result]


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a whole ledger is an error, when there is anything in it."""

    def refuse(store: JsonlLedgerStore, run_id: str) -> list[Any]:
        assert not store.path(run_id).exists(), "a whole ledger was read"
        return []

    monkeypatch.setattr(JsonlLedgerStore, "list", refuse)


# ---- what the other did


def test_of_two_that_commit_on_the_same_revision_the_second_is_refused(
    one: PairedStore, two: PairedStore
) -> None:
    script = created(one, "r")
    other = Script.of(loaded(two, "r"))
    one.commit(script.begin())
    with pytest.raises(RevisionConflict) as caught:
        two.commit(other.begin())
    assert caught.value.where == {"run_id": "r", "expected": 1, "found": 2}
    assert revision(two) == revision(one) == 2
    assert len(two.list_records("r")) == 1


def test_from_check_to_write_no_other_process_can_have_the_run(
    tmp_path: Path, one: PairedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, free = created(one, "r"), []
    for store, name in ((one.ledger_store, "append_many"), (one.run_store, "save_marked")):
        real = getattr(store, name)

        def spy(*arguments: Any, _real: Any = real) -> Any:
            free.append(is_free_elsewhere(tmp_path))
            return _real(*arguments)

        monkeypatch.setattr(store, name, spy)
    one.commit(script.begin())
    assert free == [False, False]
    assert is_free_elsewhere(tmp_path)


def test_two_that_create_the_same_run_make_it_once(one: PairedStore, two: PairedStore) -> None:
    assert two.load("r") is None
    created(one, "r")
    with pytest.raises(RevisionConflict):
        two.commit(Script("r").commit())


def test_processes_that_take_turns_read_no_whole_ledger(
    one: PairedStore, two: PairedStore, unread: None
) -> None:
    created(one, "r")
    for turn in range(6):
        store = (one, two)[turn % 2]
        script = Script.of(loaded(store, "r"))
        store.commit(script.begin())
        store.commit(script.finish({"turn": turn}))
    assert revision(one) == revision(two) == 13


def test_a_new_process_moves_a_long_run_without_reading_its_ledger(
    tmp_path: Path, unread: None
) -> None:
    work = loop_workflow(100)
    run_id = Runtime(store=opened(tmp_path)).start(workflow=work)
    for _ in range(5):
        Runtime(store=opened(tmp_path)).tick(workflow=work, run_id=run_id, max_steps=20)
    run = Runtime(store=opened(tmp_path)).tick(workflow=work, run_id=run_id, max_steps=20)
    assert run.output == {"n": 101}


def test_evidence_that_another_process_keeps_is_counted_and_moves_no_revision(
    one: PairedStore, two: PairedStore
) -> None:
    script = created(one, "r")
    one.commit(script.begin())
    assert revision(two) == 2
    one.keep_evidence(evidence_of("r", 1))
    run = loaded(two, "r").run
    assert run.checkpoint is not None
    assert (run.checkpoint.revision, run.checkpoint.evidence) == (2, 1)
    assert two.list_evidence("r") == [evidence_of("r", 1)]
    two.commit(Script.of(loaded(two, "r")).finish({"ok": True}))
    assert revision(one) == 3


def test_a_store_tells_that_another_process_has_written(one: PairedStore, two: PairedStore) -> None:
    script = created(one, "r")
    before = two.changes()
    assert two.changes() == before
    one.commit(script.commit(status=RunStatus.WAITING, waiting=waiting_for("k")))
    assert two.changes() != before
    assert [run.run_id for run in two.list_runs(status=RunStatus.WAITING)] == ["r"]


def test_an_edit_that_is_saved_in_one_process_is_noticed_in_the_other(
    one: PairedStore, two: PairedStore
) -> None:
    created(one, "r")
    stale = Script.of(loaded(two, "r"))
    run = one.run_store.load("r")
    assert run is not None
    run.vars["edited"] = True
    one.run_store.save(run)
    with pytest.raises(RevisionConflict):
        two.commit(stale.begin())
    assert two.edited("r", loaded(two, "r"))
    assert loaded(two, "r").run.vars["edited"] is True


def test_a_second_edit_is_noticed_though_the_ledger_grew_with_it(
    one: PairedStore, two: PairedStore
) -> None:
    created(one, "r")
    for turn in (1, 2):
        run = one.run_store.load("r")
        assert run is not None
        run.vars["edited"] = turn
        one.run_store.save(run)
        if turn == 1:
            stale = Script.of(loaded(two, "r"))
    one.keep_evidence(evidence_of("r", 1))
    with pytest.raises(RevisionConflict):
        two.commit(stale.begin())
    assert loaded(two, "r").run.vars["edited"] == 2


# ---- what the other left half-way


def test_an_outcome_whose_process_died_before_it_saved_the_run_is_redone_by_one_that_knew_it(
    one: PairedStore, two: PairedStore
) -> None:
    script = created(one, "r")
    one.commit(script.begin())
    assert revision(two) == revision(two)
    stale = Script.of(loaded(two, "r"))
    dies(one, script.finish({"paid": 7}), at="save_marked")
    with pytest.raises(RevisionConflict):
        two.commit(stale.finish({"paid": "twice"}))
    run = loaded(two, "r").run
    assert run.checkpoint is not None
    assert (run.checkpoint.revision, run.checkpoint.open_steps) == (3, {})
    assert [record["result"] for record in two.list_records("r")] == [None, {"paid": 7}]


def test_a_commit_whose_process_died_before_it_wrote_anything_never_was(
    one: PairedStore, two: PairedStore
) -> None:
    script = created(one, "r")
    assert revision(two) == 1
    dies(one, script.begin(), at="append_many")
    assert revision(two) == 1
    two.commit(Script.of(loaded(two, "r")).begin())
    assert len(two.list_records("r")) == 1


@pytest.mark.parametrize("known", [True, False], ids=["known", "new process"])
@pytest.mark.parametrize("whole", [0, 1], ids=["torn at once", "torn behind a whole line"])
def test_a_torn_commit_is_set_aside_and_the_ledger_says_so(
    tmp_path: Path, one: PairedStore, known: bool, whole: int
) -> None:
    script = created(one, "r")
    one.commit(script.begin())
    two = opened(tmp_path)
    assert not known or revision(two) == 2
    path = tmp_path / "ledger_r.jsonl"
    before, run = path.read_bytes(), (tmp_path / "run_r.json").read_bytes()
    one.commit(script.commit(records=[script.note("a"), script.note("b")]))
    lines = path.read_bytes()[len(before) :].splitlines(keepends=True)
    torn = lines[whole][:40]
    path.write_bytes(before + b"".join(lines[:whole]) + torn)
    (tmp_path / "run_r.json").write_bytes(run)
    assert two.load("r") is not None

    found = kinds(two)
    assert found[-1] == "torn"
    result = two.list_records("r")[-1]["result"]
    assert result == {"kind": "torn", "file": "ledger_r.jsonl.torn", "bytes": len(torn)}
    assert (tmp_path / "ledger_r.jsonl.torn").read_bytes() == torn
    assert kinds(opened(tmp_path)) == found  # said once
    step = Script.of(loaded(two, "r"))
    two.commit(step.commit(records=[step.note("goes on")]))
    assert kinds(opened(tmp_path))[-1] == "goes on"


def ask(run: RunState, context: Any) -> StepPlan:
    return StepPlan("ask", Effect("wait_event", {"wait_key": "go"}, "answer"), "end")


ASK = WorkflowSpec(
    "ask",
    "ask",
    {"ask": ask, "end": lambda run, context: StepPlan("end", complete_output=run.vars)},
)


def test_an_answer_torn_in_mid_write_is_given_again_and_the_chain_verifies(tmp_path: Path) -> None:
    runtime = Runtime(store=opened(tmp_path))
    run_id = runtime.start(workflow=ASK)
    runtime.tick(workflow=ASK, run_id=run_id)
    ledger, file = tmp_path / f"ledger_{run_id}.jsonl", tmp_path / f"run_{run_id}.json"
    size, before = ledger.stat().st_size, file.read_bytes()
    runtime.resume(workflow=ASK, run_id=run_id, wait_key="go", payload=1)
    ledger.write_bytes(ledger.read_bytes()[: size + 50])
    file.write_bytes(before)

    store = opened(tmp_path)
    run = Runtime(store=store).resume(workflow=ASK, run_id=run_id, wait_key="go", payload=2)
    assert run.status is RunStatus.COMPLETED
    assert run.output is not None
    assert run.output["answer"] == 2
    assert kinds(store, run_id)[:2] == ["torn", "resumed"]
    assert verify_ledger_chain(opened(tmp_path).list_records(run_id))["ok"]


def test_a_torn_line_on_a_folder_that_may_only_be_read_does_not_stop_the_reader(
    tmp_path: Path, one: PairedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = created(one, "r")
    one.commit(script.begin())
    path = tmp_path / "ledger_r.jsonl"
    path.write_bytes(path.read_bytes() + b'{"torn')
    open_file = os.open

    def read_only(name: Any, flags: int, *rest: Any) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY) and "ledger" in str(name):
            raise PermissionError(13, "Permission denied")
        return open_file(name, flags, *rest)

    monkeypatch.setattr(os, "open", read_only)
    assert revision(opened(tmp_path)) == 2


# ---- what is missing


def test_a_ledger_without_its_run_file_is_refused_by_name_and_nothing_is_written_over_it(
    tmp_path: Path, one: PairedStore
) -> None:
    script = created(one, "r")
    one.commit(script.begin())
    before = (tmp_path / "ledger_r.jsonl").read_bytes()
    (tmp_path / "run_r.json").unlink()
    for store in (one, opened(tmp_path)):
        for use in (lambda: store.load("r"), lambda: store.commit(Script("r").commit())):  # noqa: B023
            with pytest.raises(StoreCorrupt, match=r"file of run 'r' is gone.*ledger_r\.jsonl"):
                use()
    assert (tmp_path / "ledger_r.jsonl").read_bytes() == before
    assert not (tmp_path / "run_r.json").exists()


def test_a_creation_that_a_crash_cut_short_can_be_made_again(
    tmp_path: Path, one: PairedStore
) -> None:
    script = Script("r")
    dies(one, script.commit(records=[script.note("born")]), at="save_marked")
    store = opened(tmp_path)
    assert store.load("r") is None
    again = Script("r")
    store.commit(again.commit(records=[again.note("born")]))
    assert revision(store) == 1
