"""An agent that sends its whole conversation each turn costs on disk what each turn added."""

from __future__ import annotations

import random
import string
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Effect, RunState, Runtime, StepPlan, WorkflowSpec, open_store
from abstractruntime.integrations.abstractcore import build_effect_handlers

TURNS = 200
ANSWER = 1000
"""Characters that each turn adds, too random to be packed."""

ALLOWED = 12 * ANSWER
"""Bytes on disk per turn: the answer stands in the ledger, in the next payload and in vars."""


class Talkative:
    """A model whose answers are all new."""

    def __init__(self) -> None:
        self._random = random.Random(1)

    def generate(self, *, prompt: str, **asked: Any) -> dict[str, Any]:
        content = "".join(self._random.choices(string.ascii_letters, k=ANSWER))
        return {"content": content, "tool_calls": []}


def think(run: RunState, ctx: Any) -> StepPlan:
    first = {"role": "user", "content": "task"}
    context = run.vars.setdefault("context", {"messages": [first]})
    counters = run.vars.setdefault("scratchpad", {"iteration": 0})
    said = run.vars.setdefault("_temp", {}).pop("said", None)
    if said is not None:
        message = {"role": "assistant", "content": said["content"], "timestamp": ctx.now_iso()}
        context["messages"].append({**message, "metadata": {}})
        counters["iteration"] += 1
    if counters["iteration"] == TURNS:
        return StepPlan("think", complete_output={"turns": TURNS})
    asked = Effect("llm_call", {"messages": context["messages"]}, "_temp.said")
    return StepPlan("think", asked, "think")


@pytest.mark.slow
def test_a_long_conversation_grows_by_its_turns_alone(tmp_path: Path) -> None:
    spec = WorkflowSpec("agent", "think", {"think": think})
    store = open_store(f"sqlite:///{tmp_path}/runs.db", durability="process")
    runtime = Runtime(store=store, effect_handlers=build_effect_handlers(llm=Talkative()))
    run_id = runtime.start(workflow=spec)
    state = runtime.tick(workflow=spec, run_id=run_id, max_steps=2 * TURNS)
    assert state.output == {"turns": TURNS}, state.error
    steps = [each for each in runtime.get_ledger(run_id) if each["status"] == "started"]
    sent = [len(each["effect"]["payload"]["messages"]) for each in steps]
    assert sent == list(range(1, TURNS + 1))
    store.close()
    assert sum(file.stat().st_size for file in tmp_path.glob("runs.db*")) < TURNS * ALLOWED
