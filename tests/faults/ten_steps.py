"""A run of ten steps on a durable store, in a process whose system calls somebody may trace.

The store lives in a folder, the witness of the effects beside it. The process says "ack run
revision" after each commit that it was told is durable; `spoiled` makes its store wrong on purpose.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from abstractruntime import Effect, Runtime, StepPlan, WorkflowRegistry, WorkflowSpec, open_store
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState
from abstractruntime.engine.outcome import StepContext
from abstractruntime.errors import Contended, StoreFault
from abstractruntime.storage import json_files
from abstractruntime.storage.base import Store
from abstractruntime.testing.clock import EPOCH, VirtualClock
from abstractruntime.testing.host import Host
from abstractruntime.testing.witness import FileWitness
from abstractruntime.testing.workflows import Seer

STEPS = 10
TRIES = 3
KINDS = ("sqlite", "files")


@dataclass(frozen=True)
class Place:
    """Where a ten-step run lives."""

    folder: Path
    kind: str
    spoiled: str = ""
    runs: int = 1
    below: str = ""

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    @property
    def store(self) -> Path:
        """The store's folder: the disk's own, or one below that is not there yet."""
        return self.disk / self.below

    @property
    def witness(self) -> FileWitness:
        return FileWitness(self.folder / "effects")

    def open(self) -> Store:
        if self.kind == "files":
            return open_store(f"files:///{self.store}")
        durability = "process" if self.spoiled == "process" else "power"
        return open_store(f"sqlite:///{self.store / 'runs.db'}", durability=durability)


# -- the workflow


def ten_steps(seer: Seer) -> WorkflowSpec:
    """One node entered ten times; its effects tell `seer`. Its vars outgrow a row on the way."""

    def work(*, at: int, step: StepContext) -> dict[str, Any]:
        seer.perform(step)
        return result(at)

    return WorkflowSpec("ten", "work", {"work": _work, "end": _end}, functions={"work": work})


def _work(run: RunState, context: Any) -> StepPlan:
    results = run.vars.setdefault("results", {})
    at = len(results)
    assert list(results) == [f"n{before}" for before in range(at)], "a result is missing"
    payload = {"function": "work", "arguments": {"at": at}}
    after = "work" if at + 1 < STEPS else "end"
    return StepPlan("work", Effect("call", payload, f"results.n{at}"), after)


def _end(run: RunState, context: Any) -> StepPlan:
    return StepPlan("end", complete_output=run.vars["results"])


def result(at: int) -> dict[str, Any]:
    """What a step's effect gives: a few KiB."""
    return {"at": at, "text": f"{at} Ödegård " * 300}


OUTPUT = {f"n{at}": result(at) for at in range(STEPS)}


def host_on(store: Store, seer: Seer, clock: VirtualClock | None = None) -> Host:
    """A host that can move the runs of a store on."""
    if clock is None:
        times = [run.updated_at for run in store.list_runs(limit=1000)]
        clock = VirtualClock(max(times, default=EPOCH), step=0.001)
    registry = WorkflowRegistry()
    registry.register(ten_steps(seer))
    return Host(Runtime(store=store, context=clock, workflow_registry=registry), clock)


def finish_all(store: Store, host: Host, least: int = 1) -> list[str]:
    """End the runs that have not ended, and new ones until there are `least`; the ids of all."""
    runs = store.list_runs(limit=1000)
    for run in runs:
        if run.status not in ENDED:
            host.finish(run.run_id)
    assert host.runtime.workflow_registry is not None
    spec = host.runtime.workflow_registry.get("ten")
    assert spec is not None
    run_ids = [run.run_id for run in runs]
    while len(run_ids) < least:
        run_ids.append(host.start(spec))
        host.finish(run_ids[-1])
    return run_ids


# -- the process


def work(place: Place, heard: Connection, said: Connection) -> None:
    """Wait to be told to go, then end a run; begin anew, up to three times, after a typed fault."""
    allow_any_tracer()
    SPOILERS[place.spoiled]()
    tell(said, "ready")
    os.read(heard.fileno(), 1)
    for _ in range(TRIES):
        try:
            with place.open() as store:
                host = host_on(store, place.witness)
                host.runtime.hooks.add(
                    lambda commit: tell(said, f"ack {commit.run_id} {commit.checkpoint.revision}")
                )
                finish_all(store, host, place.runs)
            tell(said, "ended")
            return
        except (StoreFault, Contended) as fault:
            tell(said, f"fault {type(fault).__name__}")
    sys.exit("three tries were not enough")


def tell(said: Connection, line: str) -> None:
    os.write(said.fileno(), line.encode() + b"\n")


def allow_any_tracer() -> None:
    """Some systems let processes be traced by their parents only; strace is none of ours."""
    import ctypes

    pr_set_ptracer, any_process = 0x59616D61, ctypes.c_ulong(-1)
    ctypes.CDLL(None).prctl(pr_set_ptracer, any_process, 0, 0, 0)


# -- stores that are wrong on purpose


def _skip_fsync(of: Callable[[int], bool]) -> Callable[[], None]:
    def spoil() -> None:
        fsync = os.fsync
        os.fsync = lambda fd: None if of(os.fstat(fd).st_mode) else fsync(fd)  # type: ignore[assignment]

    return spoil


def _write_in_place() -> None:
    def write(
        path: Path, data: bytes, *, ready: Callable[[os.stat_result], None] | None = None
    ) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(descriptor, data)
        os.fsync(descriptor)
        if ready is not None:
            ready(os.fstat(descriptor))
        os.close(descriptor)

    json_files.write_whole = write


SPOILERS: dict[str, Callable[[], None]] = {
    "": lambda: None,
    "process": lambda: None,
    "data not synced": _skip_fsync(stat.S_ISREG),
    "folder not synced": _skip_fsync(stat.S_ISDIR),
    "written in place": _write_in_place,
}
