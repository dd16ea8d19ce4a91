"""Cost follows change: long runs, large states, growing lists; time per step and bytes on disk."""

from __future__ import annotations

import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

from abstractruntime import Effect, Runtime, StepPlan, WorkflowSpec, open_store
from bench.harness import Line, folder, over, under
from bench.speed import nothing


def size_on_disk(at: Path) -> int:
    """Bytes of the database with its wal and shm."""
    return sum(file.stat().st_size for file in at.glob("runs.db*"))


def node_workflow(change: Any, steps: int, payload: Any = None) -> WorkflowSpec:
    """A loop of call effects whose node applies `change(vars, n)`."""

    def node(run: Any, ctx: Any) -> StepPlan:
        n = run.vars["n"] = run.vars.get("n", 0) + 1
        if n > steps:
            return StepPlan("node", complete_output={"n": n})
        change(run.vars, n)
        effect = {"function": "nothing"} if payload is None else payload(run.vars)
        return StepPlan("node", Effect("call", effect, "got"), "node")

    return WorkflowSpec("change", "node", {"node": node}, {"nothing": lambda **_: nothing()})


def long_run(steps: int = 100_000) -> Line:
    """Time per step at the end of a long run against its beginning, in windows side by side."""
    with folder() as at, open_store(f"sqlite:///{at}/runs.db", durability="process") as store:
        runtime = Runtime(store=store)
        work = node_workflow(lambda vars, n: None, steps)
        run_id = runtime.start(workflow=work)
        fresh = [runtime.start(workflow=work) for _ in range(5)]
        runtime.tick(workflow=work, run_id=run_id, max_steps=steps - 6000)
        ratios = []
        for other in fresh:
            early = timed(runtime, work, other, 1000)
            late = timed(runtime, work, run_id, 1000)
            ratios.append(late / early)
        return under(
            f"ms per step at {steps:,} steps against at 1,000", statistics.median(ratios), 1.3, "x"
        )


def timed(runtime: Runtime, work: WorkflowSpec, run_id: str, steps: int) -> float:
    """Seconds for `steps` more node calls of the run."""
    begun = time.perf_counter()
    runtime.tick(workflow=work, run_id=run_id, max_steps=steps)
    return time.perf_counter() - begun


def messages(count: int) -> list[dict[str, Any]]:
    """A conversation of 1 KB messages."""
    rng = random.Random(7)
    return [
        {"role": "user", "content": "".join(rng.choices("abcdefgh ", k=970)), "n": i}
        for i in range(count)
    ]


def large_state(shape: str, steps: int = 1000) -> list[Line]:
    """A 1 MiB state with one small field changed, beside it or nested beside it."""
    if shape == "beside":
        vars: dict[str, Any] = {"context": {"messages": messages(1024)}}
    elif shape == "nested":
        vars = {"context": {"inner": {"messages": messages(1024), "count": 0}}}
    else:
        vars = {"blob": "x" * (1 << 20)}

    def change(vars: dict[str, Any], n: int) -> None:
        if shape == "nested":
            vars["context"]["inner"]["count"] = n

    with folder() as at:
        store = open_store(f"sqlite:///{at}/runs.db")
        runtime = Runtime(store=store)
        work = node_workflow(change, steps)
        run_id = runtime.start(workflow=work, vars=vars)
        runtime.tick(workflow=work, run_id=run_id, max_steps=5)
        before = size_on_disk(at)
        took = timed(runtime, work, run_id, steps - 10)
        wal = sum(file.stat().st_size for file in at.glob("runs.db-wal"))
        store.close()
        grown = (size_on_disk(at) - before) / steps
        lines = [
            over(
                f"1 MiB state, {shape}: one small field, power", (steps - 10) / took, 400, "steps/s"
            ),
            under(
                f"1 MiB state, {shape}: file growth per step",
                grown / 1024,
                8,
                "KiB",
                f"(wal before close {wal >> 20} MiB)",
            ),
        ]
        with open_store(f"sqlite:///{at}/runs.db") as again:
            last = again.load(run_id)
            assert last is not None
            assert last.run.checkpoint is not None
            took_ms = []
            for revision in random.Random(3).sample(range(1, last.run.checkpoint.revision), 40):
                begun = time.perf_counter()
                again.load_at(run_id, revision)
                took_ms.append((time.perf_counter() - begun) * 1e3)
        lines.append(under(f"1 MiB state, {shape}: load of any revision", max(took_ms), 30, "ms"))
        return lines


def growing_list(with_payload: bool, steps: int = 1000) -> Line:
    """A list growing by 1 KB a step with counters before, inside and after it, in one variable."""
    rng = random.Random(11)
    items = ["".join(rng.choices("abcdefghijklmnop ", k=1000)) for _ in range(steps)]

    def change(vars: dict[str, Any], n: int) -> None:
        doc = vars.setdefault("doc", {"before": 0, "items": [{"inside": 0}], "after": 0})
        doc["before"] = n
        doc["items"][0]["inside"] = n
        doc["items"].append({"n": n, "text": items[n - 1]})
        doc["after"] = n

    def payload(vars: dict[str, Any]) -> dict[str, Any]:
        return {"function": "nothing", "arguments": {"items": vars["doc"]["items"]}}

    with folder() as at:
        store = open_store(f"sqlite:///{at}/runs.db", durability="process")
        runtime = Runtime(store=store)
        work = node_workflow(change, steps, payload if with_payload else None)
        run_id = runtime.start(workflow=work)
        state = runtime.tick(workflow=work, run_id=run_id, max_steps=10**9)
        assert state.status == "completed"
        store.close()
        grown = size_on_disk(at) / 1e6
        check_history(at, run_id, items, with_payload)
    name = "growing list and whole-list payloads" if with_payload else "growing list"
    return under(f"1,000 steps, {name}: on disk after close", grown, 9 if with_payload else 6, "MB")


def check_history(at: Path, run_id: str, items: list[str], with_payload: bool) -> None:
    """Every past state and payload, rebuilt, is exactly what it was."""
    with open_store(f"sqlite:///{at}/runs.db") as store:
        last = store.load(run_id)
        assert last is not None
        assert last.run.checkpoint is not None
        for revision in range(2, last.run.checkpoint.revision):
            n = revision - 1
            doc = store.load_at(run_id, revision).run.vars["doc"]
            assert [doc["before"], doc["items"][0]["inside"], doc["after"]] == [n, n, n]
            assert [item["text"] for item in doc["items"][1:]] == items[:n]
        if with_payload:
            n = 0
            for record in store.list_records(run_id):
                if record["status"] == "started":
                    n += 1
                    sent = record["effect"]["payload"]["arguments"]["items"]
                    assert sent[0] == {"inside": n}
                    assert [item["text"] for item in sent[1:]] == items[:n], json.dumps(n)


def run() -> list[Line]:
    """All figures of cost against change."""
    lines = [long_run()]
    for shape in ("beside", "nested", "text"):
        lines += large_state(shape)
    return [*lines, growing_list(False), growing_list(True)]
