"""Kills processes at chosen instants and judges what they left: nothing lost, torn or repeated."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import apsw

from abstractruntime import Scheduler, WorkflowRegistry
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.storage.base import Store
from abstractruntime.testing.host import Host
from abstractruntime.testing.witness import committed_keys
from tests.crashes.invoice import invoices
from tests.crashes.verdict import check_ledger, comparable, family, judge
from tests.faults.worker import Job, clock_after, runtime_of, unended, work, work_through_interrupts

PATIENCE_S = 15.0


def context() -> ForkServerContext:
    """Processes forked from one that has only imported what they need: cheap, and clean."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["pytest", "tests.faults.worker", "apsw", "asyncio"])
    return made


@dataclass
class Hits:
    """Where the killed processes were, as the store showed it afterwards."""

    points: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    killed: int = 0
    late: int = 0

    def __str__(self) -> str:
        widest = max(map(len, self.points), default=0)
        lines = [
            f"  {point:<{widest}} {count:4d} {'#' * count}"
            for point, count in sorted(self.points.items())
        ]
        head = (
            f"{self.killed} processes killed ({self.late} had ended before), "
            f"{self.repeated} effects repeated before their commit; runs stood at:"
        )
        return "\n".join([head, *lines])


class Campaign:
    """A series of killed processes, each on a fresh store."""

    def __init__(self, folder: Path, *, seed: int, **job: Any) -> None:
        self._folder = folder
        self._job = job
        self._dice = random.Random(seed)
        self._context = context()
        self._count = 0
        self.hits = Hits()
        self.output = self._clean_output()

    def _new_job(self) -> Job:
        self._count += 1
        folder = self._folder / f"{self._count:04d}"
        folder.mkdir()
        return Job(folder, **self._job)

    def _start(
        self, job: Job, *more: Any, target: Callable[..., None] = work
    ) -> tuple[BaseProcess, Any]:
        heard, said = self._context.Pipe(duplex=False)
        process = self._context.Process(target=target, args=(job, said, *more), daemon=True)
        process.start()
        said.close()
        return process, heard

    def _spawn(self, job: Job, target: Callable[..., None] = work) -> tuple[BaseProcess, Any]:
        """Start a process; it is just about to make its first commit."""
        process, heard = self._start(job, target=target)
        assert heard.poll(PATIENCE_S), "the worker does not begin"
        assert heard.recv() == "begins"
        return process, heard

    def _clean_output(self) -> Any:
        job = self._new_job()
        process, _ = self._spawn(job)
        process.join(PATIENCE_S)
        assert process.exitcode == 0
        with job.open() as store:
            (first, *_) = [run for run in store.list_runs() if run.parent_run_id is None]
            return comparable(first.output)

    def measure(self) -> tuple[float, int]:
        """How long a process takes from before its first commit to its end, and its statements."""
        taken = []
        statements = 0
        for _ in range(3):
            process, heard = self._spawn(self._new_job())
            begin = time.perf_counter()
            process.join(PATIENCE_S)
            taken.append(time.perf_counter() - begin)
            statements = heard.recv()
        return statistics.median(taken), statements

    def kill_uniformly(self, count: int) -> None:
        """Kill `count` processes at instants uniform between their first commit and their end."""
        whole, _ = self.measure()
        instants = [(place + self._dice.random()) / count * whole for place in range(count)]
        self._dice.shuffle(instants)
        while instants:
            instant = instants.pop()
            job = self._new_job()
            process, _ = self._spawn(job)
            process.join(instant)
            if process.exitcode is not None:
                # Faster than those measured: it is drawn again, from the time that this one took.
                self.hits.late += 1
                assert self.hits.late < 2 * count, "the workers end before they can be killed"
                instants.insert(0, self._dice.random() * instant)
                continue
            process.kill()
            process.join(PATIENCE_S)
            self.hits.killed += 1
            self.judge(job, by_scheduler=self.hits.killed % 2 == 0)

    def kill_before_statement(self, number: int) -> None:
        """One process kills itself before its n-th SQL statement."""
        job = self._new_job()
        process, _ = self._start(job, number)
        process.join(PATIENCE_S)
        self._judge_killed(job, process.exitcode, by_scheduler=number % 2 == 0)

    def count_syscalls(self, names: str) -> int:
        """How many of these system calls a process makes that is not killed."""
        log = self._folder / "syscalls"
        assert self._trace(self._new_job(), names, log) == 0
        return len(log.read_bytes().splitlines())

    def kill_before_syscall(self, names: str, number: int) -> None:
        """strace kills one process as it enters the n-th of these system calls."""
        job = self._new_job()
        injected = f"inject={names}:signal=KILL:when={number}"
        ended = self._trace(job, names, Path("/dev/null"), "-e", injected)
        # strace dies as what it traced did.
        self._judge_killed(job, ended, by_scheduler=number % 2 == 0)

    def _trace(self, job: Job, names: str, log: Path, *options: str) -> int:
        strace = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={names}", *options]
        worker = [sys.executable, "-m", "tests.faults.worker", str(job.folder)]
        done = subprocess.run(
            [*strace, *worker], check=False, capture_output=True, timeout=4 * PATIENCE_S
        )
        return done.returncode

    def interrupt(self, most: int) -> int:
        """One process gets up to `most` Ctrl-C while it works; how many it met."""
        job = self._new_job()
        process, heard = self._spawn(job, work_through_interrupts)
        assert process.pid is not None
        for _ in range(most):
            process.join(self._dice.uniform(0.0005, 0.012))
            if process.exitcode is not None:
                break
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
        process.join(PATIENCE_S)
        if process.exitcode is None:
            process.kill()
            raise AssertionError("the interrupted process hangs")
        assert process.exitcode == 0
        met = int(heard.recv())
        self.judge(job, by_scheduler=False, crashes=met)
        return met

    def _judge_killed(self, job: Job, exitcode: int | None, *, by_scheduler: bool) -> None:
        if exitcode == 0:
            self.hits.late += 1
            return
        assert exitcode == -signal.SIGKILL, f"ended by {exitcode}"
        self.hits.killed += 1
        self.judge(job, by_scheduler=by_scheduler)

    # -- judging

    def judge(self, job: Job, *, by_scheduler: bool, crashes: int = 1) -> None:
        """Look at what the dead process left, go on in this one, and look again."""
        check_integrity(job)
        with job.open() as store:
            self._check_acknowledged(job, store)
            runs = [run.run_id for run in store.list_runs() if run.parent_run_id is None]
            before = len(job.witness.performed)
            known: set[str] = set()
            for run_id in runs:
                for run in family(store, run_id):
                    check_ledger(store, run.run_id)
                    known |= committed_keys(store, run.run_id)
                    self._note(job, store, run)
            self._finish(job, store, by_scheduler)
            performed = job.witness.performed
            again = [seen for seen in performed[before:] if seen.key in known]
            assert again == [], f"performed again after their commit: {again}"
            for run_id in runs:
                judge(
                    store,
                    run_id,
                    built=invoices(job.witness),
                    output=self.output,
                    witness=job.witness,
                    crashes=crashes,
                )
            self.hits.repeated += len(performed) - len({seen.key for seen in performed})
        check_integrity(job)

    def _check_acknowledged(self, job: Job, store: Store) -> None:
        """Nothing whose commit was acknowledged is lost."""
        for line in acknowledged(job):
            run_id, revision = line
            loaded = store.load(run_id)
            assert loaded is not None, f"run {run_id} is lost"
            assert loaded.run.checkpoint is not None
            assert loaded.run.checkpoint.revision >= revision, f"run {run_id} went back"

    def _finish(self, job: Job, store: Store, by_scheduler: bool) -> None:
        clock = clock_after(store)
        runtime = runtime_of(job, store, clock)
        if by_scheduler:
            registry = WorkflowRegistry()
            for spec in invoices(job.witness).specs.values():
                registry.register(spec)
            Scheduler(runtime=runtime, registry=registry).poll_once()
        host = Host(runtime, clock, awaiting=job.awaiting)
        for run_id in unended(store):
            host.finish(run_id)

    def _note(self, job: Job, store: Store, run: RunState) -> None:
        performed = {seen.key for seen in job.witness.performed}
        self.hits.points[where(run, performed)] += 1


