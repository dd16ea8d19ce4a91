"""A folder of JSON files shared with another implementation of its format, and what is checked."""

import json
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Effect, Runtime, StepPlan, WorkflowSpec, open_store
from abstractruntime.core.models import RunState, RunStatus, StepRecord
from abstractruntime.storage import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.paired import pair_of

DAY = "2026-01-01T00:00:00+00:00"


def ask(run: RunState, context: Any) -> StepPlan:
    return StepPlan("ask", Effect("ask_user", {"prompt": "Who?", "wait_key": "who"}, "who"), "end")


def end(run: RunState, context: Any) -> StepPlan:
    return StepPlan("end", complete_output={"who": run.vars["who"], "n": run.vars["n"]})


SPEC = WorkflowSpec("greet", "ask", {"ask": ask, "end": end})

RUN: dict[str, Any] = {
    "run_id": "their-run",
    "workflow_id": "greet",
    "status": "waiting",
    "current_node": "ask",
    "vars": {"n": 1},
    "waiting": {"reason": "user", "wait_key": "who", "resume_to_node": "end", "result_key": "who"},
    "output": None,
    "error": None,
    "created_at": DAY,
    "updated_at": DAY,
    "colour": "red",
}
RECORD: dict[str, Any] = {
    "run_id": "their-run",
    "step_id": "s1",
    "node_id": "ask",
    "status": "waiting",
    "effect": {"type": "ask_user", "payload": {"prompt": "Who?"}, "result_key": "who"},
    "result": {"wait": {"reason": "user", "wait_key": "who"}},
    "started_at": DAY,
    "ended_at": DAY,
    "shape": "round",
}


def theirs(folder: Path) -> None:
    """What another implementation left, indented its own way."""
    (folder / "run_their-run.json").write_text(json.dumps(RUN, indent=4))
    (folder / "ledger_their-run.jsonl").write_text(json.dumps(RECORD) + "\n")


@pytest.mark.parametrize("way", ["url", "stores"])
def test_a_run_of_another_implementation_is_listed_resumed_and_keeps_its_unknown_keys(
    tmp_path: Path, way: str
) -> None:
    theirs(tmp_path)
    store = (
        open_store(f"files:///{tmp_path}")
        if way == "url"
        else pair_of(JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path))
    )
    assert [run.run_id for run in store.list_runs(status=RunStatus.WAITING)] == ["their-run"]
    run = Runtime(store=store).resume(
        workflow=SPEC, run_id="their-run", wait_key="who", payload="Zoë"
    )
    assert (run.status, run.output) == (RunStatus.COMPLETED, {"who": "Zoë", "n": 1})
    saved = json.loads((tmp_path / "run_their-run.json").read_text())
    assert (saved["colour"], saved["status"]) == ("red", "completed")
    lines = (tmp_path / "ledger_their-run.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == RECORD
    assert store.list_runs(status=RunStatus.WAITING) == []


class Simple:
    """The page of the format and nothing more, as another program may read and write it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def runs(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("run_*.json"))]

    def ledger(self, run_id: str) -> list[dict[str, Any]]:
        text = (self.folder / f"ledger_{run_id}.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def answer(self, run_id: str, payload: Any) -> None:
        """Resume by hand: the result stored, the node after it current."""
        path = self.folder / f"run_{run_id}.json"
        run = json.loads(path.read_text())
        run["vars"][run["waiting"]["result_key"]] = payload
        run.update(status="running", current_node=run["waiting"]["resume_to_node"], waiting=None)
        path.write_text(json.dumps(run))


def test_a_run_of_ours_is_moved_by_another_implementation_and_taken_back(tmp_path: Path) -> None:
    store = open_store(f"files:///{tmp_path}")
    runtime = Runtime(store=store)
    run_id = runtime.start(workflow=SPEC, vars={"n": 2})
    runtime.tick(workflow=SPEC, run_id=run_id)
    other = Simple(tmp_path)
    assert [(run["run_id"], run["status"]) for run in other.runs()] == [(run_id, "waiting")]
    assert [record["status"] for record in other.ledger(run_id)] == ["started", "waiting"]
    other.answer(run_id, "Zoë")
    assert [run.run_id for run in store.list_runs(status=RunStatus.RUNNING)] == [run_id]
    run = runtime.tick(workflow=SPEC, run_id=run_id)
    assert (run.status, run.output) == (RunStatus.COMPLETED, {"who": "Zoë", "n": 2})
    kinds = [(record["result"] or {}).get("kind") for record in other.ledger(run_id)]
    assert "edited" in kinds


def test_a_folder_without_its_hidden_folder_is_the_same_folder(tmp_path: Path) -> None:
    import shutil

    with open_store(f"files:///{tmp_path}/a") as store:
        runtime = Runtime(store=store)
        run_id = runtime.start(workflow=SPEC, vars={"n": 3})
        runtime.tick(workflow=SPEC, run_id=run_id)
    shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=shutil.ignore_patterns(".*"))
    with open_store(f"files:///{tmp_path}/b") as store:
        assert [run.run_id for run in store.list_runs()] == [run_id]
        run = Runtime(store=store).resume(
            workflow=SPEC, run_id=run_id, wait_key="who", payload="you"
        )
        assert run.output == {"who": "you", "n": 3}


def test_what_a_person_should_look_at_is_found_and_nothing_else(tmp_path: Path) -> None:
    store = open_store(f"files:///{tmp_path}")
    theirs(tmp_path)
    Runtime(store=store).tick(workflow=SPEC, run_id="their-run")
    long = RunState("é" * 200, "greet", RunStatus.RUNNING, "ask")
    store.run_store.save(long)
    store.ledger_store.append(StepRecord.start(run=long, node_id="ask", effect=None))
    assert store.leftovers(now_s=0) == []
    (tmp_path / "ledger_their-run.jsonl.torn").write_bytes(b'{"cut')
    (tmp_path / "run_half.json").write_text('{"run_id": "half"')
    (tmp_path / "ledger_alone.jsonl").write_text(json.dumps(RECORD) + "\n")
    found = store.leftovers(now_s=0)
    assert [(each.kind, each.name) for each in found] == [
        ("run file", "run_half.json"),
        ("ledger", "ledger_alone.jsonl"),
        ("torn bytes", "ledger_their-run.jsonl.torn"),
    ]
    assert "is not JSON" in found[0].why
    assert [each.path for each in found] == [None] * 3  # nothing of it may be swept away
