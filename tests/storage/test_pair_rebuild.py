"""A run store that drops checkpoints: what a new process knows of a run, it knows by the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.checkpoint import MAIN, Checkpoint, OpenWait
from abstractruntime.core.models import RunStatus
from abstractruntime.errors import RevisionConflict
from abstractruntime.storage.base import LedgerStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.paired import PairedStore
from abstractruntime.testing.commits import Script, as_seen, evidence_of, steps_of, waiting_for
from abstractruntime.testing.contract_base import created, loaded
from tests.contract.plain_stores import AsdictLedger, DictLedger, DictRuns


@pytest.fixture(params=[AsdictLedger, DictLedger])
def pair(request: pytest.FixtureRequest) -> PairedStore:
    make: Callable[[], LedgerStore] = request.param
    return PairedStore(DictRuns(), make())


def checkpoint_after_restart(pair: PairedStore, run_id: str = "r") -> Checkpoint:
    checkpoint = loaded(PairedStore(pair.run_store, pair.ledger_store), run_id).checkpoint
    assert checkpoint is not None
    return checkpoint


def test_within_one_process_nothing_is_lost(pair: PairedStore) -> None:
    script = created(pair, "r", vars={"n": 1}, kernel={"version": "7", "reports_to": "k"})
    pair.commit(script.begin({"text": "é"}))
    assert as_seen(loaded(pair, "r")) == as_seen(script.state)


def test_an_open_step_is_found_again_with_where_it_goes_on(pair: PairedStore) -> None:
    script = created(pair, "r")
    for commit in steps_of(script, 2):
        pair.commit(commit)
    pair.commit(script.begin({"text": "é"}))
    found = checkpoint_after_restart(pair).open_steps[MAIN]
    step = script.checkpoint.open_steps[MAIN]
    for name in ("step_id", "node_id", "visit", "effect", "key", "started_at", "next_node"):
        assert getattr(found, name) == getattr(step, name), name
    assert found.attempt == 1
    assert found.wake_at is None


def test_a_step_between_two_attempts_is_due_again(pair: PairedStore) -> None:
    script = created(pair, "r")
    pair.commit(script.begin())
    pair.commit(script.commit(records=[script.ended(status="failed", error="no")]))
    found = checkpoint_after_restart(pair).open_steps[MAIN]
    assert (found.attempt, found.next_node) == (2, "second")
    assert found.wake_at is not None


def test_visits_are_counted(pair: PairedStore) -> None:
    script = created(pair, "r")
    for commit in steps_of(script, 3):
        pair.commit(commit)
    assert checkpoint_after_restart(pair).visits == {"first": 3}
    assert checkpoint_after_restart(pair).open_steps == {}
    assert checkpoint_after_restart(pair).entered is False


def test_a_wait_is_found_again(pair: PairedStore) -> None:
    script = created(pair, "r")
    pair.commit(script.begin())
    wait = waiting_for("k", result_key="reply", details={"sub_run_id": "child"})
    ended = script.ended({"wait": {"reason": "event", "wait_key": "k"}}, status="waiting")
    step_id = ended.record["step_id"]
    opened = OpenWait(step_id, step_id, "first", 1, 3, "k", "child")
    kernel = {"open_steps": {}, "waits": {MAIN: opened}}
    pair.commit(
        script.commit(records=[ended], kernel=kernel, status=RunStatus.WAITING, waiting=wait)
    )
    found = checkpoint_after_restart(pair)
    assert found.waits[MAIN].wait_id == step_id
    assert (found.waits[MAIN].key, found.waits[MAIN].child) == ("k", "child")
    assert found.open_steps == {}


def test_a_wait_a_host_opened_has_an_identity_that_stays(pair: PairedStore) -> None:
    created(pair, "r", status=RunStatus.WAITING, waiting=waiting_for("k"))
    first = checkpoint_after_restart(pair).waits[MAIN]
    assert first == checkpoint_after_restart(pair).waits[MAIN]
    assert first.key == "k"


def test_an_ended_run_has_nothing_open(pair: PairedStore) -> None:
    script = created(pair, "r")
    pair.commit(script.begin())
    failed = script.ended(status="failed", error="no")
    pair.commit(script.commit(records=[failed], status=RunStatus.FAILED, error="no"))
    found = checkpoint_after_restart(pair)
    assert (found.open_steps, found.waits, found.driver) == ({}, {}, None)


def test_the_last_generation_counts() -> None:
    pair = PairedStore(DictRuns(), AsdictLedger())
    script = created(pair, "r")
    for generation, visit in ((1, 5), (2, 1)):
        entry = script.started()
        entry.record.update(generation=generation, visit=visit)
        pair.commit(script.commit(records=[entry], kernel=script.opening(entry)))
        pair.commit(script.finish())
    found = checkpoint_after_restart(pair)
    assert found.generation == 2
    assert found.visits["first"] <= 3


def test_evidence_is_counted_again(pair: PairedStore) -> None:
    created(pair, "r")
    pair.keep_evidence(evidence_of("r", 1))
    pair.keep_evidence(evidence_of("r", 2))
    assert checkpoint_after_restart(pair).evidence == 2


def test_the_run_goes_on_in_a_new_process(pair: PairedStore) -> None:
    script = created(pair, "r")
    pair.commit(script.begin({"n": 1}))
    again = PairedStore(pair.run_store, pair.ledger_store)
    found = again.load("r")
    assert found is not None
    later = Script.of(found, start=50)
    later._steps = 10
    again.commit(later.finish({"said": 1}))
    for commit in steps_of(later, 3):
        again.commit(commit)
    assert as_seen(loaded(again, "r")) == as_seen(later.state)
    revisions = [record["revision"] for record in again.list_records("r")]
    assert revisions == sorted(revisions)
    assert revisions[-1] == later.revision
    with pytest.raises(RevisionConflict):
        again.commit(Script.of(found).commit())


# ---- a folder that another implementation of the api wrote


def written_elsewhere(folder: Path, *, waits: bool) -> None:
    """A run of three steps as files with the api's fields only."""
    time = "2025-01-01T00:00:0{}.000000+00:00"
    folder.mkdir()
    wait = {
        "reason": "user",
        "wait_key": "user:r:ask",
        "until": None,
        "resume_to_node": "done",
        "result_key": "reply",
        "prompt": "?",
        "choices": None,
        "allow_free_text": True,
        "details": None,
    }
    run: dict[str, Any] = {
        "run_id": "r",
        "workflow_id": "flow",
        "status": "waiting" if waits else "running",
        "current_node": "ask" if waits else "work",
        "vars": {"n": 1, "é": "ü"},
        "waiting": wait if waits else None,
        "output": None,
        "error": None,
        "created_at": time.format(0),
        "updated_at": time.format(9),
        "actor_id": None,
        "session_id": None,
        "parent_run_id": None,
    }
    (folder / "run_r.json").write_text(json.dumps(run, indent=2, ensure_ascii=False))
    lines = []
    for number, (node, status) in enumerate(
        [("work", "completed"), ("work", "completed"), ("ask", "waiting")][: 2 + waits]
    ):
        record: dict[str, Any] = {
            "run_id": "r",
            "step_id": f"s{number}",
            "node_id": node,
            "status": "started",
            "effect": {"type": "call", "payload": {"n": number}, "result_key": "n"},
            "result": None,
            "error": None,
            "started_at": time.format(number * 2),
            "ended_at": None,
            "actor_id": None,
            "session_id": None,
            "attempt": 1,
            "idempotency_key": f"k{number}",
            "prev_hash": None,
            "record_hash": None,
            "signature": None,
        }
        result = {"wait": wait} if status == "waiting" else {"n": number}
        ended = {
            **record, "status": status, "result": result, "ended_at": time.format(number * 2 + 1)
        }  # fmt: skip
        lines += [json.dumps(record), json.dumps(ended)]
    (folder / "ledger_r.jsonl").write_text("".join(line + "\n" for line in lines))


