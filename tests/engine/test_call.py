"""The call effect: Python functions, sync or async, as durable steps; and the two drivers."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from abstractruntime import (
    Effect,
    EffectOutcome,
    RunStatus,
    Runtime,
    StepPlan,
    WorkflowSpec,
    open_store,
)
from tests.engine.conftest import World


def calling(function: str, arguments: Any = None, **functions: Any) -> WorkflowSpec:
    payload: dict[str, Any] = {"function": function}
    if arguments is not None:
        payload["arguments"] = arguments
    return WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", Effect("call", payload, "got"), "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output={"got": run.vars.get("got")}),
        },
        functions,
    )


def add(a: int, b: int) -> int:
    return a + b


async def add_later(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@pytest.mark.parametrize("function", [add, add_later])
def test_a_function_of_the_workflow_is_called_with_its_arguments(
    world: World, function: Any
) -> None:
    assert world.run(calling("add", {"a": 1, "b": 2}, add=function)).output == {"got": 3}


def test_the_runtimes_functions_serve_where_the_workflow_has_none(world: World) -> None:
    world.make(functions={"add": add})
    assert world.run(calling("add", {"a": 1, "b": 2})).output == {"got": 3}


def test_a_function_may_ask_for_its_step(world: World) -> None:
    def key(step: Any) -> str:
        return str(step.key)

    state = world.run(calling("key", key=key))
    record = world.runtime.get_ledger(state.run_id)[0]
    assert state.output == {"got": record["idempotency_key"]}


def test_an_unknown_function_is_named_with_those_that_are_known(world: World) -> None:
    state = world.run(calling("sub", add=add))
    assert state.error is not None
    assert "Unknown function 'sub'; known: add" in state.error


@pytest.mark.parametrize("payload", [{}, {"function": 3}, {"function": "add", "arguments": [1]}])
def test_a_malformed_call_is_refused(world: World, payload: Any) -> None:
    work = WorkflowSpec(
        "w", "a", {"a": lambda run, ctx: StepPlan("a", Effect("call", payload), "a")}, {"add": add}
    )
    assert world.run(work).status is RunStatus.FAILED


def test_a_blocking_tick_performs_async_handlers_inside_a_running_loop() -> None:
    runtime = Runtime(store=open_store("memory://"))
    work = calling("add", {"a": 1, "b": 2}, add=add_later)

    async def main() -> Any:
        run_id = runtime.start(workflow=work)
        return runtime.tick(workflow=work, run_id=run_id).output

    assert asyncio.run(main()) == {"got": 3}


def test_a_thousand_runs_at_once_with_async_handlers_use_few_threads(tmp_path: Any) -> None:
    store = open_store(f"sqlite:///{tmp_path}/runs.db", durability="process")
    gate = asyncio.Event()
    seen: list[int] = []

    async def wait_for_all(run: Any, effect: Any) -> EffectOutcome:
        seen.append(threading.active_count())
        if len(seen) == 1000:
            gate.set()
        await gate.wait()
        return EffectOutcome.completed()

    runtime = Runtime(store=store, effect_handlers={"probe": wait_for_all})
    work = WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", Effect("probe"), "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output={}),
        },
    )

    async def main(before: int) -> None:
        ids = [await runtime.astart(workflow=work) for _ in range(1000)]
        states = await asyncio.gather(
            *(runtime.atick(workflow=work, run_id=run_id) for run_id in ids)
        )
        assert {state.status for state in states} == {RunStatus.COMPLETED}
        # The loop's own thread and the store's writer; tests before this one may have left some.
        assert max(seen) - before <= 2

    asyncio.run(main(threading.active_count() - 0))
    store.close()


def test_sync_handlers_do_not_block_the_loop_under_the_awaiting_driver() -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(run: Any, effect: Any) -> EffectOutcome:
        entered.set()
        assert leave.wait(10)
        return EffectOutcome.completed()

    runtime = Runtime(store=open_store("memory://"), effect_handlers={"slow": slow})
    work = WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", Effect("slow"), "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output={}),
        },
    )

    async def main() -> None:
        run_id = await runtime.astart(workflow=work)
        task = asyncio.create_task(runtime.atick(workflow=work, run_id=run_id))
        while not entered.is_set():
            await asyncio.sleep(0)
        leave.set()
        assert (await task).status is RunStatus.COMPLETED

    asyncio.run(main())


def test_a_cancelled_task_keeps_what_a_sync_handler_had_performed() -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(run: Any, effect: Any) -> EffectOutcome:
        entered.set()
        assert leave.wait(10)
        return EffectOutcome.completed({"performed": True})

    runtime = Runtime(store=open_store("memory://"), effect_handlers={"slow": slow})
    work = WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", Effect("slow", {}, "got"), "b"),
            "b": lambda run, ctx: StepPlan("b", Effect("slow", {}, "more"), "b"),
        },
    )

    async def main() -> None:
        run_id = await runtime.astart(workflow=work)
        task = asyncio.create_task(runtime.atick(workflow=work, run_id=run_id))
        while not entered.is_set():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        leave.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert runtime.get_state(run_id).vars["got"] == {"performed": True}

    asyncio.run(main())
