"""abstractagent, a program written for the public api, runs on it as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integrations.processes import program
from tests.integrations.stub import Asked, Stub, tool_call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

AGENT = """
import json, sys
from abstractcore.tools import tool
from abstractagent import ReactAgent
from abstractruntime import JsonFileRunStore, JsonlLedgerStore, open_store
from abstractruntime.integrations.abstractcore import MappingToolExecutor, create_local_runtime

store, url = sys.argv[1], sys.argv[2]

@tool(description="The price of a thing in euros.")
def price_of(thing: str, count: int = 1) -> str:
    with open("executed.txt", "a") as file:
        file.write(f"{thing} {count}\\n")
    return f"{count} x {thing} = {count * 7} EUR"

def agent():
    stores = {"store": "sqlite:///runs.db"}
    if store == "files":
        stores = {
            "run_store": JsonFileRunStore("runs"), "ledger_store": JsonlLedgerStore("runs"),
        }
    runtime = create_local_runtime(
        provider="lmstudio", model="stub-model", llm_kwargs={"base_url": url},
        tool_executor=MappingToolExecutor.from_tools([price_of]), **stores,
    )
    return ReactAgent(runtime=runtime, tools=[price_of], max_iterations=10)
"""

ASKS = """
agent = agent()
agent.start("How much are lamps?")
state = agent.run_to_completion()
agent.save_state("agent.json")
print(json.dumps({
    "status": state.status.value, "error": state.error, "question": agent.get_pending_question(),
    "limits": agent.get_limit_status(), "run_id": agent.run_id,
}))
"""

ANSWERED = """
agent = agent()
agent.load_state("agent.json")
waited = agent.is_waiting()
state = agent.resume("two")
state = agent.run_to_completion() if state.status == "running" else state
ledger = agent.get_ledger()
print(json.dumps({
    "waited": waited, "status": state.status.value, "error": state.error,
    "output": state.output, "limits": agent.get_limit_status(), "ledger": ledger,
    "actor": agent.actor_id, "state_actor": state.actor_id,
}))
"""


def model(asked: Asked, _: int) -> str:
    """Prices one lamp, asks how many, prices so many, says it."""
    if "[price_of]: 2 x lamp" in asked.prompt:
        return "Two lamps are 14 EUR."
    if "[User response]: two" in asked.prompt:
        return tool_call("price_of", thing="lamp", count=2)
    if "[price_of]: 1 x lamp" in asked.prompt:
        return tool_call("ask_user", question="How many?", choices=["one", "two"])
    return tool_call("price_of", thing="lamp")


@pytest.mark.parametrize("store", ["files", "sqlite"])
def test_an_agent_goes_on_in_another_process_after_its_question(
    store: str, stub: Stub, tmp_path: Path
) -> None:
    stub.script = model
    first = program(AGENT + ASKS, tmp_path, store, stub.url)
    assert (first["status"], first["error"]) == ("waiting", None)
    assert first["question"]["prompt"] == "How many?"
    assert first["question"]["choices"] == ["one", "two"]
    assert first["limits"]["iterations"] == {"current": 2, "max": 10, "pct": 20.0, "warning": False}
    second = program(AGENT + ANSWERED, tmp_path, store, stub.url)
    assert (second["waited"], second["status"], second["error"]) == (True, "completed", None)
    assert second["output"]["answer"] == "Two lamps are 14 EUR."
    assert second["output"]["iterations"] == 4
    assert second["limits"]["iterations"] == {
        "current": 4,
        "max": 10,
        "pct": 40.0,
        "warning": False,
    }
    assert second["limits"]["tokens"]["max"] == 32768
    assert second["actor"] == second["state_actor"]
    assert (tmp_path / "executed.txt").read_text() == "lamp 1\nlamp 2\n"
    assert_told(second["ledger"])


def assert_told(ledger: list[dict[str, Any]]) -> None:
    """The ledger tells every call once, in the order it was made."""
    steps = [
        (each["effect"]["type"], each["status"]) for each in ledger if each["effect"] is not None
    ]
    performed = [("llm_call", "started"), ("llm_call", "completed")]
    tools = [("tool_calls", "started"), ("tool_calls", "completed")]
    asked = [("ask_user", "started"), ("ask_user", "waiting")]
    assert steps == performed + tools + performed + asked + performed + tools + performed
    calls = [each for each in ledger if each["effect"] and each["effect"]["type"] == "llm_call"]
    keys = [each["idempotency_key"] for each in calls if each["status"] == "started"]
    assert len(set(keys)) == 4
    assert all(
        each["result"]["metadata"]["call"]["output_tokens"] > 0
        for each in calls
        if each["status"] == "completed"
    )
