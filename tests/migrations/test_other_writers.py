"""A folder that another implementation of the api's page wrote is continued, and the reverse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import (
    Effect,
    JsonFileRunStore,
    JsonlLedgerStore,
    RunStatus,
    Runtime,
    StepPlan,
    WorkflowSpec,
)
from abstractruntime.testing.clock import VirtualClock

RUN_FIELDS = [
    "run_id", "workflow_id", "status", "current_node", "vars", "waiting", "output", "error",
    "created_at", "updated_at", "actor_id", "session_id", "parent_run_id",
]  # fmt: skip
RECORD_FIELDS = [
    "run_id", "step_id", "node_id", "status", "effect", "result", "error", "started_at", "ended_at",
    "actor_id", "session_id", "attempt", "idempotency_key", "prev_hash", "record_hash", "signature",
]  # fmt: skip
WAIT_FIELDS = [
    "reason", "wait_key", "until", "resume_to_node", "result_key", "prompt", "choices",
    "allow_free_text", "details",
]  # fmt: skip
UNKNOWN = {"theirs": {"é": [1, None]}, "priority": 7}


class Theirs:
    """The other implementation: it knows the api's fields and no others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def write_run(self, run_id: str, **given: Any) -> None:
        run: dict[str, Any] = dict.fromkeys(RUN_FIELDS)
        moment = "2026-01-01T00:00:00.000001+00:00"
        run.update(run_id=run_id, workflow_id="w", status="running", current_node="first", vars={})
        run.update(created_at=moment, updated_at=moment, **given)
        text = json.dumps({**run, **UNKNOWN}, indent=2, ensure_ascii=False)
        (self.folder / f"run_{run_id}.json").write_text(text, encoding="utf-8")

    def write_records(self, run_id: str, *records: dict[str, Any]) -> None:
        lines = []
        for number, given in enumerate(records):
            record: dict[str, Any] = dict.fromkeys(RECORD_FIELDS)
            moment = f"2026-01-01T00:00:00.0000{number:02d}+00:00"
            record.update(run_id=run_id, step_id=f"step-{number // 2}", attempt=1)
            record.update(started_at=moment, **given)
            if given["status"] != "started":
                record["ended_at"] = moment
            lines.append(json.dumps({**record, **UNKNOWN}, ensure_ascii=False) + "\n")
        path = self.folder / f"ledger_{run_id}.jsonl"
        path.write_text("".join(lines), encoding="utf-8")

    def read_run(self, run_id: str) -> dict[str, Any]:
        """The run by its known fields, which must come first and in their order."""
        text = (self.folder / f"run_{run_id}.json").read_text(encoding="utf-8")
        run: dict[str, Any] = json.loads(text)
        assert text == json.dumps(run, indent=2, ensure_ascii=False)
        assert list(run)[: len(RUN_FIELDS)] == RUN_FIELDS
        assert run["status"] in {"running", "waiting", "completed", "failed", "cancelled"}
        if run["waiting"] is not None:
            assert list(run["waiting"]) == WAIT_FIELDS
            assert run["waiting"]["reason"] in {"event", "until", "user", "job", "subworkflow"}
        return run

    def read_records(self, run_id: str) -> list[dict[str, Any]]:
        text = (self.folder / f"ledger_{run_id}.jsonl").read_text(encoding="utf-8")
        assert text.endswith("\n")
        records = [json.loads(line) for line in text.split("\n")[:-1]]
        for record in records:
            assert set(RECORD_FIELDS) <= set(record)
            assert record["status"] in {"started", "completed", "waiting", "failed"}
            if record["effect"] is not None:
                assert {"type", "payload", "result_key"} <= set(record["effect"])
        return records


PERFORMED: list[str] = []


def work(name: str) -> dict[str, Any]:
    PERFORMED.append(name)
    return {"did": name}


def calls(name: str, after: str) -> Any:
    effect = Effect("call", {"function": "work", "arguments": {"name": name}}, f"results.{name}")
    return lambda run, context: StepPlan(name, effect, after)


def asks(run: Any, context: Any) -> StepPlan:
    return StepPlan("asks", Effect("wait_event", {"wait_key": "go"}, "answer"), "last")


def end(run: Any, context: Any) -> StepPlan:
    output = {name: value for name, value in run.vars.items() if name != "_limits"}
    return StepPlan("end", complete_output=output)


