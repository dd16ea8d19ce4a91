"""The handlers of `llm_call` and `tool_calls`.

What a handler asks and makes of the answers stands here once, as a generator of requests; blocking
and awaiting handlers differ only in how they have a request answered.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from abstractruntime.core.models import Effect, EffectType, RunState, WaitReason, WaitState
from abstractruntime.engine.outcome import EffectHandler, EffectOutcome, StepContext
from abstractruntime.errors import RetryableError
from abstractruntime.integrations.abstractcore import structured
from abstractruntime.integrations.abstractcore.llm_client import AbstractCoreLLMClient
from abstractruntime.integrations.abstractcore.offload import MAX_OUTPUT_BYTES, offloaded
from abstractruntime.integrations.abstractcore.tool_executor import ToolExecutor, refused
from abstractruntime.integrations.abstractcore.usage import summed
from abstractruntime.integrations.abstractcore.values import jsonable
from abstractruntime.storage.artifacts import ArtifactStore

__all__ = ["build_effect_handlers", "make_llm_call_handler", "make_tool_calls_handler"]

T = TypeVar("T")
Request = dict[str, Any]
Dialogue = Generator[Request, dict[str, Any], EffectOutcome]


@dataclass(frozen=True)
class Answering:
    """How `llm_call` gets an answer of the wanted shape.

    `repair_turns`: how often the model is told what is wrong within one attempt. `models`:
    pydantic models by the name that `payload.response_model` may have.
    """

    repair_turns: int = 1
    models: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outputs:
    """What becomes of large outputs of tools: above `max_bytes` they go to `artifacts()`.

    Without `artifacts` the factories take the runtime's artifact store.
    """

    max_bytes: int = MAX_OUTPUT_BYTES
    artifacts: Callable[[], ArtifactStore | None] | None = None


def build_effect_handlers(
    *,
    llm: AbstractCoreLLMClient,
    tools: ToolExecutor | None = None,
    awaiting: bool = False,
    answering: Answering | None = None,
    outputs: Outputs | None = None,
) -> dict[EffectType | str, EffectHandler]:
    """Handlers by effect type, for `Runtime(effect_handlers=…)`; `awaiting`: `async def` ones."""
    return {
        EffectType.LLM_CALL: make_llm_call_handler(llm=llm, awaiting=awaiting, answering=answering),
        EffectType.TOOL_CALLS: make_tool_calls_handler(
            tools=tools, awaiting=awaiting, outputs=outputs
        ),
    }


def make_llm_call_handler(
    *, llm: AbstractCoreLLMClient, awaiting: bool = False, answering: Answering | None = None
) -> EffectHandler:
    """llm_call {prompt?, messages?, system_prompt?, tools?, params?, response_schema?, …}.

    The result is the client's answer. RetryableError when it has not the wanted shape.
    """
    wish = answering or Answering()
    takes_key = _takes(llm.generate, "idempotency_key")

    def converse(run: RunState, effect: Effect, step: StepContext | None) -> Dialogue:
        return _conversation(run, effect, step.key if step and takes_key else None, wish)

    def handler(
        run: RunState,
        effect: Effect,
        default_next_node: str | None = None,
        *,
        step: StepContext | None = None,
    ) -> EffectOutcome:
        return _held(converse(run, effect, step), lambda request: llm.generate(**request))

    async def handler_awaiting(
        run: RunState,
        effect: Effect,
        default_next_node: str | None = None,
        *,
        step: StepContext | None = None,
    ) -> EffectOutcome:
        ask = _awaited(getattr(llm, "agenerate", None), llm.generate)
        return await _aheld(converse(run, effect, step), ask)

    return handler_awaiting if awaiting else handler


def make_tool_calls_handler(
    *,
    tools: ToolExecutor | None = None,
    awaiting: bool = False,
    outputs: Outputs | None = None,
) -> EffectHandler:
    """tool_calls {tool_calls: [{name, arguments, call_id?}], wait_key?, resume_to_node?}.

    Completed with the results, or waiting for whoever executes them: with reason JOB in mode
    "job", else EVENT.
    """
    rules = outputs or Outputs()

    def handler(
        run: RunState,
        effect: Effect,
        default_next_node: str | None = None,
        *,
        step: StepContext | None = None,
    ) -> EffectOutcome:
        if tools is None:
            return _no_tools()
        errand = _errand(run, effect, default_next_node, rules)
        return _held(errand, lambda request: tools.execute(**request))

    async def handler_awaiting(
        run: RunState,
        effect: Effect,
        default_next_node: str | None = None,
        *,
        step: StepContext | None = None,
    ) -> EffectOutcome:
        if tools is None:
            return _no_tools()
        ask = _awaited(getattr(tools, "aexecute", None), tools.execute)
        return await _aheld(_errand(run, effect, default_next_node, rules), ask)

    return handler_awaiting if awaiting else handler


# ---- llm_call


def _conversation(run: RunState, effect: Effect, key: str | None, wish: Answering) -> Dialogue:
    payload = effect.payload
    prompt, messages = payload.get("prompt"), payload.get("messages")
    if not prompt and not messages:
        return EffectOutcome.failed("llm_call requires payload.prompt or payload.messages")
    if messages is not None and not isinstance(messages, list):
        return EffectOutcome.failed("llm_call payload.messages must be a list")
    shape = structured.wanted(payload, wish.models)
    system_prompt = payload.get("system_prompt")
    request: Request = {
        "prompt": str(prompt or ""),
        "messages": messages,
        "system_prompt": system_prompt if shape is None else shape.asked(system_prompt),
        "tools": payload.get("tools"),
        "params": _params(run, payload.get("params")),
    }
    if key is not None:
        request["idempotency_key"] = key
    answer = yield request
    if shape is None or answer.get("tool_calls"):
        return EffectOutcome.completed(answer)
    calls = [_facts(answer)]
    for turn in range(wish.repair_turns + 1):
        try:
            answer = {**answer, "data": shape.data(answer)}
            break
        except structured.Mismatch as mismatch:
            if turn == wish.repair_turns:
                raise RetryableError(
                    f"The answer has not the wanted shape after {turn + 1} turns: {mismatch}"
                ) from None
            request = _repairing(request, answer, mismatch)
            if key is not None:
                # Another request: under the first one's key a server would say the same again.
                request["idempotency_key"] = f"{key}-repair-{turn + 1}"
        answer = yield request
        calls.append(_facts(answer))
    known = [each for each in calls if each is not None]
    if len(calls) > 1:
        metadata = {**(answer.get("metadata") or {}), "repair_turns": len(calls) - 1}
        if len(known) == len(calls):
            metadata["call"] = summed(known)
        answer = {**answer, "metadata": metadata}
    return EffectOutcome.completed(answer)


def _params(run: RunState, given: Any) -> dict[str, Any]:
    """The params with the run's ids among them, which servers note beside the call."""
    params = dict(given) if isinstance(given, Mapping) else {}
    trace = params.get("trace_metadata")
    ids = {
        "run_id": run.run_id,
        "actor_id": run.actor_id,
        "session_id": run.session_id,
        "parent_run_id": run.parent_run_id,
    }
    known = {name: each for name, each in ids.items() if each}
    params["trace_metadata"] = {**(trace if isinstance(trace, Mapping) else {}), **known}
    return params


