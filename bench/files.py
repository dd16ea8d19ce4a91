"""JSON files: steps against a raw loop of the same writes, long runs, many runs in a folder."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from abstractruntime import Runtime, open_store
from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState, run_to_dict
from abstractruntime.core.times import plus
from abstractruntime.storage.json_files import readable
from bench.change import timed
from bench.harness import Line, folder, side_by_side, stated, under
from bench.speed import loop_workflow

STEPS = 600
LINE = 900
ROW = 1700
BEGIN = "2026-01-01T00:00:00.000000+00:00"
EVERY = 1000


def sequential(steps: int = STEPS) -> float:
    """Steps per second of one run under the blocking driver."""
    with folder() as at, open_store(f"files:///{at}/runs") as store:
        runtime = Runtime(store=store)
        work = loop_workflow(steps)
        run_id = runtime.start(workflow=work)
        begun = time.perf_counter()
        state = runtime.tick(workflow=work, run_id=run_id, max_steps=10**9)
        assert state.status == "completed"
        return steps / (time.perf_counter() - begun)


def raw(steps: int = STEPS) -> float:
    """The same writes by hand: lines appended, a file replaced, its folder; each synced."""
    line, row = b"l" * LINE + b"\n", b"r" * ROW
    with folder() as at:
        ledger = os.open(at / "ledger.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        begun = time.perf_counter()
        for _ in range(steps):
            os.write(ledger, line)
            os.fsync(ledger)
            temp = os.open(at / "temp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(temp, row)
            os.fsync(temp)
            os.close(temp)
            os.replace(at / "temp", at / "run.json")
            names = os.open(at, os.O_RDONLY)
            os.fsync(names)
            os.close(names)
        took = time.perf_counter() - begun
        os.close(ledger)
        return steps / took


def long_run(steps: int = 20_000) -> Line:
    """Time per step at the end of a long run against its beginning, in windows side by side."""
    with folder() as at, open_store(f"files:///{at}/runs") as store:
        runtime = Runtime(store=store)
        work = loop_workflow(steps)
        run_id = runtime.start(workflow=work)
        fresh = [runtime.start(workflow=work) for _ in range(5)]
        runtime.tick(workflow=work, run_id=run_id, max_steps=steps - 5 * EVERY)
        ratios = []
        for other in fresh:
            early = timed(runtime, work, other, EVERY)
            late = timed(runtime, work, run_id, EVERY)
            ratios.append(late / early)
        ratio = statistics.median(ratios)
        return under(f"files: ms per step at {steps:,} steps against at 1,000", ratio, 1.3, "x")


def write_waiting(at: Path, count: int) -> None:
    """Files of runs that wait for a time each, as any implementation may write them."""
    for number in range(count):
        until = plus(BEGIN, number * 7919 % count)
        run = RunState(
            f"run-{number}",
            "flow",
            RunStatus.WAITING,
            "n",
            {"text": "x" * 200},
            waiting=WaitState(WaitReason.UNTIL, until=until),
            created_at=BEGIN,
            updated_at=until,
            checkpoint=Checkpoint(revision=1),
        )
        (at / f"run_{run.run_id}.json").write_bytes(readable(run_to_dict(run)))


def median_ms(ask: Callable[[], object], times: int = 50) -> float:
    """Milliseconds of a question, the median."""
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        ask()
        took.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(took)


def many(count: int = 100_000) -> list[Line]:
    """Questions to a folder of many waiting runs."""
    now = plus(BEGIN, 99)
    with folder() as at:
        write_waiting(at, count)
        url = f"files:///{at}"
        with open_store(url) as store:
            begun = time.perf_counter()
            assert len(store.list_due(now)) == 100
            built = time.perf_counter() - begun
        with open_store(url) as store:
            begun = time.perf_counter()
            assert len(store.list_due(now)) == 100
            opened = time.perf_counter() - begun
            due = median_ms(lambda: store.list_due(now))
            wake = median_ms(store.next_wake)
            listed = median_ms(lambda: store.list_runs(limit=100), 20)
            runtime = Runtime(store=store)
            work = loop_workflow(100)
            step = timed(runtime, work, runtime.start(workflow=work), 100) * 10
            assert len(store.list_due(now)) == 100
    small = sequential()
    return [
        under(f"files: 100 due of {count:,} waiting runs", due, 5, "ms"),
        under(f"files: next wake of {count:,} waiting runs", wake, 5, "ms"),
        stated(f"files: newest 100 of {count:,} runs", f"{listed:.1f} ms"),
        stated(f"files: first question to {count:,} foreign files", f"{built:.1f} s"),
        stated(f"files: first question of a new process to {count:,}", f"{opened:.2f} s"),
        stated(
            f"files: a step beside {count:,} runs, and alone",
            f"{step:.2f} ms, {1e3 / small:.2f} ms",
        ),
    ]


def run() -> list[Line]:
    """All figures of JSON files."""
    speed = side_by_side("files: sequential call, power", sequential, raw, at_least=0.5)
    return [speed, long_run(), *many()]
