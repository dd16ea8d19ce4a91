"""The client of a provider in this process: what it calls, and how it reads what comes back."""

from __future__ import annotations

import asyncio
import json
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pydantic
import pytest

from abstractruntime import Effect, RunStatus, StepPlan, WorkflowSpec
from abstractruntime.core.config import RuntimeConfig
from abstractruntime.errors import RetryableError, TerminalError
from abstractruntime.integrations.abstractcore import (
    LocalAbstractCoreLLMClient,
    create_local_file_runtime,
    create_local_runtime,
)

CANARY = "canary-0b8e64f1"


class Provider:
    """Stands for a provider of AbstractCore: keeps how it is called."""

    def __init__(self) -> None:
        self.made: tuple[Any, ...] = ()
        self.asked: list[dict[str, Any]] = []
        self.says: Any = SimpleNamespace(content="Hello.")

    def create_llm(self, provider: str, model: str | None = None, **kwargs: Any) -> Provider:
        self.made = (provider, model, kwargs)
        return self

    def generate(self, **asked: Any) -> Any:
        self.asked.append(asked)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    """In the place of AbstractCore, which sets up the root logger when it is imported."""
    found = Provider()
    module = ModuleType("abstractcore")
    vars(module)["create_llm"] = found.create_llm
    for name in [each for each in sys.modules if each.partition(".")[0] == "abstractcore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "abstractcore", module)
    return found


def client(**kwargs: Any) -> LocalAbstractCoreLLMClient:
    return LocalAbstractCoreLLMClient(provider="p", model="m", llm_kwargs=kwargs)


def test_a_provider_is_made_and_called_as_it_is_said(provider: Provider) -> None:
    local = client(base_url="http://x", timeout=5)
    assert provider.made == ("p", "m", {"base_url": "http://x", "timeout": 5})
    params = {"base_url": "http://y", "seed": 1, "trace_metadata": {"run_id": "r"}}
    for ask in (local.generate, lambda **asked: asyncio.run(local.agenerate(**asked))):
        ask(prompt="x", system_prompt="s", tools=[{"name": "f"}], params=params)
        assert provider.asked.pop() == {
            "prompt": "x",
            "messages": None,
            "system_prompt": "s",
            "tools": [{"name": "f"}],
            "stream": False,
            "seed": 1,
            "trace_metadata": {"run_id": "r"},
        }


def test_an_answer_is_made_json_and_the_providers_own_notes_are_left_out(
    provider: Provider,
) -> None:
    provider.says = SimpleNamespace(
        content="Hello.",
        model="m-1",
        usage={"input_tokens": 1, "output_tokens": 2, "other": object},
        finish_reason="stop",
        tool_calls=[{"name": "f", "arguments": '{"a": 1}', "call_id": 7}],
        metadata={"_provider_request": {"payload": "all of it"}, "trace_id": "t"},
        raw_response=object(),
    )
    answer = client().generate(prompt="x")
    json.dumps(answer)
    assert (answer["content"], answer["model"], answer["trace_id"]) == ("Hello.", "m-1", "t")
    assert answer["tool_calls"] == [{"name": "f", "arguments": {"a": 1}, "call_id": "7"}]
    assert answer["metadata"].keys() == {"trace_id", "call"}
    assert answer["metadata"]["call"]["output_tokens"] == 2


def test_a_pydantic_answer_is_data(provider: Provider) -> None:
    class Total(pydantic.BaseModel):
        euros: float

    provider.says = Total(euros=3)
    answer = client().generate(prompt="x")
    assert (answer["content"], answer["data"]) == (None, {"euros": 3.0})


@pytest.mark.parametrize("says", ["Hello.", {"content": "Hello."}])
def test_plain_answers_are_read_too(says: Any, provider: Provider) -> None:
    provider.says = says
    assert client().generate(prompt="x")["content"] == "Hello."


def test_capabilities_fall_back_on_a_number_of_tokens(provider: Provider) -> None:
    assert client().get_model_capabilities() == {"max_tokens": 32768}


class RateLimitError(Exception):
    retry_after_s = 3.0


class AuthenticationError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (RateLimitError(f"slow, {CANARY}"), RetryableError),
        (AuthenticationError(f"who is {CANARY}?"), TerminalError),
        (ConnectionResetError("cut"), RetryableError),
        (json.JSONDecodeError("bad", "{", 0), RetryableError),
        (KeyError("a bug"), KeyError),
    ],
    ids=lambda value: value.__class__.__name__ if isinstance(value, Exception) else "",
)
def test_failures_are_told_apart(
    error: Exception, raised: type[Exception], provider: Provider
) -> None:
    provider.says = error
    with pytest.raises(raised) as found:
        client(api_key=CANARY).generate(prompt="x")
    assert CANARY not in str(found.value)


def test_a_credential_that_a_model_says_back_is_hidden(provider: Provider) -> None:
    provider.says = SimpleNamespace(content=f"You are {CANARY}.")
    assert client(api_key=CANARY).generate(prompt="x")["content"] == "You are [hidden]."


def test_limits_come_from_the_model_unless_they_are_given(provider: Provider) -> None:
    def end(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("end", complete_output=run.vars["_limits"])

    spec = WorkflowSpec("w", "end", {"end": end})
    for config, most in ((None, 32768), (RuntimeConfig(max_tokens=7, max_iterations=3), 7)):
        runtime = create_local_runtime(provider="p", model="m", config=config)
        state = runtime.tick(workflow=spec, run_id=runtime.start(workflow=spec))
        assert state.output is not None
        assert state.output["max_tokens"] == most


def test_a_file_runtime_performs_calls_and_keeps_them(provider: Provider, tmp_path: Any) -> None:
    def ask(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("ask", Effect("llm_call", {"prompt": "x"}, "said"), "end")

    def end(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("end", complete_output={"said": run.vars["said"]["content"]})

    spec = WorkflowSpec("w", "ask", {"ask": ask, "end": end})
    runtime = create_local_file_runtime(base_dir=tmp_path, provider="p", model="m")
    state = runtime.tick(workflow=spec, run_id=runtime.start(workflow=spec))
    assert (state.status, state.output) == (RunStatus.COMPLETED, {"said": "Hello."})
    assert (tmp_path / f"ledger_{state.run_id}.jsonl").exists()
