"""One run of a workflow by processes that die one after another, each at a chosen call.

A "process" is a Runtime of its own over a CrashingStore of its own; what outlives it is the store
beneath, the clock and the witness.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from abstractruntime import Runtime, WorkflowRegistry
from abstractruntime.storage.base import Store
from abstractruntime.testing.clock import VirtualClock
from abstractruntime.testing.crashes import Crash, CrashingStore, Fuse, When
from abstractruntime.testing.host import Host, ScheduledHost
from abstractruntime.testing.witness import Witness, outcome_committed
from abstractruntime.testing.workflows import Built, Seer
from tests.crashes.verdict import comparable, judge

Point = tuple[int, When]
"""Where a process dies: before or after its n-th call."""

Process = Callable[[Fuse, VirtualClock], AbstractContextManager[Store]]
"""Opens the store as a new process would; its calls are guarded by the fuse."""

Workflow = Callable[[Seer], Built]

_numbers = itertools.count(1)


@dataclass
class Ground:
    """Where trials happen: `process` for those that die, `beneath` for the judge.

    `scheduled`: a scheduler moves what one may move; else a host does, by these drivers.
    """

    beneath: Store
    process: Process
    awaiting: bool = False
    max_steps: float = 100
    scheduled: bool = False


def on_one_store(store: Store, **options: Any) -> Ground:
    """Every process sees the same open store, through a CrashingStore of its own."""

    @contextmanager
    def process(fuse: Fuse, clock: VirtualClock) -> Iterator[Store]:
        yield CrashingStore(store, fuse)

    return Ground(store, process, **options)


@dataclass
class Trial:
    """A run by several processes; after `play` what there is to judge."""

    ground: Ground
    workflow: Workflow
    witness: Witness = field(init=False)
    built: Built = field(init=False)
    clock: VirtualClock = field(default_factory=lambda: VirtualClock(step=0.001))
    run_id: str | None = None
    fuses: list[Fuse] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = f"trial-{next(_numbers)}"
        self.witness = Witness(outcome_committed(self.ground.beneath))
        self.built = self.workflow(self.witness)

    def play(self, *points: Point) -> Trial:
        """One process after another dies at its point, the last one ends the run."""
        for at, when in points:
            if self._process(Fuse(at, when)):
                return self
        assert self._process(Fuse())
        return self

    @property
    def crashes(self) -> int:
        return sum(fuse.burnt is not None for fuse in self.fuses)

    @property
    def output(self) -> Any:
        assert self.run_id is not None
        loaded = self.ground.beneath.load(self.run_id)
        assert loaded is not None
        return comparable(loaded.run.output)

    def judge(self, output: Any) -> None:
        """Assert that it went as one without crashes, whose output was `output`."""
        assert self.run_id is not None
        judge(
            self.ground.beneath,
            self.run_id,
            built=self.built,
            output=output,
            witness=self.witness,
            crashes=self.crashes,
        )

    def _process(self, fuse: Fuse) -> bool:
        """A new process goes on until it dies (False) or the run has ended."""
        self.fuses.append(fuse)
        self.witness.fuse = fuse
        sleeps = mock.patch("time.sleep", self.clock.forward)
        with self.ground.process(fuse, self.clock) as store, sleeps:
            runtime = Runtime(
                store=store,
                context=self.clock,
                effect_handlers=self.built.handlers,
                effect_policy=self.built.policy,
                workflow_registry=self.built,
            )
            host = self._host(runtime)
            try:
                if self.run_id is None:
                    self.run_id = self._found() or host.start(
                        self.built.root, actor_id=self.name, vars={"by": "trial"}
                    )
                host.finish(self.run_id)
            except Crash:
                return False
        return True

    def _host(self, runtime: Runtime) -> Host:
        ground = self.ground
        options: dict[str, Any] = {"awaiting": ground.awaiting, "max_steps": ground.max_steps}
        if not ground.scheduled:
            return Host(runtime, self.clock, **options)
        registry = WorkflowRegistry()
        for spec in self.built.specs.values():
            registry.register(spec)
        return ScheduledHost(runtime, self.clock, registry, **options)

    def _found(self) -> str | None:
        """The run, when the process that started it died before it heard its id."""
        runs = self.ground.beneath.list_runs(workflow_id=self.built.root.workflow_id, limit=5)
        return next((run.run_id for run in runs if run.actor_id == self.name), None)


def clean(ground: Ground, workflow: Workflow) -> tuple[Any, list[str]]:
    """The output of a run without a crash, judged, and the calls it made."""
    trial = Trial(ground, workflow).play()
    trial.judge(trial.output)
    return trial.output, trial.fuses[0].calls


READS = frozenset({"load", "load_marked", "list", "list_records", "list_messages", "list_evidence"})


def every_point(calls: list[str], *, stride: int = 1, reads: bool = True) -> Iterator[Point]:
    """Before and after each of these calls, or each `stride`-th; `reads`: those of reads too."""
    for at, name in list(enumerate(calls, 1))[::stride]:
        if reads or name not in READS:
            yield at, When.BEFORE
            yield at, When.AFTER


def survey(ground: Ground, workflow: Workflow, plans: Iterable[tuple[Point, ...]]) -> int:
    """Play and judge each plan; how many there were. AssertionError tells of all that failed."""
    output, _ = clean(ground, workflow)
    failures: list[str] = []
    count = 0
    for plan in plans:
        count += 1
        trial = Trial(ground, workflow)
        try:
            trial.play(*plan).judge(output)
        except Exception as error:
            where = " then ".join(str(fuse.burnt) for fuse in trial.fuses if fuse.burnt)
            lines = str(error).strip().splitlines() or [type(error).__name__]
            failures.append(f"crash {where} {list(plan)}: {lines[0][:160]}")
    if failures:
        shown = "\n".join(failures[:4])
        raise AssertionError(f"{len(failures)} of {count} plans failed:\n{shown}")
    return count
