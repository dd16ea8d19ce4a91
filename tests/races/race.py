"""The race: many movers tick and resume the same runs, as fast as they can, until all have ended.

What they did is collected as `Told`; `violations` is the one judge, of real runs and of mutants.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from abstractruntime import Effect, RunStatus, Runtime, StepPlan, WorkflowSpec, verify_ledger_chain
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState
from abstractruntime.engine.outcome import StepContext
from abstractruntime.errors import Contended, NotWaiting, StaleAnswer, WaitKeyMismatch
from abstractruntime.storage.base import Store
from abstractruntime.testing.workflows import Seer
from tests.crashes.verdict import check_ended

TYPED = (Contended, NotWaiting, StaleAnswer, WaitKeyMismatch)
"""What a loser may be told."""

EFFECTS = 2
MOST_MS = 20
PATIENCE_S = 17.0


class Meeting:
    """All movers are in the same node of the same run, once: nobody has committed, all have loaded.

    So at least this collision is certain.
    """

    def __init__(self, movers: int) -> None:
        self._barrier = threading.Barrier(movers)
        self._held = False

    def __call__(self) -> None:
        if not self._held:
            self._barrier.wait(PATIENCE_S)
            self._held = True


def raced(seer: Seer, meet: Callable[[], None] = lambda: None) -> WorkflowSpec:
    """An effect, a wait, an effect; each effect takes 0 to 20 ms."""

    def work(step: StepContext) -> str:
        seer.perform(step)
        # How long is derived from the step, so that a race can be run again.
        time.sleep(random.Random(step.key).randint(0, MOST_MS) / 1000)
        return step.node_id

    def effect(node_id: str, after: str) -> Any:
        call = Effect("call", {"function": "work"}, f"did_{node_id}")

        def node(run: RunState, context: Any) -> StepPlan:
            # Between load and commit: another thread goes on here, and so they collide.
            time.sleep(0)
            meet()
            return StepPlan(node_id, call, after)

        return node

    return WorkflowSpec(
        "raced",
        "a",
        {
            "a": effect("a", "wait"),
            "wait": lambda run, context: StepPlan(
                "wait", Effect("wait_event", {"wait_key": "go"}, "answer"), "b"
            ),
            "b": effect("b", "end"),
            "end": lambda run, context: StepPlan("end", complete_output=dict(run.vars)),
        },
        functions={"work": work},
    )


@dataclass
class Told:
    """What movers were told: whose answer was accepted, and the errors they met."""

    accepted: list[tuple[str, str]] = field(default_factory=list)
    typed: Counter[str] = field(default_factory=Counter)
    untyped: list[str] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def add(self, other: Told) -> None:
        """What another process's movers were told."""
        self.accepted += other.accepted
        self.typed += other.typed
        self.untyped += other.untyped

    def accept(self, run_id: str, who: str) -> None:
        with self._lock:
            self.accepted.append((run_id, who))

    def refuse(self, error: Exception) -> None:
        with self._lock:
            if isinstance(error, TYPED):
                self.typed[type(error).__name__] += 1
            else:
                self.untyped.append(f"{type(error).__name__}: {error}")


class Mover:
    """Ticks and resumes all runs, pass after pass, until they have ended."""

    def __init__(self, runtime: Runtime, spec: WorkflowSpec, name: str, told: Told) -> None:
        self._runtime = runtime
        self._spec = spec
        self._name = name
        self._told = told

    def move(self, run_ids: Sequence[str]) -> None:
        left = list(run_ids)
        deadline = time.monotonic() + PATIENCE_S
        while left and time.monotonic() < deadline and len(self._told.untyped) < 20:
            before = len(left)
            left = [run_id for run_id in left if not self._ended(run_id)]
            if len(left) == before:
                time.sleep(0.002)  # others have all that is left: let them work

    def _ended(self, run_id: str) -> bool:
        """Try to move the run on; whether it has ended."""
        try:
            run = self._runtime.tick(workflow=self._spec, run_id=run_id)
            if run.status is RunStatus.WAITING:
                run = self._runtime.resume(
                    workflow=self._spec, run_id=run_id, wait_key="go", payload={"by": self._name}
                )
                self._told.accept(run_id, self._name)
        except Exception as error:
            self._told.refuse(error)
            return False
        return run.status in ENDED


@contextmanager
def hasty_threads() -> Iterator[None]:
    """Threads take turns wherever they are, not where it suits them."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def race(
    runtime: Runtime,
    spec: WorkflowSpec,
    run_ids: Sequence[str],
    *,
    threads: int,
    told: Told,
    names: str = "",
    ready: Callable[[], Any] = lambda: None,
) -> None:
    """`threads` movers start from a barrier; `ready` is called once all stand at it."""
    barrier = threading.Barrier(threads + 1)

    def mover(number: int) -> None:
        barrier.wait()
        Mover(runtime, spec, f"{names}{number}", told).move(run_ids)

    movers = [threading.Thread(target=mover, args=(number,)) for number in range(threads)]
    with hasty_threads():
        for thread in movers:
            thread.start()
        ready()
        barrier.wait()
        for thread in movers:
            thread.join()


def violations(store: Store, run_ids: Sequence[str], performed: Sequence[Any], told: Told) -> Any:
    """Every way in which the race broke a promise; empty when it broke none."""
    found = [f"not a typed error: {text}" for text in told.untyped[:5]]
    keys = Counter(seen.key for seen in performed)
    twice = [key for key, count in keys.items() if count > 1]
    if twice:
        found.append(f"{len(twice)} effects performed more than once")
    if len(keys) != EFFECTS * len(run_ids):
        found.append(f"{len(keys)} of {EFFECTS * len(run_ids)} effects performed")
    answers = Counter(run_id for run_id, _ in told.accepted)
    if any(answers[run_id] != 1 for run_id in run_ids):
        found.append("a wait whose answers accepted are not one")
    winners = dict(told.accepted)
    for run_id in run_ids:
        found += _violations_of(store, run_id, winners.get(run_id))
    return found


def _violations_of(store: Store, run_id: str, winner: str | None) -> list[str]:
    try:
        loaded = store.load(run_id)
        if loaded is None:
            return [f"{run_id} is lost"]
        run = loaded.run
        if run.status is not RunStatus.COMPLETED:
            return [f"{run_id} is {run.status.value}: {run.error}"]
        assert run.output is not None
        if run.output["answer"] != {"by": winner}:
            return [f"{run_id} has the answer of {run.output['answer']}, accepted was {winner}"]
        if not verify_ledger_chain(store.list_records(run_id))["ok"]:
            return [f"the chain of {run_id} does not verify"]
        check_ended(store, run)
    except Exception as error:
        return [f"{run_id}: {type(error).__name__}: {error}"]
    return []