def where(run: RunState, performed: set[str]) -> str:
    """The point at which a dead process left a run, in words."""
    assert run.checkpoint is not None
    step = next(iter(run.checkpoint.open_steps.values()), None)
    if step is not None and step.child is not None:
        phase = "its child runs"
    elif step is not None:
        phase = "performed, not committed" if step.key in performed else "intent committed"
    elif run.status is RunStatus.WAITING:
        phase = "waits"
    elif run.status is RunStatus.RUNNING:
        phase = "before its node"
    else:
        phase = run.status.value
    return f"{run.workflow_id}.{run.current_node}: {phase}"


def acknowledged(job: Job) -> list[tuple[str, int]]:
    """(run, revision) of every commit that a process was told is durable."""
    if not job.acks.exists():
        return []
    *whole, _ = job.acks.read_text().split("\n")
    return [(line.split()[0], int(line.split()[1])) for line in whole]


def check_integrity(job: Job) -> None:
    """Assert that SQLite finds nothing wrong with the job's file; JSON files have no such check."""
    if job.database.exists():
        check_sqlite(job.database)


def check_sqlite(database: Path) -> None:
    """Assert that SQLite finds nothing wrong with the file."""
    connection = apsw.Connection(str(database))
    try:
        assert connection.pragma("integrity_check") == "ok"
        assert connection.pragma("foreign_key_check") is None
    finally:
        connection.close()
