"""Who executes the tools that a model called: functions here, AbstractCore's registry, or the host.

An executor answers {"mode": "executed", "results": [{call_id, name, success, output, error}]}, or
another mode, by which the run waits for whoever executes them. What goes wrong in a tool is a
result that the model can read, not an error of the run.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from abstractruntime.engine.drive import run_blocking
from abstractruntime.errors import EffectFault
from abstractruntime.integrations.abstractcore.extras import extra
from abstractruntime.integrations.abstractcore.logging import get_logger
from abstractruntime.integrations.abstractcore.tool_schema import InvalidArguments, Signature
from abstractruntime.integrations.abstractcore.values import jsonable

__all__ = [
    "AbstractCoreToolExecutor",
    "MappingToolExecutor",
    "PassthroughToolExecutor",
    "ToolExecutor",
]

ToolFunction = Callable[..., Any]
_log = get_logger("tools")


class ToolExecutor(Protocol):
    """Executes calls [{name, arguments, call_id?}]; may have an awaiting twin `aexecute`."""

    def execute(self, *, tool_calls: list[dict[str, Any]]) -> dict[str, Any]: ...


class MappingToolExecutor:
    """Executes the functions of a map by name, `def` and `async def`, `at_once` at the same time.

    Arguments are checked against the function's signature before it is called. A tool that raises
    RetryableError or TerminalError speaks of the whole step; any other error is its result.
    """

    def __init__(self, tool_map: Mapping[str, ToolFunction], *, at_once: int = 1) -> None:
        if at_once < 1:
            raise ValueError(f"at_once is at least 1, found {at_once}")
        self._at_once = at_once
        self._tools = dict(tool_map)
        self._signatures = {
            name: Signature(name, function) for name, function in self._tools.items()
        }

    @classmethod
    def from_tools(cls, tools: Iterable[ToolFunction], *, at_once: int = 1) -> MappingToolExecutor:
        """By the name in a tool's `_tool_definition`, else of the function. Raises ValueError."""
        found: dict[str, ToolFunction] = {}
        for tool in tools:
            definition = getattr(tool, "_tool_definition", None)
            name = str(getattr(definition, "name", None) or getattr(tool, "__name__", "") or "")
            if not name.strip():
                raise ValueError("Tool is missing a name")
            if not callable(tool):
                raise ValueError(f"Tool '{name}' is not callable")
            if name in found:
                raise ValueError(f"Duplicate tool name '{name}'")
            found[name] = tool
        return cls(found, at_once=at_once)

    def execute(self, *, tool_calls: list[dict[str, Any]]) -> dict[str, Any]:
        """Begin them in order; the results are in that order too."""
        if self._at_once == 1 or len(tool_calls) < 2:
            return _done([self._one(call) for call in tool_calls])
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(self._at_once, len(tool_calls))) as pool:
            return _done(list(pool.map(self._one, tool_calls)))

    async def aexecute(self, *, tool_calls: list[dict[str, Any]]) -> dict[str, Any]:
        """`execute`, awaited; functions that cannot be awaited run in threads."""
        turn = asyncio.Semaphore(self._at_once)

        async def in_turn(call: dict[str, Any]) -> dict[str, Any]:
            async with turn:
                return await self._aone(call)

        # Nothing is left running behind a step that fails.
        said = await asyncio.gather(*map(in_turn, tool_calls), return_exceptions=True)
        for each in said:
            if isinstance(each, BaseException):
                raise each
        return _done([each for each in said if not isinstance(each, BaseException)])

    def _one(self, call: dict[str, Any]) -> dict[str, Any]:
        function, arguments, refusal = self._prepared(call)
        if function is None:
            return refused(call, refusal)
        try:
            output = function(**arguments)
            if inspect.isawaitable(output):
                output = run_blocking(_awaiting(output))
            return executed(call, output)
        except Exception as error:
            return _failed(call, error)

    async def _aone(self, call: dict[str, Any]) -> dict[str, Any]:
        function, arguments, refusal = self._prepared(call)
        if function is None:
            return refused(call, refusal)
        try:
            if inspect.iscoroutinefunction(function):
                output = await function(**arguments)
            else:
                output = await asyncio.to_thread(function, **arguments)
                output = await output if inspect.isawaitable(output) else output
            return executed(call, output)
        except Exception as error:
            return _failed(call, error)

    def _prepared(self, call: Mapping[str, Any]) -> tuple[ToolFunction | None, dict[str, Any], str]:
        """(the function, its arguments, ""), or (None, {}, why not)."""
        name = str(call.get("name") or "")
        function = self._tools.get(name)
        if function is None:
            return None, {}, f"Tool '{name}' not found"
        given = call.get("arguments")
        try:
            return function, self._signatures[name].checked({} if given is None else given), ""
        except InvalidArguments as error:
            return None, {}, str(error)


class AbstractCoreToolExecutor:
    """Executes the tools registered in AbstractCore (`abstractcore.tools.register_tool`).

    Raises MissingExtra without AbstractCore, when it is used.
    """

    def execute(self, *, tool_calls: list[dict[str, Any]]) -> dict[str, Any]:
        """Execute them in order."""
        with extra("abstractcore", "abstractcore"):
            from abstractcore.tools import ToolCall
            from abstractcore.tools.registry import execute_tool
        results = []
        for call in tool_calls:
            arguments = call.get("arguments")
            if not isinstance(arguments, Mapping):
                results.append(refused(call, "The arguments are no JSON object"))
                continue
            name, call_id = str(call.get("name") or ""), call.get("call_id")
            said = execute_tool(ToolCall(name=name, arguments=dict(arguments), call_id=call_id))
            done = executed(call, said.output)
            if not said.success:
                done.update(success=False, error=str(said.error or "The tool failed"))
            results.append(done)
        return {"mode": "executed", "results": results}


class PassthroughToolExecutor:
    """Executes nothing: the run waits in `mode` until the host answers with the results."""

    def __init__(self, *, mode: str = "passthrough") -> None:
        self._mode = mode

    def execute(self, *, tool_calls: list[dict[str, Any]]) -> dict[str, Any]:
        """The calls as they are."""
        return {"mode": self._mode, "tool_calls": jsonable(tool_calls)}


def _done(results: list[dict[str, Any]]) -> dict[str, Any]:
    return {"mode": "executed", "results": results}


def executed(call: Mapping[str, Any], output: Any) -> dict[str, Any]:
    """The result of a call that returned."""
    return {**_named(call), "success": True, "output": jsonable(output), "error": None}


def refused(call: Mapping[str, Any], error: str) -> dict[str, Any]:
    """The result of a call that was not made or that raised; `error` is for the model to read."""
    return {**_named(call), "success": False, "output": None, "error": error}


def _failed(call: Mapping[str, Any], error: Exception) -> dict[str, Any]:
    if isinstance(error, EffectFault):
        raise error
    _log.info("tool %s raised %s", call.get("name"), type(error).__name__)
    return refused(call, str(jsonable(str(error) or type(error).__name__)))


def _named(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"call_id": str(call.get("call_id") or ""), "name": str(call.get("name") or "")}


def _awaiting(output: Any) -> Callable[[], Any]:
    async def wait() -> Any:
        return await output

    return wait
