"""Steps per second against a plain loop of two statements a transaction, at both durabilities."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path
from typing import Any

from abstractruntime import (
    Effect,
    Runtime,
    StepPlan,
    WorkflowSpec,
    create_scheduled_runtime,
    open_store,
)
from abstractruntime.core.times import plus
from bench.harness import Line, folder, over, say, side_by_side, stated
from bench.raw_sqlite import raw_rate

STEPS = 1500


def nothing() -> None:
    """What the benched call effects do."""


def loop_workflow(steps: int) -> WorkflowSpec:
    """A run of `steps` call effects in one node."""

    def node(run: Any, ctx: Any) -> StepPlan:
        n = run.vars["n"] = run.vars.get("n", 0) + 1
        if n > steps:
            return StepPlan("node", complete_output={"n": n})
        return StepPlan("node", Effect("call", {"function": "nothing"}, "got"), "node")

    return WorkflowSpec("loop", "node", {"node": node}, {"nothing": nothing})


def sequential(durability: str, steps: int = STEPS, max_steps: int = 10**9) -> float:
    """Steps per second of one run under the blocking driver."""
    with folder() as at, open_store(f"sqlite:///{at}/runs.db", durability=durability) as store:
        runtime = Runtime(store=store)
        work = loop_workflow(steps)
        run_id = runtime.start(workflow=work)
        begun = time.perf_counter()
        while True:
            state = runtime.tick(workflow=work, run_id=run_id, max_steps=max_steps)
            if state.status == "completed":
                return steps / (time.perf_counter() - begun)


def concurrent(durability: str, runs: int = 64, steps: int = 60) -> float:
    """Steps per second of `runs` runs under the awaiting driver."""
    with folder() as at, open_store(f"sqlite:///{at}/runs.db", durability=durability) as store:
        runtime = Runtime(store=store)
        work = loop_workflow(steps)
        work.functions["nothing"] = nothing_later  # type: ignore[index]

        async def main() -> float:
            ids = [runtime.start(workflow=work) for _ in range(runs)]
            begun = time.perf_counter()
            await asyncio.gather(
                *(runtime.atick(workflow=work, run_id=i, max_steps=10**9) for i in ids)
            )
            return runs * steps / (time.perf_counter() - begun)

        return asyncio.run(main())


async def nothing_later() -> None:
    """The async form of `nothing`."""


def ask_workflow() -> WorkflowSpec:
    """A question, then the end."""

    def ask(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("ask", Effect("ask_user", {"prompt": "?"}, "said"), "end")

    def end(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("end", complete_output={"said": run.vars["said"]})

    return WorkflowSpec("ask", "ask", {"ask": ask, "end": end})


def answers(durability: str = "power", runs: int = 200) -> float:
    """Median seconds from an answer to the completed run."""
    with folder() as at, open_store(f"sqlite:///{at}/runs.db", durability=durability) as store:
        runtime = Runtime(store=store)
        work = ask_workflow()
        ids = [runtime.start(workflow=work) for _ in range(runs)]
        for run_id in ids:
            runtime.tick(workflow=work, run_id=run_id)
        took = []
        for run_id in ids:
            begun = time.perf_counter()
            runtime.resume(workflow=work, run_id=run_id, wait_key=None, payload="yes")
            took.append(time.perf_counter() - begun)
        return statistics.median(took)


def sleep_workflow(until: str) -> WorkflowSpec:
    """A sleep, then the end."""

    def sleep(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("sleep", Effect("wait_until", {"until": until}, "woke"), "end")

    def end(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("end", complete_output={})

    return WorkflowSpec("sleep", "sleep", {"sleep": sleep, "end": end})


async def put_to_wait(runtime: Runtime, work: WorkflowSpec, runs: int) -> list[str]:
    """`runs` runs that wait."""
    gate = asyncio.Semaphore(256)

    async def one() -> str:
        async with gate:
            run_id = await runtime.astart(workflow=work)
            await runtime.atick(workflow=work, run_id=run_id)
            return run_id

    return list(await asyncio.gather(*(one() for _ in range(runs))))


def woken_by_answers(runs: int) -> float:
    """Runs per second from waiting to completed, by aresume."""
    with folder() as at, open_store(f"sqlite:///{at}/runs.db") as store:
        runtime = Runtime(store=store)
        work = ask_workflow()

        async def main() -> float:
            ids = await put_to_wait(runtime, work, runs)
            gate = asyncio.Semaphore(256)

            async def answer(run_id: str) -> str:
                async with gate:
                    state = await runtime.aresume(
                        workflow=work, run_id=run_id, wait_key=None, payload="yes"
                    )
                    return state.status.value

            begun = time.perf_counter()
            ended = await asyncio.gather(*(answer(run_id) for run_id in ids))
            assert set(ended) == {"completed"}
            return runs / (time.perf_counter() - begun)

        return asyncio.run(main())


def woken_by_timers(runs: int) -> float:
    """Runs per second from due to completed, all due together, by the scheduler."""
    with folder() as at, open_store(f"sqlite:///{at}/runs.db") as store:
        scheduled = create_scheduled_runtime(store=store, auto_start=False)
        runtime = scheduled.runtime
        due = plus(runtime.now_iso(), 6 + runs / 1500)
        work = sleep_workflow(due)
        scheduled.registry.register(work)
        asyncio.run(put_to_wait(runtime, work, runs))
        while runtime.now_iso() < due:
            time.sleep(0.05)
        begun = time.perf_counter()
        moved = 0
        while moved < runs:
            moved += scheduled.scheduler.poll_once()
        return runs / (time.perf_counter() - begun)


def fsync_latency(at: Path, times: int = 200) -> float:
    """Median seconds of a 4 KiB append with fdatasync."""
    descriptor = os.open(at / "fsync", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        os.write(descriptor, b"x" * 4096)
        os.fdatasync(descriptor)
        took.append(time.perf_counter() - begun)
    os.close(descriptor)
    return statistics.median(took)


def run(runs: int = 10_000) -> list[Line]:
    """All speed figures."""
    with folder() as at:
        lines = [
            stated("fsync (4 KiB append, fdatasync), median", f"{fsync_latency(at) * 1e6:.0f} us")
        ]
    power, process = (lambda: raw_rate("FULL")), (lambda: raw_rate("NORMAL"))
    lines += [
        side_by_side("sequential call, power", lambda: sequential("power"), power, at_least=0.75),
        side_by_side(
            "sequential call, process",
            lambda: sequential("process", 6000),
            process,
            at_least=0.25,
        ),
        side_by_side(
            "max_steps=1 driving, power",
            lambda: sequential("power", 600, max_steps=1),
            power,
            at_least=0.40,
        ),
        side_by_side("64 concurrent runs, power", lambda: concurrent("power"), power, at_least=2.6),
    ]
    pairs = [(1 / raw_rate("FULL"), answers()) for _ in range(5)]
    ratio = statistics.median(mine / base for base, mine in pairs)
    figure = (
        f"{ratio:.1f} transaction times ({statistics.median(p[1] for p in pairs) * 1e3:.2f} ms)"
    )
    lines.append(say(Line("answer -> completed, p50, power", figure, "<= 4", ratio <= 4)))
    lines.append(over(f"{runs:,} runs woken by aresume, power", woken_by_answers(runs), 2500, "/s"))
    lines.append(over(f"{runs:,} runs woken by timers, power", woken_by_timers(runs), 2500, "/s"))
    return lines
