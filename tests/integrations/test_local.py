"""Models in the process: a real provider of AbstractCore against a model that answers by a script.

AbstractCore sets up the root logger when it is imported, so each test has a process of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integrations.processes import program
from tests.integrations.stub import Asked, Reply, Stub, tool_call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

RUN = """
import asyncio, json, sys
from abstractcore.core.retry import RetryConfig
from abstractcore.tools import register_tool
from abstractruntime import Effect, RetryPolicy, StepPlan, WorkflowSpec
from abstractruntime.integrations.abstractcore import create_local_runtime, tool_definition

provider, url, awaiting = sys.argv[1], sys.argv[2], sys.argv[3] == "awaiting"

def add(a: int, b: int = 1) -> int:
    "Add two numbers."
    return a + b

register_tool(add)

def ask(run, ctx):
    payload = {
        "prompt": "How much?", "tools": [tool_definition(add)],
        "params": {"base_url": "http://nowhere", "max_tokens": 50},
    }
    return StepPlan("ask", Effect("llm_call", payload, "said"), "act")

def act(run, ctx):
    calls = run.vars["said"]["tool_calls"]
    return StepPlan("act", Effect("tool_calls", {"tool_calls": calls}, "done"), "end")

def end(run, ctx):
    return StepPlan("end", complete_output={"said": run.vars["said"], "done": run.vars["done"]})

spec = WorkflowSpec("w", "ask", {"ask": ask, "act": act, "end": end})
runtime = create_local_runtime(
    provider=provider, model="stub-model", awaiting=awaiting, store="memory://",
    llm_kwargs={
        "base_url": url, "api_key": "canary-2f9d10aa", "retry_config": RetryConfig.single_attempt(),
    },
    effect_policy=RetryPolicy(backoff_base=0.0),
)

def run():
    run_id = runtime.start(workflow=spec)
    if awaiting:
        state = asyncio.run(runtime.atick(workflow=spec, run_id=run_id))
    else:
        state = runtime.tick(workflow=spec, run_id=run_id)
    return {
        "status": state.status.value, "error": state.error, "output": state.output,
        "limits": state.vars["_limits"], "ledger": runtime.get_ledger(run_id),
    }
"""

ONCE = RUN + "print(json.dumps(run()))\n"


@pytest.mark.parametrize(
    ("provider", "way"),
    [("lmstudio", "blocking"), ("lmstudio", "awaiting"), ("openai-compatible", "blocking")],
)
def test_a_model_in_the_process_calls_a_tool_of_the_registry(
    provider: str, way: str, stub: Stub, tmp_path: Path
) -> None:
    stub.says(Reply(status=503, raw="{}"), tool_call("add", a=2, b=3))
    found = program(ONCE, tmp_path, provider, stub.url, way)
    assert (found["status"], found["error"]) == ("completed", None)
    said, (result,) = found["output"]["said"], found["output"]["done"]["results"]
    (call,) = said["tool_calls"]
    assert (call["name"], call["arguments"]) == ("add", {"a": 2, "b": 3})
    assert said["content"] == ""
    assert (result["name"], result["success"], result["output"]) == ("add", True, 5)
    assert (said["model"], said["data"]) == ("stub-model", None)
    assert said["metadata"]["call"]["output_tokens"] > 0
    assert not [name for name in said["metadata"] if name.startswith("_")]
    assert "add" in stub.chats[0].prompt
    assert stub.chats[0].body["max_tokens"] == 50
    assert found["limits"]["max_tokens"] > 0
    assert "canary-2f9d10aa" in stub.chats[0].headers["authorization"]
    assert "canary-2f9d10aa" not in str(found)


FAILING = (
    RUN
    + """
from abstractruntime.integrations.abstractcore import LocalAbstractCoreLLMClient

said = []
for _ in range(int(sys.argv[4])):
    # A provider that failed often refuses to try for a while: each reply meets a new one.
    client = LocalAbstractCoreLLMClient(
        provider=provider, model="stub-model",
        llm_kwargs={"base_url": url, "retry_config": RetryConfig.single_attempt()},
    )
    for way in (client.generate, lambda **asked: asyncio.run(client.agenerate(**asked))):
        try:
            way(prompt="x")
        except Exception as error:
            said.append([type(error).__name__, getattr(error, "retry_after", None)])
print(json.dumps(said))
"""
)


def test_failures_of_a_provider_that_may_pass_are_told_from_those_that_do_not(
    stub: Stub, tmp_path: Path
) -> None:
    expected: list[tuple[Reply, Any]] = [
        (Reply(status=429, raw="{}", headers={"Retry-After": "7"}), ["RetryableError", 7.0]),
        (Reply(status=500, raw="{}"), ["RetryableError", None]),
        (Reply("cut short", cut=True), ["RetryableError", None]),
        (Reply(raw="<html>"), ["RetryableError", None]),
        (Reply(status=400, raw="{}"), ["TerminalError", None]),
        (Reply(status=401, raw="{}"), ["TerminalError", None]),
    ]
    stub.script = lambda asked, n: expected[min(n // 2, len(expected) - 1)][0]
    count = str(len(expected))
    said = program(FAILING, tmp_path, "openai-compatible", stub.url, "blocking", count)
    assert said == [fault for _, fault in expected for _ in range(2)]


LOOPS = (
    RUN
    + """
said = [run()["output"]["done"] for _ in range(2)]
print(json.dumps(said[0] == said[1]))
"""
)


def test_a_model_is_awaited_on_one_event_loop_after_another(stub: Stub, tmp_path: Path) -> None:
    stub.says(tool_call("add", a=1))
    assert program(LOOPS, tmp_path, "openai-compatible", stub.url, "awaiting") is True


CONCURRENT = (
    RUN
    + """
async def all_of_them():
    ids = [runtime.start(workflow=spec) for _ in range(int(sys.argv[4]))]
    states = await asyncio.gather(*(runtime.atick(workflow=spec, run_id=each) for each in ids))
    return [state.status.value for state in states]

print(json.dumps(asyncio.run(all_of_them())))
"""
)


def test_many_runs_call_their_model_at_the_same_time(stub: Stub, tmp_path: Path) -> None:
    """The stub holds every answer back until all of them have been asked for."""
    import threading

    runs = 40
    together = threading.Barrier(runs, timeout=30)

    def script(asked: Asked, _: int) -> str:
        together.wait()
        return tool_call("add", a=1)

    stub.script = script
    found = program(CONCURRENT, tmp_path, "openai-compatible", stub.url, "awaiting", str(runs))
    assert found == ["completed"] * runs
    assert not together.broken