def test_a_foreign_folder_is_taken_up(tmp_path: Path) -> None:
    written_elsewhere(tmp_path / "runs", waits=True)
    pair = PairedStore(JsonFileRunStore(tmp_path / "runs"), JsonlLedgerStore(tmp_path / "runs"))
    run = loaded(pair, "r")
    assert run.vars == {"n": 1, "é": "ü"}
    assert run.checkpoint is not None
    assert run.checkpoint.revision >= 1
    assert run.checkpoint.visits == {"work": 2, "ask": 1}
    assert run.checkpoint.waits[MAIN].step_id == "s2"
    revisions = [record["revision"] for record in pair.list_records("r")]
    assert revisions == sorted(revisions)
    assert max(revisions) <= run.checkpoint.revision


def test_a_run_of_a_foreign_folder_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    written_elsewhere(folder, waits=False)
    pair = PairedStore(JsonFileRunStore(folder), JsonlLedgerStore(folder))
    found = pair.load("r")
    assert found is not None
    script = Script.of(found, start=50)
    for commit in steps_of(script, 2):
        pair.commit(commit)
    again = PairedStore(JsonFileRunStore(folder), JsonlLedgerStore(folder))
    assert as_seen(loaded(again, "r")) == as_seen(script.state)
    records = again.list_records("r")
    assert len(records) == 8
    new = [record["revision"] for record in again.list_records("r", after=found_revision(found))]
    assert len(new) == 4


def found_revision(found: Any) -> int:
    revision: int = found.run.checkpoint.revision
    return revision
