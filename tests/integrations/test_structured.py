"""Answers of a wanted shape: what is asked, checked, repaired and given up."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from abstractruntime import EffectType, NoRetryPolicy, RunStatus
from abstractruntime.integrations.abstractcore import Answering, build_effect_handlers
from tests.integrations.test_handlers import Model, one_step

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"total": {"type": "number"}, "lines": {"type": "array", "minItems": 1}},
    "required": ["total"],
    "additionalProperties": False,
}


class Invoice(pydantic.BaseModel):
    total: float
    due: str = "today"


def said(text: str | None, tokens: int = 5, **more: Any) -> dict[str, Any]:
    facts = {"model": "m", "input_tokens": tokens, "output_tokens": 1, "latency_ms": 2.0}
    call = {**facts, "cost": 0.5, "currency": "USD"}
    return {"content": text, "data": None, "tool_calls": [], "metadata": {"call": call}, **more}


def ask(model: Model, awaiting: bool = False, answering: Any = None, **wish: Any) -> Any:
    """The state of a run that asks for a shape."""
    import asyncio

    from abstractruntime import Runtime, open_store

    handlers = build_effect_handlers(llm=model, awaiting=awaiting, answering=answering)
    runtime = Runtime(
        store=open_store("memory://"), effect_handlers=handlers, effect_policy=NoRetryPolicy()
    )
    spec = one_step(EffectType.LLM_CALL, {"prompt": "read it", "system_prompt": "be brief", **wish})
    run_id = runtime.start(workflow=spec)
    if awaiting:
        return asyncio.run(runtime.atick(workflow=spec, run_id=run_id))
    return runtime.tick(workflow=spec, run_id=run_id)


@pytest.mark.parametrize("text", ['{"total": 3}', 'Here:\n```json\n{"total": 3}\n```\nDone.'])
def test_an_answer_of_the_shape_is_its_data(text: str) -> None:
    model = Model(said(text))
    state = ask(model, response_schema=SCHEMA)
    assert state.output["said"]["data"] == {"total": 3}
    (asked,) = model.asked
    assert asked["prompt"] == "read it"
    assert asked["system_prompt"].startswith("be brief\n\n")
    assert '"additionalProperties": false' in asked["system_prompt"]


@pytest.mark.parametrize("awaiting", [False, True])
def test_the_model_is_told_once_what_is_wrong(awaiting: bool) -> None:
    model = Model(said('{"total": "three"}', 5), said('{"total": 3}', 7))
    state = ask(model, awaiting, response_schema=SCHEMA)
    found = state.output["said"]
    assert found["data"] == {"total": 3}
    first, second = model.asked
    assert second["messages"] == [
        {"role": "user", "content": "read it"},
        {"role": "assistant", "content": '{"total": "three"}'},
    ]
    assert "at total" in second["prompt"]
    assert '"three" is not of type "number"' in second["prompt"]
    # Another request under the first one's key would be given the first one's answer.
    assert second["idempotency_key"] == f"{first['idempotency_key']}-repair-1"
    assert found["metadata"]["repair_turns"] == 1
    assert found["metadata"]["call"] == {
        "model": "m",
        "input_tokens": 12,
        "output_tokens": 2,
        "latency_ms": 4.0,
        "cost": 1.0,
        "currency": "USD",
    }


@pytest.mark.parametrize(("turns", "calls"), [(0, 1), (1, 2), (3, 4)])
def test_how_often_it_is_told_is_a_policy(turns: int, calls: int) -> None:
    model = Model(said("no"))
    state = ask(model, answering=Answering(repair_turns=turns), response_schema=SCHEMA)
    assert state.status is RunStatus.FAILED
    assert f"has not the wanted shape after {calls} turns: it is not JSON" in state.error
    assert len(model.asked) == calls
    keys = [asked["idempotency_key"] for asked in model.asked]
    assert len(set(keys)) == calls


def test_a_model_of_pydantic_is_asked_for_by_name() -> None:
    model = Model(said('{"total": "much"}'), said('{"total": 3}'))
    answering = Answering(models={"Invoice": Invoice})
    state = ask(model, answering=answering, response_model="Invoice")
    assert state.output["said"]["data"] == {"total": 3.0, "due": "today"}
    assert "at total: Input should be a valid number" in model.asked[1]["prompt"]


def test_a_client_that_gives_data_itself_is_checked_too() -> None:
    model = Model(said(None, data={"total": 1, "more": 2}), said(None, data={"total": 1}))
    state = ask(model, response_schema=SCHEMA)
    assert state.output["said"]["data"] == {"total": 1}
    assert "'more' was unexpected" in model.asked[1]["prompt"]


def test_a_model_that_calls_a_tool_first_is_let_do_so() -> None:
    calls = [{"name": "f", "arguments": {}, "call_id": None}]
    state = ask(Model(said("", tool_calls=calls)), response_schema=SCHEMA)
    assert state.output["said"]["tool_calls"] == calls


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        ({"response_model": "Bill"}, "Unknown response_model 'Bill'; known: none"),
        ({"response_schema": {"type": "strange"}}, "response_schema is no JSON Schema"),
        ({"response_schema": {"$ref": "http://127.0.0.1:9/x"}}, "response_schema is no JSON"),
    ],
)
def test_a_shape_that_is_none_fails_before_the_model_is_asked(
    wish: dict[str, Any], text: str
) -> None:
    model = Model(said("{}"))
    state = ask(model, **wish)
    assert text in state.error
    assert model.asked == []
