"""A state machine whose actions happen to a World and to its Model, which must agree after each."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from abstractruntime import RunState, RunStatus
from abstractruntime.engine.children import child_id_of
from abstractruntime.errors import Refused, RevisionConflict
from abstractruntime.inspect.standing import standing_of
from abstractruntime.scheduler.recovery import orphaned
from abstractruntime.testing.crashes import Crash, When
from tests.property.checks import Checks
from tests.property.model import ENDED, Model, Run
from tests.property.world import World, moment

PLAIN = ("work", "async", "fresh", "note", "flaky", "loop", "move", "event", "ask", "timer")
TROUBLE = ("brittle", "broken")
CHILDREN = ("child:work", "child:note&event", "child:ask&work", "child:brittle&timer",
            "child:fresh&loop", "child:broken", "child:work&child:event&note")  # fmt: skip
PROGRAMS = st.lists(
    st.sampled_from((*PLAIN, *PLAIN, *TROUBLE, *CHILDREN)), min_size=1, max_size=5
).map("+".join)
MOST_RUNS = 4
FOREVER = float("inf")

RUNS = st.integers(0, 63)
DRIVERS = st.booleans()
CRASHES = st.one_of(
    st.none(),
    st.none(),
    st.lists(st.tuples(st.integers(1, 14), st.sampled_from(list(When))), min_size=1, max_size=2),
)
Points = list[tuple[int, When]] | None


class Machine(Checks, RuleBasedStateMachine):
    """The rules. A subclass names the kind of store.

    `counted` counts the actions of all its machines, `told` the moves that their ledgers tell of.
    """

    kind: ClassVar[str] = "memory"
    counted: ClassVar[Counter[str]] = Counter()
    told: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="property-")
        self.world = World(self.kind, Path(self._folder.name))
        self.lazy = self.kind not in ("memory", "sqlite")
        self.model = Model(lambda *step: child_id_of(step[0], 1, *step[1:]), moment, lazy=self.lazy)
        self.roots: list[str] = []
        self.edits = 0
        self.crashes = 0
        self.sound = True
        self.old: dict[str, tuple[RunState, int]] = {}
        self.seen: dict[str, dict[int, str]] = {}

    def teardown(self) -> None:
        try:
            if self.sound:
                self.world.reopen()
                for run in self.model.runs.values():
                    self.check(run)
        finally:
            for run in self.model.runs.values():
                self.told.update(said[0] for said in run.log)
            self.world.close()
            self._folder.cleanup()

    # -- actions

    @precondition(lambda self: len(self.roots) < MOST_RUNS)
    @rule(program=PROGRAMS, points=CRASHES)
    def start(self, program: str, points: Points) -> None:
        name = f"start-{len(self.roots)}"

        def begun() -> str | None:
            runs = self.world.store.list_runs(workflow_id=program)
            return next((run.run_id for run in runs if run.actor_id == name), None)

        def begin() -> None:
            if begun() is None:
                spec = self.world.programs.get(program)
                self.world.runtime.start(workflow=spec, vars={"by": "host"}, actor_id=name)

        self.act("start", begin, points)
        run_id = begun()
        assert run_id is not None
        self.roots.append(run_id)
        self.model.start(run_id, program, {"by": "host"})
        self.check_family(run_id)

    @precondition(lambda self: self.roots)
    @rule(which=RUNS, awaiting=DRIVERS, points=CRASHES)
    def settle(self, which: int, awaiting: bool, points: Points) -> None:
        self.tick(which, FOREVER, awaiting, points)

    @precondition(lambda self: self.roots)
    @rule(which=RUNS, limit=st.integers(1, 3), awaiting=DRIVERS, points=CRASHES)
    def step(self, which: int, limit: int, awaiting: bool, points: Points) -> None:
        self.tick(which, limit, awaiting, points)

    def tick(self, which: int, limit: float, awaiting: bool, points: Points) -> None:
        run = self.run_at(which, lambda run: run.status not in ENDED)

        def move() -> None:
            self.moved(run, awaiting, max_steps=FOREVER if self.crashed else limit)

        polls = points is not None and points[0][0] % 2 == 0
        if not self.act("tick", move, points, polls=polls):
            self.model.tick(run.run_id, limit)
            self.check_family(run.run_id)
            return
        self.model.tick(run.run_id)
        if polls:
            self.poll()
        else:
            self.check_family(run.run_id)

    @precondition(lambda self: self.roots)
    @rule(
        which=RUNS,
        key=st.sampled_from(["right", "right", "none", "wrong"]),
        wait=st.sampled_from(["right", "none", "stale"]),
        payload=st.sampled_from(["yes", "yes", "perhaps", 7]),
        awaiting=DRIVERS,
        points=CRASHES,
    )
    def answer(
        self, which: int, key: str, wait: str, payload: Any, awaiting: bool, points: Points
    ) -> None:
        run = self.run_at(which, lambda run: run.wait is not None)
        opened = run.wait or {"key": "none", "number": None}
        keys = {"right": opened["key"], "none": None, "wrong": "another"}
        known = self.seen.get(run.run_id, {})
        numbers = {"right": opened["number"], "none": None, "stale": next(iter(known), None)}
        number = numbers[wait]
        meant = None if number is None else known[number]
        refusal = self.model.refusal(run.run_id, payload, keys[key], number)

        def say() -> None:
            if self.waits(run) or run.wait is None:
                self.resumed(run, awaiting, wait_key=keys[key], wait_id=meant, payload=payload)
            else:  # a crash came after the answer
                self.moved(run, awaiting)

        heard: list[str] = []

        def told() -> None:
            try:
                say()
            except Refused as error:
                heard.append(type(error).__name__)

        self.act("answer", told, points)
        assert heard[-1:] == ([] if refusal is None else [refusal])
        if refusal is None:
            self.model.answer(run.run_id, payload)
        self.check_family(run.run_id)

    @precondition(lambda self: self.roots)
    @rule(
        what=st.sampled_from(["poll", "reopen", "cancel", "save_late", "save_late"]),
        which=RUNS,
        points=CRASHES,
    )
    def now_and_then(self, what: str, which: int, points: Points) -> None:
        getattr(self, what)(which, points)

    def cancel(self, which: int, points: Points) -> None:
        run = self.run_at(which)
        self.act("cancel", lambda: self.world.runtime.cancel_run(run.run_id), points)
        self.model.cancel(run.run_id)
        self.check_family(run.run_id)

    @precondition(lambda self: self.roots)
    @rule(which=RUNS, points=CRASHES)
    def mend(self, which: int, points: Points) -> None:
        """The host mends what made a run fail, and opens it again."""
        run = self.run_at(which, lambda run: run.status == "failed")
        if run.status != "failed":
            return
        self.save(run, None, "mended", True)

        def reopen() -> None:
            if self.world.state(run.run_id).status is RunStatus.FAILED:
                self.world.runtime.reopen(run.run_id)

        self.act("reopen", reopen, points)
        self.model.reopen(run.run_id)
        self.check_family(run.run_id)

    @precondition(lambda self: self.roots)
    @rule(which=RUNS, carries=st.booleans(), points=CRASHES)
    def edit(self, which: int, carries: bool, points: Points) -> None:
        self.edits += 1
        self.save(self.run_at(which), points, "edits", self.edits, carries=carries)

    @precondition(lambda self: self.roots)
    @rule(which=RUNS, back=st.integers(0, 5), carries=st.booleans(), points=CRASHES)
    def rewind(self, which: int, back: int, carries: bool, points: Points) -> None:
        self.edits += 1
        run = self.run_at(which)
        node = f"n{back % len(run.stages)}"
        self.save(run, points, "edits", self.edits, node, carries=carries)

    def save(
        self,
        run: Run,
        points: Points,
        name: str,
        value: Any,
        node: str | None = None,
        *,
        carries: bool = True,
    ) -> None:
        """A host saves what it has loaded, changed; without its revision unless it `carries` it."""

        def write() -> None:
            state = self.world.state(run.run_id)
            state.vars[name] = value
            if node is not None:
                state.status, state.current_node, state.waiting = RunStatus.RUNNING, node, None
                state.output = state.error = None
            # A user's own store would lose the checkpoint with it.
            if not carries and not self.kind.endswith("plain"):
                state.checkpoint = None
            self.world.runtime.run_store.save(state)

        self.act("edit" if node is None else "rewind", write, points)
        if run.vars.get(name) != value:
            self.model.edit(run.run_id, name, value, node)
        self.check_family(run.run_id)

    def save_late(self, which: int, _: Points) -> None:
        """A host saves what it loaded long ago: refused once it was moved or edited since."""
        run = self.run_at(which)
        moves = len(run.log)
        state, then = self.old.pop(run.run_id, (None, 0))
        if state is None or self.kind.endswith("plain"):
            self.old[run.run_id] = (self.world.state(run.run_id), moves)
        elif moves > then:
            self.counted["late save"] += 1
            state.vars["edits"] = "late"
            refused = False
            try:
                self.world.runtime.run_store.save(state)
            except RevisionConflict:
                refused = True
            assert refused, "a stale object was saved"
            self.check_family(run.run_id)

    @precondition(lambda self: any(_is_timed(run) for run in self.model.runs.values()))
    @rule(hours=st.integers(1, 3))
    def forward(self, hours: int) -> None:
        self.counted["forward"] += 1
        self.model.hour += hours
        self.world.forward(hours)

    def poll(self, *_: Any) -> None:
        self.counted["poll"] += 1
        self.world.poll()
        self.model.poll()
        for run in self.model.runs.values():
            self.check(run)

    def reopen(self, *_: Any) -> None:
        self.counted["new process"] += 1
        self.world.reopen()
        for run_id in self.roots:
            self.check(self.model.runs[run_id])

    # -- how they happen

    def run_at(self, which: int, likely: Callable[[Run], bool] = lambda run: True) -> Run:
        """One of the runs; more often than not a `likely` one."""
        runs = list(self.model.runs.values())
        if which % 4:
            runs = [run for run in runs if likely(run)] or runs
        return runs[which // 4 % len(runs)]

    def moved(self, run: Run, awaiting: bool, **options: Any) -> None:
        self.world.tick(run.run_id, "+".join(run.stages), awaiting, **options)

    def resumed(self, run: Run, awaiting: bool, **options: Any) -> None:
        self.world.resume(run.run_id, "+".join(run.stages), awaiting, **options)

    def waits(self, run: Run) -> bool:
        """Whether the real run still has the wait that the model's has."""
        if run.wait is None or not self.crashed:
            return run.wait is not None
        state = self.world.state(run.run_id)
        assert state.checkpoint is not None
        opened = state.checkpoint.waits.get("")
        return opened is not None and opened.wait_id == self.seen[run.run_id][run.wait["number"]]

    crashed = False

    def act(
        self, name: str, action: Callable[[], None], points: Points, *, polls: bool = False
    ) -> bool:
        """Do it; where the process dies, a new one recovers and does it again. Whether one died."""
        self.counted[name] += 1
        self.crashed = False
        for calls, when in points or ():
            self.world.arm(calls, when)
            try:
                action()
            except Crash:
                self.crashed = True
                self.counted["crash"] += 1
                self.crashes += 1
                left = self.recover()
                # A run and its child, moved at once, may hear of each other in two ways.
                if polls and len(left) < 2 and not self.world.due():
                    self.world.poll()
            else:
                self.world.disarm()
                return self.crashed
        action()
        return self.crashed

    def recover(self) -> set[str]:
        """A new process finds what the dead one left: nobody drives what it drove."""
        self.world.begin()
        runs = self.world.store.list_runs(limit=1000)
        standings = {run.run_id: standing_of(run) for run in runs}
        assert "driven" not in standings.values()
        left = {run_id for run_id, standing in standings.items() if standing == "recoverable"}
        assert left == set(orphaned(self.world.store))
        for run in runs:
            self.world.programs.known |= self.world.committed(run.run_id)
        return left


def _is_timed(run: Run) -> bool:
    return run.wait is not None and run.wait["reason"] == "until"
