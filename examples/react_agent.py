"""An agent that reads and writes files of one folder, asks you when in doubt, and can be killed.

    MODEL=qwen3-8b MODEL_URL=http://127.0.0.1:1234/v1 python examples/react_agent.py "Tidy notes.md"

Kill it whenever you like and start it again: it goes on where it was, and no tool call whose result
it has runs twice. Its whole conversation, and what it cost, stand in agent.db.
"""

import os
import sys
from pathlib import Path

from abstractruntime import RunStatus, Workflow
from abstractruntime.authoring import ask_user, complete, effect, goto
from abstractruntime.integrations.abstractcore import (
    MappingToolExecutor,
    create_local_runtime,
    tool_definition,
    workspace_tools,
)

FOLDER = Path("workspace")
MOST_TURNS = 50
UNFINISHED = ("running", "waiting")
SYSTEM = "You work on the files of a folder. Use the tools; when you are done, say what you did."
wf = Workflow("react")


def ask_a_person(question: str) -> str:
    """Ask the person you work for; use it when the task can be understood in two ways."""
    raise NotImplementedError("the workflow asks, as a person may take days to answer")


FOLDER.mkdir(exist_ok=True)
FILES = workspace_tools(FOLDER)
TOOLS = [tool_definition(tool) for tool in (*FILES, ask_a_person)]


@wf.node(entry=True)
def think(run):
    run.vars["turns"] = run.vars.get("turns", 0) + 1
    if run.vars["turns"] > MOST_TURNS:
        return complete({"answer": None, "gave_up_after": MOST_TURNS})
    run.vars.setdefault("messages", [{"role": "user", "content": run.vars["task"]}])
    asked = {"messages": run.vars["messages"], "system_prompt": SYSTEM, "tools": TOOLS}
    return effect("llm_call", asked, into="said", then=act)


@wf.node
def act(run):
    said = run.vars.pop("said")
    calls = said["tool_calls"]
    words = said["content"] or "\n".join(f"[{call['name']}] {call['arguments']}" for call in calls)
    run.vars["messages"].append({"role": "assistant", "content": words})
    if not calls:
        return complete({"answer": words, "turns": run.vars["turns"]})
    questions = [call for call in calls if call["name"] == "ask_a_person"]
    if questions:
        question = str(questions[0]["arguments"].get("question") or "What should I do?")
        return ask_user(question, into="answer", then=hear)
    return effect("tool_calls", {"tool_calls": calls}, into="done", then=observe)


@wf.node
def observe(run):
    for result in run.vars.pop("done")["results"]:
        seen = result["output"] if result["success"] else f"Error: {result['error']}"
        content = f"[result of {result['name']}] {seen}"
        run.vars["messages"].append({"role": "user", "content": content})
    return goto(think)


@wf.node
def hear(run):
    content = f"[answer] {run.vars.pop('answer')}"
    run.vars["messages"].append({"role": "user", "content": content})
    return goto(think)


def main(task):
    runtime = create_local_runtime(
        provider=os.environ.get("MODEL_PROVIDER", "lmstudio"),
        model=os.environ["MODEL"],
        llm_kwargs={"base_url": os.environ["MODEL_URL"]},
        tool_executor=MappingToolExecutor.from_tools(FILES),
        store="sqlite:///agent.db",
    )
    live = [
        each for each in runtime.store.list_runs() if each.status.value in ("running", "waiting")
    ]
    run_id = live[0].run_id if live else runtime.start(workflow=wf, vars={"task": task})
    state = runtime.tick(workflow=wf, run_id=run_id, max_steps=1000)
    while state.status is RunStatus.WAITING:
        answer = input(f"{state.waiting.prompt}\n> ")
        state = runtime.resume(
            workflow=wf, run_id=run_id, wait_key=None, payload=answer, max_steps=1000
        )
    print(state.status.value, state.output or state.error)  # noqa: T201


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "List the files and say what they are about.")
