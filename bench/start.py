"""Import time net of Python's own start, and how late a timer fires while a handler blocks."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from typing import Any

from abstractruntime import (
    Effect,
    EffectOutcome,
    StepPlan,
    WorkflowSpec,
    create_scheduled_runtime,
    open_store,
)
from abstractruntime.core.times import plus, seconds_between
from bench.harness import Line, folder, under
from bench.speed import sleep_workflow

BLOCK_S = 10.0


def import_time(times: int = 9) -> Line:
    """Median milliseconds of `import abstractruntime` net of an empty Python, in turn."""

    def took(code: str) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - begun

    took("import abstractruntime")
    nets = []
    for _ in range(times):
        empty = took("pass")
        nets.append((took("import abstractruntime") - empty) * 1e3)
    return under("import abstractruntime, net of Python's start", statistics.median(nets), 60, "ms")


def timer_during_block() -> Line:
    """Milliseconds a timer is late while another run's handler blocks for ten seconds."""
    entered = threading.Event()

    def block(run: Any, effect: Any) -> EffectOutcome:
        entered.set()
        time.sleep(BLOCK_S)
        return EffectOutcome.completed()

    with folder() as at, open_store(f"sqlite:///{at}/runs.db") as store:
        scheduled = create_scheduled_runtime(store=store, effect_handlers={"block": block})
        runtime = scheduled.runtime
        soon = plus(runtime.now_iso(), 0.2)
        blocking = WorkflowSpec(
            "blocking",
            "sleep",
            {
                "sleep": lambda run, ctx: StepPlan(
                    "sleep", Effect("wait_until", {"until": soon}), "block"
                ),
                "block": lambda run, ctx: StepPlan("block", Effect("block"), "end"),
                "end": lambda run, ctx: StepPlan("end", complete_output={}),
            },
        )
        scheduled.run(blocking)
        assert entered.wait(10)
        late = []
        for wait_s in (0.5, 1.0, 1.5, 2.0, 2.5):
            due = plus(runtime.now_iso(), wait_s)
            work = sleep_workflow(due)
            object.__setattr__(work, "workflow_id", f"sleep-{wait_s}")
            run_id, _ = scheduled.run(work)
            while (state := runtime.get_state(run_id)).status != "completed":
                time.sleep(0.001)
            late.append(seconds_between(due, state.updated_at) * 1e3)
        scheduled.stop(timeout=2 * BLOCK_S)
    return under("a timer during another run's 10 s block, worst of 5", max(late), 50, "ms late")


def run() -> list[Line]:
    """Both figures."""
    return [import_time(), timer_during_block()]
