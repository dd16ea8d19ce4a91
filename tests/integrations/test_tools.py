"""Tools: what models are shown of them, the check of arguments, results, and large outputs."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from abstractruntime import InMemoryArtifactStore, Runtime, open_store, resolve_artifact
from abstractruntime.errors import RetryableError
from abstractruntime.integrations.abstractcore import (
    MappingToolExecutor,
    Outputs,
    PassthroughToolExecutor,
    build_effect_handlers,
    create_remote_runtime,
    tool_definition,
)
from abstractruntime.integrations.abstractcore.values import jsonable
from tests.integrations.test_handlers import EffectType, Model, one_step


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


def order(
    thing: str,
    count: int = 1,
    size: Size = Size.SMALL,
    how: Literal["post", "van"] = "post",
    notes: list[str] | None = None,
) -> dict[str, Any]:
    """Order things.

    More words, for people.
    """
    return {"thing": thing, "count": count, "size": size, "how": how, "notes": notes}


def execute(executor: MappingToolExecutor, way: str, *calls: dict[str, Any]) -> list[Any]:
    if way == "blocking":
        done = executor.execute(tool_calls=list(calls))
    else:
        done = asyncio.run(executor.aexecute(tool_calls=list(calls)))
    assert done["mode"] == "executed"
    return list(done["results"])


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments, "call_id": "c"}


way = pytest.mark.parametrize("way", ["blocking", "awaiting"])


def test_a_definition_is_made_of_the_signature() -> None:
    found = tool_definition(order)
    assert (found["name"], found["description"]) == ("order", "Order things.")
    schema = found["parameters"]
    assert schema["required"] == ["thing"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert properties["thing"] == {"type": "string"}
    assert properties["count"] == {"type": "integer", "default": 1}
    assert properties["how"]["enum"] == ["post", "van"]
    assert list(properties) == ["thing", "count", "size", "how", "notes"]


@way
def test_arguments_come_as_the_types_that_the_tool_names(way: str) -> None:
    executor = MappingToolExecutor.from_tools([order])
    (result,) = execute(executor, way, call("order", thing="x", count="2", size="large"))
    assert result == {
        "call_id": "c",
        "name": "order",
        "success": True,
        "error": None,
        "output": {"thing": "x", "count": 2, "size": "large", "how": "post", "notes": None},
    }


@way
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "thing: is missing"),
        ({"thing": "x", "colour": "red"}, "colour: there is no such argument"),
        ({"thing": "x", "count": "many"}, "count: Input should be a valid integer"),
        ({"thing": 5}, "thing: Input should be a valid string"),
        ({"thing": "x", "how": "ship"}, "how: Input should be 'post' or 'van'"),
        ({"thing": "x", "notes": [1]}, "notes.0: Input should be a valid string"),
        ({"_invalid_json": "{oops"}, "not a JSON object: {oops"),
        (["x"], "not a JSON object but list"),
    ],
)
def test_wrong_arguments_are_a_result_that_says_what_the_tool_takes(
    arguments: Any, said: str, way: str
) -> None:
    called: list[Any] = []

    def order(
        thing: str,
        count: int = 1,
        how: Literal["post", "van"] = "post",
        notes: list[str] | None = None,
    ) -> None:
        called.append(thing)

    executor = MappingToolExecutor.from_tools([order])
    wrong = {"name": "order", "arguments": arguments}
    (result,) = execute(executor, way, wrong)
    assert (result["success"], result["output"], called) == (False, None, [])
    assert result["error"].startswith("Invalid arguments for tool 'order': ")
    assert said in result["error"]
    assert "It takes (thing: str" in result["error"].replace("'", "")


@way
def test_an_unknown_tool_is_a_result(way: str) -> None:
    (result,) = execute(MappingToolExecutor({}), way, call("f"))
    assert (result["success"], result["error"]) == (False, "Tool 'f' not found")


@way
def test_one_tool_that_raises_does_not_stop_the_next(way: str) -> None:
    def fails(text: str) -> None:
        raise ValueError(text)

    async def works() -> str:
        return "done"

    executor = MappingToolExecutor({"fails": fails, "works": works})
    first, second, third = execute(
        executor, way, call("fails", text="oh"), call("fails", text=""), call("works")
    )
    assert (first["success"], first["error"]) == (False, "oh")
    assert (second["success"], second["error"]) == (False, "ValueError")
    assert (third["success"], third["output"]) == (True, "done")


@way
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_as_many_tools_run_at_once_as_are_allowed(kind: str, way: str) -> None:
    together = threading.Barrier(2, timeout=10)

    def meets(n: int) -> int:
        together.wait()
        return n

    async def ameets(n: int) -> int:
        return await asyncio.to_thread(meets, n)

    tool: Any = meets if kind == "sync" else ameets
    executor = MappingToolExecutor({"f": tool}, at_once=2)
    results = execute(executor, way, *(call("f", n=n) for n in range(4)))
    assert [each["output"] for each in results] == [0, 1, 2, 3]


@way
def test_unless_it_is_said_otherwise_one_tool_ends_before_the_next_begins(way: str) -> None:
    seen: list[str] = []

    def works(n: int) -> None:
        seen.append(f"begin {n}")
        seen.append(f"end {n}")

    execute(MappingToolExecutor({"f": works}), way, call("f", n=1), call("f", n=2))
    assert seen == ["begin 1", "end 1", "begin 2", "end 2"]
    with pytest.raises(ValueError, match="at_once"):
        MappingToolExecutor({}, at_once=0)


@way
def test_a_tool_may_ask_for_another_attempt_of_the_step(way: str) -> None:
    def busy() -> None:
        raise RetryableError("later")

    with pytest.raises(RetryableError):
        execute(MappingToolExecutor({"busy": busy}), way, call("busy"))


def test_an_async_tool_works_inside_a_running_loop() -> None:
    async def works() -> int:
        await asyncio.sleep(0)
        return 1

    async def inside() -> list[Any]:
        return execute(MappingToolExecutor({"works": works}), "blocking", call("works"))

    assert asyncio.run(inside())[0]["output"] == 1


def test_any_callable_can_be_a_tool() -> None:
    def odd(schema: str, _hidden: int = 0, **more: Any) -> list[Any]:
        return [schema, _hidden, more]

    def untold(thing: NotThere) -> Any:  # type: ignore[name-defined]  # noqa: F821
        return thing

    tools: dict[str, Any] = {"odd": odd, "untold": untold, "dict": dict, "len": len}
    executor = MappingToolExecutor(tools)
    results = execute(
        executor,
        "blocking",
        call("odd", schema="s", _hidden=1, other=[2]),
        call("untold", thing=3),
        call("dict", a=1),
    )
    assert [each["output"] for each in results] == [["s", 1, {"other": [2]}], 3, {"a": 1}]


def test_a_tool_is_named_by_its_definition_or_its_function() -> None:
    def plain() -> str:
        return "plain"

    def defined() -> str:
        return "defined"

    vars(defined)["_tool_definition"] = SimpleNamespace(name="called")
    executor = MappingToolExecutor.from_tools([plain, defined])
    assert [each["output"] for each in execute(executor, "blocking", call("called"))] == ["defined"]


@pytest.mark.parametrize(
    ("tools", "text"),
    [
        ([SimpleNamespace()], "Tool is missing a name"),
        ([SimpleNamespace(__name__="x")], "Tool 'x' is not callable"),
        ([order, order], "Duplicate tool name 'order'"),
    ],
)
def test_what_is_no_tool_is_refused(tools: list[Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        MappingToolExecutor.from_tools(tools)


def test_passing_on_says_the_calls_and_the_mode() -> None:
    calls = [call("f", a=1)]
    assert PassthroughToolExecutor().execute(tool_calls=calls) == {
        "mode": "passthrough",
        "tool_calls": calls,
    }


def test_whatever_a_tool_returns_becomes_json() -> None:
    @dataclasses.dataclass
    class Point:
        x: int
        when: datetime

    deep: Any = "end"
    for _ in range(300):
        deep = [deep]
    found = jsonable(
        {
            1: Point(1, datetime(2026, 1, 1, tzinfo=UTC)),
            "set": {2, 1},
            "bytes": b"\x00",
            "nan": float("nan"),
            "lone": "\ud800",
            "size": Size.SMALL,
            "other": order,
        }
    )
    assert found["1"] == {"x": 1, "when": "2026-01-01T00:00:00+00:00"}
    assert (found["set"], found["bytes"], found["nan"]) == ([1, 2], "AA==", None)
    assert (found["lone"], found["size"]) == ("?", "small")
    assert "function order" in found["other"]
    assert isinstance(jsonable(deep), list)


def outcome(output: Any, outputs: Outputs | None, store: str = "memory://") -> tuple[Any, Runtime]:
    """The output in the result of a tool that returns `output`."""
    tools = MappingToolExecutor({"f": lambda: output})
    handlers = build_effect_handlers(llm=Model(), tools=tools, outputs=outputs)
    runtime = Runtime(store=open_store(store), effect_handlers=handlers)
    spec = one_step(EffectType.TOOL_CALLS, {"tool_calls": [call("f")]})
    state = runtime.tick(workflow=spec, run_id=runtime.start(workflow=spec))
    assert state.output is not None, state.error
    return state.output["said"]["results"][0]["output"], runtime


def test_an_output_up_to_the_limit_stays_in_the_result() -> None:
    outputs = Outputs(max_bytes=10)
    assert outcome("x" * 10, outputs)[0] == "x" * 10
    assert outcome({"a": 1234}, outputs)[0] == {"a": 1234}
    assert outcome(10**20, outputs)[0] == 10**20


@pytest.mark.parametrize("output", ["é" * 3000, {"rows": list(range(3000))}], ids=["text", "json"])
def test_a_larger_output_is_an_artifact_that_the_result_names(output: Any) -> None:
    artifacts = InMemoryArtifactStore()
    found, _ = outcome(output, Outputs(max_bytes=10, artifacts=lambda: artifacts))
    kept = resolve_artifact(found, artifacts)
    assert (kept.as_text() if isinstance(output, str) else kept.as_json()) == output
    assert found["size_bytes"] == len(kept.content)
    assert len(found["preview"]) == 2000


def test_without_a_place_for_artifacts_the_preview_stays() -> None:
    found, _ = outcome("x" * 3000, Outputs(max_bytes=10))
    assert found == {"cut": True, "size_bytes": 3000, "preview": "x" * 2000}


def test_a_limit_of_ones_own_keeps_the_artifact_store_of_the_runtime() -> None:
    runtime = create_remote_runtime(
        server_base_url="http://127.0.0.1:9",
        model="m",
        tool_executor=MappingToolExecutor({"f": lambda: "x" * 20}),
        store="memory://",
        outputs=Outputs(max_bytes=10),
    )
    spec = one_step(EffectType.TOOL_CALLS, {"tool_calls": [call("f")]})
    state = runtime.tick(workflow=spec, run_id=runtime.start(workflow=spec))
    assert state.output is not None
    found = state.output["said"]["results"][0]["output"]
    assert runtime.artifact_store is not None
    assert resolve_artifact(found, runtime.artifact_store).as_text() == "x" * 20


def test_fifty_megabytes_do_not_reach_the_ledger() -> None:
    artifacts = InMemoryArtifactStore()
    found, runtime = outcome("x" * 50_000_000, Outputs(artifacts=lambda: artifacts))
    assert found["size_bytes"] == 50_000_000
    (kept,) = artifacts.list_all()
    assert (kept.size_bytes, kept.tags) == (50_000_000, {"tool": "f"})
    assert len(str(runtime.get_ledger(str(kept.run_id)))) < 20_000