def _repairing(
    request: Request, answer: Mapping[str, Any], mismatch: structured.Mismatch
) -> Request:
    """The next turn: the conversation so far, and what is wrong with the answer."""
    said = list(request["messages"] or [])
    if request["prompt"]:
        said.append({"role": "user", "content": request["prompt"]})
    said.append({"role": "assistant", "content": str(answer.get("content") or "")})
    return {**request, "messages": said, "prompt": structured.repair(mismatch)}


def _facts(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    metadata = answer.get("metadata")
    facts = metadata.get("call") if isinstance(metadata, Mapping) else None
    return facts if isinstance(facts, dict) else None


# ---- tool_calls


def _errand(run: RunState, effect: Effect, next_node: str | None, rules: Outputs) -> Dialogue:
    payload = effect.payload
    calls = payload.get("tool_calls")
    if not isinstance(calls, list):
        return EffectOutcome.failed("tool_calls requires payload.tool_calls (list)")
    wrong = [each for each in calls if not isinstance(each, dict) or not each.get("name")]
    if wrong:
        results = [
            refused(
                each if isinstance(each, dict) else {},
                "Not executed: each tool call is an object with a name",
            )
            for each in calls
        ]
        return EffectOutcome.completed({"mode": "executed", "results": results})
    said = yield {"tool_calls": calls}
    mode = str(said.get("mode") or "executed")
    if mode == "executed":
        results = offloaded(
            jsonable(said.get("results") or []),
            max_bytes=rules.max_bytes,
            artifacts=None if rules.artifacts is None else rules.artifacts(),
            run_id=run.run_id,
        )
        return EffectOutcome.completed({**said, "mode": mode, "results": results})
    return EffectOutcome.waiting(
        WaitState(
            reason=WaitReason.JOB if mode == "job" else WaitReason.EVENT,
            wait_key=payload.get("wait_key") or f"tool_calls:{run.run_id}:{run.current_node}",
            resume_to_node=payload.get("resume_to_node") or next_node,
            result_key=effect.result_key,
            details={"mode": mode, "tool_calls": jsonable(said.get("tool_calls") or calls)},
        )
    )


def _no_tools() -> EffectOutcome:
    return EffectOutcome.failed("tool_calls requires a ToolExecutor: give the handlers `tools`")


# ---- having requests answered


def _held(dialogue: Dialogue, ask: Callable[[Request], dict[str, Any]]) -> EffectOutcome:
    try:
        request = next(dialogue)
        while True:
            request = dialogue.send(ask(request))
    except StopIteration as end:
        outcome: EffectOutcome = end.value
        return outcome


async def _aheld(
    dialogue: Dialogue, ask: Callable[[Request], Awaitable[dict[str, Any]]]
) -> EffectOutcome:
    # A coroutine may not be ended by a StopIteration, so each step says whether it was the last.
    request, outcome = _step(dialogue, None)
    while request is not None:
        request, outcome = _step(dialogue, await ask(request))
    assert outcome is not None
    return outcome


def _step(dialogue: Dialogue, answer: Any) -> tuple[Request | None, EffectOutcome | None]:
    try:
        return dialogue.send(answer), None
    except StopIteration as end:
        return None, end.value


def _awaited(
    awaiting: Callable[..., Awaitable[dict[str, Any]]] | None,
    blocking: Callable[..., dict[str, Any]],
) -> Callable[[Request], Awaitable[dict[str, Any]]]:
    """How a request is answered without blocking: by the twin that awaits, else in a thread."""
    if awaiting is not None:
        return lambda request: awaiting(**request)
    return lambda request: asyncio.to_thread(lambda: blocking(**request))


def _takes(function: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
