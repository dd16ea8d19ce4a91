"""`llm_call` and `tool_calls` in a run: payloads, results, waits, retries, keys."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from abstractruntime import (
    Effect,
    EffectType,
    RetryPolicy,
    RunState,
    RunStatus,
    Runtime,
    StepPlan,
    WaitReason,
    WorkflowSpec,
    open_store,
)
from abstractruntime.errors import RetryableError, TerminalError
from abstractruntime.integrations.abstractcore import (
    MappingToolExecutor,
    PassthroughToolExecutor,
    build_effect_handlers,
    create_remote_runtime,
)
from tests.integrations.stub import Reply, Stub

CANARY = "canary-77ab03d2"


class Model:
    """A client that keeps what it is asked; each answer may be an error to raise."""

    def __init__(self, *answers: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        self._answers = answers or ({"content": "Hello."},)

    def generate(
        self,
        *,
        prompt: str,
        messages: list[dict[str, Any]] | None = None,
        system_prompt: str | None = None,
        tools: list[dict[str, Any]] | None = None,
        params: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        asked = {name: each for name, each in locals().items() if name != "self"}
        self.asked.append(asked)
        answer = self._answers[min(len(self.asked), len(self._answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        found: dict[str, Any] = answer
        return found


def one_step(kind: EffectType, payload: dict[str, Any]) -> WorkflowSpec:
    def ask(run: RunState, ctx: Any) -> StepPlan:
        return StepPlan("ask", Effect(kind, payload, "said"), "done")

    def done(run: RunState, ctx: Any) -> StepPlan:
        return StepPlan("done", complete_output={"said": run.vars.get("said")})

    return WorkflowSpec("one-step", "ask", {"ask": ask, "done": done})


@pytest.fixture(params=["blocking", "awaiting"])
def awaiting(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "awaiting")


def run(
    spec: WorkflowSpec, awaiting: bool, llm: Any = None, tools: Any = None, **ids: Any
) -> tuple[Runtime, RunState]:
    """Run by async handlers and driver, or by blocking ones."""
    handlers = build_effect_handlers(llm=llm or Model(), tools=tools, awaiting=awaiting)
    policy = RetryPolicy(backoff_base=0.0)
    store = open_store("memory://")
    runtime = Runtime(store=store, effect_handlers=handlers, effect_policy=policy)
    run_id = runtime.start(workflow=spec, **ids)
    if awaiting:
        return runtime, asyncio.run(runtime.atick(workflow=spec, run_id=run_id))
    return runtime, runtime.tick(workflow=spec, run_id=run_id)


def test_a_call_reaches_the_client_as_it_is_and_its_answer_is_the_result(awaiting: bool) -> None:
    model = Model()
    payload = {
        "prompt": "p",
        "messages": [{"role": "user", "content": "m"}],
        "system_prompt": "s",
        "tools": [{"name": "f"}],
        "params": {"seed": 1},
    }
    ids = {"actor_id": "a", "session_id": "s", "parent_run_id": "p"}
    runtime, state = run(one_step(EffectType.LLM_CALL, payload), awaiting, model, **ids)
    assert state.output == {"said": {"content": "Hello."}}
    (asked,) = model.asked
    (started, *_) = runtime.get_ledger(state.run_id)
    assert asked.pop("idempotency_key") == started["idempotency_key"]
    assert asked.pop("params") == {"seed": 1, "trace_metadata": {"run_id": state.run_id, **ids}}
    assert asked == {name: payload[name] for name in asked}


def test_the_ids_that_a_run_has_not_are_left_out() -> None:
    model = Model()
    _, state = run(one_step(EffectType.LLM_CALL, {"prompt": "p"}), False, model)
    assert model.asked[0]["params"] == {"trace_metadata": {"run_id": state.run_id}}


def test_a_client_of_the_plain_kind_is_given_no_key() -> None:
    class Plain:
        def generate(self, *, prompt: str, **rest: Any) -> dict[str, Any]:
            return {"content": sorted(rest)}

    _, state = run(one_step(EffectType.LLM_CALL, {"prompt": "p"}), False, Plain())
    assert state.output == {"said": {"content": ["messages", "params", "system_prompt", "tools"]}}


@pytest.mark.parametrize(
    ("kind", "payload", "text"),
    [
        (EffectType.LLM_CALL, {}, "llm_call requires payload.prompt or payload.messages"),
        (EffectType.LLM_CALL, {"prompt": "", "messages": []}, "llm_call requires payload.prompt"),
        (EffectType.TOOL_CALLS, {}, "tool_calls requires payload.tool_calls (list)"),
        (EffectType.TOOL_CALLS, {"tool_calls": {}}, "tool_calls requires payload.tool_calls"),
    ],
)
def test_a_payload_without_its_parts_fails_the_run(
    kind: EffectType, payload: dict[str, Any], text: str, awaiting: bool
) -> None:
    _, state = run(one_step(kind, payload), awaiting, tools=PassthroughToolExecutor())
    assert state.status is RunStatus.FAILED
    assert text in str(state.error)


def test_a_failure_that_may_pass_is_tried_again_under_the_same_key(awaiting: bool) -> None:
    model = Model(RetryableError("slow", retry_after=0), {"content": "late"})
    _, state = run(one_step(EffectType.LLM_CALL, {"prompt": "p"}), awaiting, model)
    assert state.output == {"said": {"content": "late"}}
    assert len({asked["idempotency_key"] for asked in model.asked}) == 1
    assert len(model.asked) == 2


def test_a_failure_that_does_not_pass_is_not_tried_again(awaiting: bool) -> None:
    model = Model(TerminalError("no such model"))
    _, state = run(one_step(EffectType.LLM_CALL, {"prompt": "p"}), awaiting, model)
    assert state.status is RunStatus.FAILED
    assert "no such model" in str(state.error)
    assert len(model.asked) == 1


CALLS = [{"name": "f", "arguments": {"a": 1}, "call_id": "c1"}]


def test_executed_tools_are_the_result(awaiting: bool) -> None:
    tools = MappingToolExecutor({"f": lambda a: {"twice": 2 * a}})
    spec = one_step(EffectType.TOOL_CALLS, {"tool_calls": CALLS})
    _, state = run(spec, awaiting, tools=tools)
    result = {"call_id": "c1", "name": "f", "success": True, "output": {"twice": 2}, "error": None}
    assert state.output == {"said": {"mode": "executed", "results": [result]}}


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("passthrough", WaitReason.EVENT), ("delegated", WaitReason.EVENT), ("job", WaitReason.JOB)],
)
def test_tools_that_the_host_executes_are_waited_for(
    mode: str, reason: WaitReason, awaiting: bool
) -> None:
    spec = one_step(EffectType.TOOL_CALLS, {"tool_calls": CALLS})
    runtime, state = run(spec, awaiting, tools=PassthroughToolExecutor(mode=mode))
    wait = state.waiting
    assert wait is not None
    assert (wait.reason, wait.wait_key) == (reason, f"tool_calls:{state.run_id}:ask")
    assert wait.details == {"mode": mode, "tool_calls": CALLS}
    assert (wait.resume_to_node, wait.result_key) == ("done", "said")
    answer = {"mode": "executed", "results": []}
    state = runtime.resume(
        workflow=spec, run_id=state.run_id, wait_key=wait.wait_key, payload=answer
    )
    assert state.output == {"said": answer}


def test_a_payload_may_name_its_wait_and_where_it_goes_on() -> None:
    payload = {"tool_calls": CALLS, "wait_key": "mine", "resume_to_node": "ask"}
    spec = one_step(EffectType.TOOL_CALLS, payload)
    _, state = run(spec, False, tools=PassthroughToolExecutor())
    assert state.waiting is not None
    assert (state.waiting.wait_key, state.waiting.resume_to_node) == ("mine", "ask")


def test_tool_calls_without_an_executor_fail_and_say_so(awaiting: bool) -> None:
    _, state = run(one_step(EffectType.TOOL_CALLS, {"tool_calls": CALLS}), awaiting)
    assert "requires a ToolExecutor" in str(state.error)


def test_calls_that_are_none_are_results_and_nothing_is_executed(awaiting: bool) -> None:
    done: list[int] = []
    tools = MappingToolExecutor({"f": done.append})
    payload = {"tool_calls": [*CALLS, "g", {"arguments": {}}]}
    _, state = run(one_step(EffectType.TOOL_CALLS, payload), awaiting, tools=tools)
    assert state.output is not None
    results = state.output["said"]["results"]
    assert [each["success"] for each in results] == [False] * 3
    assert done == []


def test_a_secret_in_headers_is_in_no_ledger_log_or_error(
    stub: Stub, caplog: pytest.LogCaptureFixture, awaiting: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    stub.says(Reply(status=503, raw=f'{{"error": "{CANARY}"}}'), f"I am {CANARY}")
    runtime = create_remote_runtime(
        server_base_url=stub.origin,
        model="stub-model",
        headers={"Authorization": f"Bearer {CANARY}", "X-Api-Key": CANARY},
        effect_policy=RetryPolicy(backoff_base=0.0),
        awaiting=awaiting,
    )
    spec = one_step(EffectType.LLM_CALL, {"prompt": "p"})
    run_id = runtime.start(workflow=spec)
    state = runtime.tick(workflow=spec, run_id=run_id)
    assert state.status is RunStatus.COMPLETED
    assert [asked.headers["x-api-key"] for asked in stub.chats] == [CANARY] * 2
    assert len({asked.headers["idempotency-key"] for asked in stub.chats}) == 1
    told = f"{runtime.get_ledger(run_id)}{state}{caplog.text}"
    assert "[hidden]" in told
    assert CANARY not in told