SPEC = WorkflowSpec(
    "w",
    "first",
    {"first": calls("first", "asks"), "asks": asks, "last": calls("last", "end"), "end": end},
    functions={"work": work},
)
FIRST = {"type": "call", "payload": {"function": "work", "arguments": {"name": "first"}}}
DONE = (
    {"node_id": "first", "status": "started", "effect": {**FIRST, "result_key": "results.first"}},
    {
        "node_id": "first",
        "status": "completed",
        "effect": {**FIRST, "result_key": "results.first"},
        "result": {"did": "first"},
    },
)
ASKED = {"type": "wait_event", "payload": {"wait_key": "go"}, "result_key": "answer"}
WAIT: dict[str, Any] = {
    **dict.fromkeys(WAIT_FIELDS),
    "reason": "event",
    "wait_key": "go",
    "resume_to_node": "last",
    "result_key": "answer",
    "allow_free_text": True,
}
VARS = {"results": {"first": {"did": "first"}}, "their own": "ünïcode\x00"}
OUTPUT = {
    **VARS,
    "answer": {"n": 2**70},
    "results": {"first": {"did": "first"}, "last": {"did": "last"}},
}


@pytest.fixture
def theirs(tmp_path: Path) -> Theirs:
    PERFORMED.clear()
    return Theirs(tmp_path / "runs")


def ours(theirs: Theirs) -> Runtime:
    """This implementation on the same folder, as a new process opens it."""
    return Runtime(
        run_store=JsonFileRunStore(theirs.folder),
        ledger_store=JsonlLedgerStore(theirs.folder),
        context=VirtualClock("2026-02-01T00:00:00.000000+00:00", step=0.001),
    )


def test_a_run_that_they_left_waiting_is_answered_and_ends(theirs: Theirs) -> None:
    waits = (
        {"node_id": "asks", "status": "started", "effect": ASKED},
        {"node_id": "asks", "status": "waiting", "effect": ASKED, "result": {"wait": WAIT}},
    )
    theirs.write_run("r", status="waiting", current_node="asks", vars=VARS, waiting=WAIT)
    theirs.write_records("r", *DONE, *waits)
    before = theirs.read_records("r")
    run = ours(theirs).resume(workflow=SPEC, run_id="r", wait_key="go", payload={"n": 2**70})
    assert run.status is RunStatus.COMPLETED, run.error
    check(theirs, before, ["last"])


def test_a_run_that_they_left_running_is_ticked_to_its_wait_and_its_end(theirs: Theirs) -> None:
    theirs.write_run("r", current_node="asks", vars=VARS)
    theirs.write_records("r", *DONE)
    before = theirs.read_records("r")
    assert ours(theirs).tick(workflow=SPEC, run_id="r").status is RunStatus.WAITING
    seen = theirs.read_run("r")
    assert (seen["status"], seen["waiting"]) == ("waiting", WAIT)
    ours(theirs).resume(workflow=SPEC, run_id="r", wait_key="go", payload={"n": 2**70})
    check(theirs, before, ["last"])


def test_a_run_that_they_only_started_is_run_whole(theirs: Theirs) -> None:
    theirs.write_run("r", vars={"their own": "ünïcode\x00"})
    run = ours(theirs).tick(workflow=SPEC, run_id="r")
    assert run.status is RunStatus.WAITING, run.error
    ours(theirs).resume(workflow=SPEC, run_id="r", wait_key="go", payload={"n": 2**70})
    check(theirs, [], ["first", "last"])


def check(theirs: Theirs, before: list[dict[str, Any]], performed: list[str]) -> None:
    """They can read how it ended, and what was theirs is as they wrote it."""
    run, records = theirs.read_run("r"), theirs.read_records("r")
    assert (run["status"], run["current_node"], run["waiting"]) == ("completed", "end", None)
    output = {name: value for name, value in run["output"].items() if name != "_limits"}
    assert output == OUTPUT
    assert {name: run[name] for name in UNKNOWN} == UNKNOWN
    assert run["created_at"] == "2026-01-01T00:00:00.000001+00:00"
    assert performed == PERFORMED
    assert records[: len(before)] == before
    steps = [(each["node_id"], each["status"]) for each in records if each["effect"] is not None]
    assert len(steps) == 6
    assert records[-1]["result"] == {"completed": True}
    print(f"{len(before)} records were theirs, {len(records) - len(before)} are ours")


def test_they_go_on_with_a_run_that_we_left_waiting(theirs: Theirs) -> None:
    """By the api's fields alone, keeping what they do not know; then we end what they answered."""
    runtime = ours(theirs)
    run_id = runtime.start(workflow=SPEC, vars={"their own": "ünïcode\x00"})
    runtime.tick(workflow=SPEC, run_id=run_id)
    run = theirs.read_run(run_id)
    run["vars"][run["waiting"]["result_key"]] = {"n": 1}
    run.update(status="running", current_node=run["waiting"]["resume_to_node"], waiting=None)
    path = theirs.folder / f"run_{run_id}.json"
    path.write_text(json.dumps(run, indent=2, ensure_ascii=False), encoding="utf-8")
    ended = ours(theirs).tick(workflow=SPEC, run_id=run_id)
    assert ended.status is RunStatus.COMPLETED, ended.error
    assert ended.vars["answer"] == {"n": 1}
    assert PERFORMED == ["first", "last"]
    kinds = [(r["result"] or {}).get("kind") for r in theirs.read_records(run_id)]
    assert "edited" in kinds
