"""The process that gets killed: it moves invoice runs on a durable store, says what was durable.

It appends "run revision" to `acks` after each commit it was told is durable; its effects append to
`effects`. Both files are how the parent knows afterwards what must not be lost or repeated.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abstractruntime import Runtime, open_store
from abstractruntime.core.commit import Commit
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState
from abstractruntime.storage.base import Store
from abstractruntime.testing.clock import EPOCH, VirtualClock
from abstractruntime.testing.host import Host
from abstractruntime.testing.witness import FileWitness
from tests.crashes.invoice import invoices


@dataclass(frozen=True)
class Job:
    """What one killed process and those after it work on."""

    folder: Path
    kind: str = "sqlite"
    durability: str = "power"
    awaiting: bool = False
    runs: int = 1

    @property
    def database(self) -> Path:
        return self.folder / "runs.db"

    @property
    def acks(self) -> Path:
        return self.folder / "acks"

    @property
    def witness(self) -> FileWitness:
        return FileWitness(self.folder / "effects")

    def open(self) -> Store:
        if self.kind == "files":
            return open_store(f"files:///{self.folder / 'store'}")
        return open_store(f"sqlite:///{self.database}", durability=self.durability)


def runtime_of(job: Job, store: Store, clock: VirtualClock) -> Runtime:
    """A runtime on the job's store that appends what it committed to `acks`."""
    built = invoices(job.witness)
    runtime = Runtime(
        store=store,
        context=clock,
        effect_handlers=built.handlers,
        effect_policy=built.policy,
        workflow_registry=built,
    )
    acks = os.open(job.acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def acknowledge(commit: Commit) -> None:
        lines = f"{commit.run_id} {commit.checkpoint.revision}\n"
        os.write(acks, lines.encode())

    runtime.hooks.add(acknowledge)
    return runtime


def clock_after(store: Store) -> VirtualClock:
    """A clock that goes on where the runs in the store stopped."""
    runs = store.list_runs(limit=1000)
    return VirtualClock(max([run.updated_at for run in runs], default=EPOCH), step=0.001)


def unended(store: Store) -> list[str]:
    """The runs a host would go on with: those without a parent that have not ended."""
    runs = store.list_runs(limit=1000)
    return [run.run_id for run in runs if run.status not in ENDED and run.parent_run_id is None]


def work(job: Job, said: Any, die_at: int | None = None) -> None:
    """Start the job's runs and move them to their ends, each in a thread of its own.

    `said` (a connection) is told when the first commit is about to come and how many statements
    were executed at the end; `die_at` kills the process before its n-th SQL statement.
    """
    counted = count_statements(die_at)
    with job.open() as store:
        clock = clock_after(store)
        runtime = runtime_of(job, store, clock)
        host = Host(runtime, clock, awaiting=job.awaiting)
        spec = invoices(job.witness).root
        said.send("begins")

        def one() -> None:
            host.finish(host.start(spec))

        if job.runs == 1:
            one()
            said.send(len(counted))
            return
        threads = [threading.Thread(target=one) for _ in range(job.runs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    said.send(len(counted))


class Interrupts:
    """Ctrl-C raises KeyboardInterrupt once each time it is armed, and is else ignored."""

    def __init__(self) -> None:
        self.armed = False
        self.count = 0
        signal.signal(signal.SIGINT, self._came)

    def _came(self, number: int, frame: Any) -> None:
        if self.armed:
            self.armed = False
            self.count += 1
            raise KeyboardInterrupt


def work_through_interrupts(job: Job, said: Any) -> None:
    """As `work`, in the main thread, going on after each Ctrl-C; it tells how many there were.

    Under the awaiting driver a Ctrl-C cancels the task, as the event loop wants it.
    """
    # A handler that was interrupted before it began is no news; printing it would be interrupted.
    warnings.simplefilter("ignore", RuntimeWarning)
    interrupts = Interrupts()
    with job.open() as store:
        clock = clock_after(store)
        runtime = runtime_of(job, store, clock)
        host = Host(runtime, clock)
        run_ids = [host.start(invoices(job.witness).root) for _ in range(job.runs)]
        said.send("begins")
        if job.awaiting:
            finishing = _finish_through_cancellations(runtime, clock, run_ids)
            # Never closed: that would bring back KeyboardInterrupt for signals that come late.
            interrupts.count = asyncio.new_event_loop().run_until_complete(finishing)
        for run_id in run_ids:
            while True:
                interrupts.armed = not job.awaiting
                try:
                    host.finish(run_id)
                    break
                except KeyboardInterrupt:
                    continue
        interrupts.armed = False
    said.send(interrupts.count)


async def _finish_through_cancellations(
    runtime: Runtime, clock: VirtualClock, run_ids: list[str]
) -> int:
    """All runs at once, each by tasks of its own; every Ctrl-C cancels all that are under way."""
    under_way: set[asyncio.Task[Any]] = set()
    count = 0

    async def finish(run_id: str) -> None:
        nonlocal count
        while (run := runtime.get_state(run_id)).status not in ENDED:
            if run.waiting is not None and run.waiting.until is not None:
                clock.forward_to(run.waiting.until)
            task = asyncio.ensure_future(_moved(runtime, run))
            under_way.add(task)
            try:
                await task
            except asyncio.CancelledError:
                count += 1
            finally:
                under_way.discard(task)

    def interrupt() -> None:
        for task in under_way:
            task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
    await asyncio.gather(*map(finish, run_ids))
    return count


async def _moved(runtime: Runtime, run: RunState) -> RunState:
    assert runtime.workflow_registry is not None
    spec = runtime.workflow_registry.get(run.workflow_id)
    assert spec is not None
    if run.waiting is None or run.waiting.prompt is None:
        return await runtime.atick(workflow=spec, run_id=run.run_id)
    return await runtime.aresume(
        workflow=spec, run_id=run.run_id, wait_key=None, payload={"choice": "approve"}
    )


def count_statements(die_at: int | None) -> list[str]:
    """Every SQL statement of this process from now on, as it is about to be executed."""
    import apsw

    counted: list[str] = []

    def trace(cursor: Any, statement: str, values: Any) -> bool:
        counted.append(statement)
        if len(counted) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    def connected(connection: Any) -> None:
        connection.exec_trace = trace

    apsw.connection_hooks.append(connected)
    return counted


class _Nobody:
    """Who is told when nobody listens."""

    def send(self, said: Any) -> None:
        pass


if __name__ == "__main__":
    work(Job(Path(sys.argv[1])), _Nobody())
