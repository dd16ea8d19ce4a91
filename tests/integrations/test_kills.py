"""A process that is killed inside a model call: what runs again, and under which key."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.processes import environment, program
from tests.integrations.stub import MODEL, Asked, Stub, tool_call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "react_agent.py"


def killed_inside_a_call(
    command: list[str], stub: Stub, folder: Path, answer: Any, inside: int, **env: str
) -> None:
    """Start the command, and kill it while its call number `inside` waits for the answer."""
    called, let_go = threading.Event(), threading.Event()

    def script(asked: Asked, n: int) -> Any:
        if n == inside:
            called.set()
            let_go.wait(30)
        return answer(asked, n)

    stub.script = script
    started = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder, **env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert called.wait(40)
    finally:
        started.kill()
        started.wait()
        let_go.set()
    stub.script = answer


TWO_CALLS = """
import json, os, sys
from abstractruntime import Effect, StepPlan, WorkflowSpec
from abstractruntime.integrations.abstractcore import create_remote_runtime

def first(run, ctx):
    return StepPlan("first", Effect("llm_call", {"prompt": "one"}, "one"), "second")

def second(run, ctx):
    return StepPlan("second", Effect("llm_call", {"prompt": "two"}, "two"), "end")

def end(run, ctx):
    return StepPlan("end", complete_output={n: run.vars[n]["content"] for n in ("one", "two")})

spec = WorkflowSpec("w", "first", {"first": first, "second": second, "end": end})
runtime = create_remote_runtime(
    server_base_url=sys.argv[1], model="stub-model", store="sqlite:///runs.db"
)
if len(sys.argv) > 2:
    from abstractruntime.integrations.abstractcore import RemoteAbstractCoreLLMClient

    read = RemoteAbstractCoreLLMClient._read

    def answered(self, body, started):
        answer = read(self, body, started)
        if answer["content"] == "said two":
            os.kill(os.getpid(), 9)
        return answer

    RemoteAbstractCoreLLMClient._read = answered
live = runtime.store.list_runs()
run_id = live[0].run_id if live else runtime.start(workflow=spec)
state = runtime.tick(workflow=spec, run_id=run_id)
print(json.dumps({"output": state.output, "error": state.error}))
"""


def test_a_call_that_was_cut_short_is_made_again_under_its_key(stub: Stub, tmp_path: Path) -> None:
    def answer(asked: Asked, _: int) -> str:
        return f"said {asked.prompt}"

    command = [sys.executable, "-c", TWO_CALLS, stub.origin]
    killed_inside_a_call(command, stub, tmp_path, answer, inside=1)
    found = program(TWO_CALLS, tmp_path, stub.origin)
    assert found == {"output": {"one": "said one", "two": "said two"}, "error": None}
    assert [asked.prompt for asked in stub.chats] == ["one", "two", "two"]
    first, second, again = (asked.headers["idempotency-key"] for asked in stub.chats)
    assert second == again
    assert first != second


def test_an_answer_that_was_not_committed_is_asked_for_again_under_its_key(
    stub: Stub, tmp_path: Path
) -> None:
    stub.script = lambda asked, _: f"said {asked.prompt}"
    died = subprocess.run(
        [sys.executable, "-c", TWO_CALLS, stub.origin, "die"],
        cwd=tmp_path,
        env=environment(tmp_path),
        check=False,
    )
    assert died.returncode == -9
    found = program(TWO_CALLS, tmp_path, stub.origin)
    assert found == {"output": {"one": "said one", "two": "said two"}, "error": None}
    keys = [asked.headers["idempotency-key"] for asked in stub.chats]
    assert len(keys) == 3
    assert keys[1] == keys[2]


def test_the_agent_of_the_examples_goes_on_after_it_was_killed(stub: Stub, tmp_path: Path) -> None:
    def answer(asked: Asked, _: int) -> str:
        if "[answer] please" in asked.prompt:
            return "All is written."
        if "[result of write_file]" in asked.prompt:
            return tool_call("ask_a_person", question="Shall I stop?")
        return tool_call("write_file", path="a.txt", content="x")

    env = {"MODEL": MODEL, "MODEL_URL": stub.url}
    command = [sys.executable, "-W", "ignore", str(EXAMPLE), "write something"]
    killed_inside_a_call(command, stub, tmp_path, answer, inside=1, **env)
    assert (tmp_path / "workspace" / "a.txt").read_text() == "x"
    (tmp_path / "workspace" / "a.txt").write_text("changed since")
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(tmp_path, **env),
        input="please\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Shall I stop?" in done.stdout
    assert "completed {'answer': 'All is written.', 'turns': 3}" in done.stdout
    # The tool's result was committed, so it was not executed again.
    assert (tmp_path / "workspace" / "a.txt").read_text() == "changed since"
    assert len(stub.chats) == 4
