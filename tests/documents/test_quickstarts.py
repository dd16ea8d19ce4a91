"""The quick starts of the README over two processes: one asks and ends, another answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WORKFLOW = """
import sys
from abstractruntime import (
    Effect, EffectType, JsonFileRunStore, JsonlLedgerStore, Runtime, SqliteLedgerStore,
    SqliteRunStore, StepPlan, WorkflowSpec, open_store,
)

def ask(run, ctx):
    return StepPlan("ask", Effect(EffectType.ASK_USER, {"prompt": "?"}, "user_answer"), "done")

def done(run, ctx):
    return StepPlan("done", complete_output={"answer": run.vars["user_answer"]})

workflow = WorkflowSpec("quick", "ask", {"ask": ask, "done": done})
"""

ASK = """
run_id = runtime.start(workflow=workflow)
assert runtime.tick(workflow=workflow, run_id=run_id).status == "waiting"
print(run_id)
"""

ANSWER = """
state = runtime.get_state(sys.argv[1])
state = runtime.resume(
    workflow=workflow, run_id=state.run_id, wait_key=state.waiting.wait_key,
    payload={"text": "yes"},
)
assert state.output == {"answer": {"text": "yes"}}, state
kinds = [(r["status"], r["node_id"]) for r in runtime.get_ledger(state.run_id) if r["effect"]]
assert kinds == [("started", "ask"), ("waiting", "ask")], kinds
"""

RUNTIMES = {
    "JSON files": (
        'runtime = Runtime(run_store=JsonFileRunStore("./data"), '
        'ledger_store=JsonlLedgerStore("./data"))'
    ),
    "SQLite": 'runtime = Runtime(store=open_store("sqlite:///runs.db"))',
    "views of SQLite": (
        'runtime = Runtime(run_store=SqliteRunStore("runs.db"), '
        'ledger_store=SqliteLedgerStore("runs.db"))'
    ),
}


def python(code: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("store", RUNTIMES)
def test_a_run_that_one_process_left_waiting_is_answered_by_another(
    store: str, tmp_path: Path
) -> None:
    run_id = python(WORKFLOW + RUNTIMES[store] + ASK, tmp_path)
    python(WORKFLOW + RUNTIMES[store] + ANSWER, tmp_path, run_id)
