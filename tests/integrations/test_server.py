"""Remote and hybrid against a real AbstractCore server, with a scripted model behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Effect, RunStatus, Runtime, StepPlan, WaitReason, WorkflowSpec
from abstractruntime.integrations.abstractcore import (
    PassthroughToolExecutor,
    create_remote_file_runtime,
    create_remote_runtime,
    tool_definition,
)
from tests.integrations.processes import TOKEN, Server, abstractcore_server, program
from tests.integrations.stub import Stub, tool_call

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60),
    pytest.mark.xdist_group("abstractcore server"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with abstractcore_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


def workflow(url: str) -> WorkflowSpec:
    params = {"base_url": url}

    def ask(run: Any, ctx: Any) -> StepPlan:
        payload = {"prompt": "2 + 3?", "tools": [tool_definition(add)], "params": params}
        return StepPlan("ask", Effect("llm_call", payload, "said"), "act")

    def act(run: Any, ctx: Any) -> StepPlan:
        calls = run.vars["said"]["tool_calls"]
        return StepPlan("act", Effect("tool_calls", {"tool_calls": calls}, "done"), "tell")

    def tell(run: Any, ctx: Any) -> StepPlan:
        said = str(run.vars["done"]["results"][0]["output"])
        payload = {"prompt": f"It is {said}.", "params": params}
        return StepPlan("tell", Effect("llm_call", payload, "told"), "end")

    def end(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("end", complete_output={"told": run.vars["told"]["content"]})

    return WorkflowSpec("sum", "ask", {"ask": ask, "act": act, "tell": tell, "end": end})


def go(runtime: Runtime, spec: WorkflowSpec) -> Any:
    run_id = runtime.start(workflow=spec, actor_id="actor", session_id="session")
    return runtime.tick(workflow=spec, run_id=run_id)


@pytest.mark.parametrize(
    ("mode", "reason"), [("passthrough", WaitReason.EVENT), ("job", WaitReason.JOB)]
)
def test_a_host_executes_the_tools_of_a_remote_model(
    mode: str, reason: WaitReason, server: Server, stub: Stub, tmp_path: Path
) -> None:
    stub.says(tool_call("add", a=2, b=3), "Five.")
    runtime = create_remote_file_runtime(
        base_dir=tmp_path,
        server_base_url=server.url,
        model="lmstudio/stub-model",
        headers=server.headers,
        tool_executor=PassthroughToolExecutor(mode=mode),
    )
    spec = workflow(stub.url)
    state = go(runtime, spec)
    assert (state.status, state.error) == (RunStatus.WAITING, None)
    assert (state.waiting.reason, state.waiting.details["mode"]) == (reason, mode)
    (call,) = state.waiting.details["tool_calls"]
    results = [{**call, "success": True, "output": add(**call["arguments"]), "error": None}]
    state = runtime.resume(
        workflow=spec,
        run_id=state.run_id,
        wait_key=state.waiting.wait_key,
        payload={"mode": "executed", "results": results},
    )
    assert state.output == {"told": "Five."}
    assert "It is 5." in stub.chats[-1].prompt
    assert state.vars["said"]["trace_id"]
    assert TOKEN not in "".join(path.read_text() for path in tmp_path.rglob("*.json*"))


HYBRID = """
import json, sys
from abstractcore.tools import register_tool
from abstractruntime.integrations.abstractcore import create_hybrid_runtime
from tests.integrations.test_server import add, go, workflow

register_tool(add)
runtime = create_hybrid_runtime(
    server_base_url=sys.argv[1], model="openai-compatible/stub-model",
    headers=json.loads(sys.argv[3]), run_store="sqlite:///runs.db",
)
state = go(runtime, workflow(sys.argv[2]))
print(json.dumps({"output": state.output, "error": state.error, "done": state.vars["done"]}))
"""


def test_tools_of_a_remote_model_are_executed_here(
    server: Server, stub: Stub, tmp_path: Path
) -> None:
    import json

    stub.says(tool_call("add", a=2, b=3), "Five.")
    repository = str(Path(__file__).resolve().parents[2])
    headers = json.dumps(server.headers)
    found = program(HYBRID, tmp_path, server.url, stub.url, headers, PYTHONPATH=repository)
    assert (found["output"], found["error"]) == ({"told": "Five."}, None)
    (result,) = found["done"]["results"]
    assert (result["success"], result["output"]) == (True, 5)
    assert "It is 5." in stub.chats[-1].prompt


def test_a_server_that_lets_nobody_in_fails_the_run_at_once(server: Server, stub: Stub) -> None:
    runtime = create_remote_runtime(server_base_url=server.url, model="lmstudio/stub-model")
    state = go(runtime, workflow(stub.url))
    assert state.status is RunStatus.FAILED
    assert "answered 401" in state.error
    assert stub.chats == []
