"""What every run should be after each action: plain Python that knows nothing of the engine."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

ENDED = ("completed", "failed", "cancelled")
PERFORMING = ("work", "async", "fresh", "note", "flaky", "loop", "brittle")
Entry = tuple[str, int]
"""A node and the number of its visit."""


@dataclass
class Run:
    """A run of the program `stages`; `log` is what its ledger should say of its moves."""

    run_id: str
    stages: tuple[str, ...]
    vars: dict[str, Any]
    parent: str | None = None
    status: str = "running"
    node: str = "n0"
    output: Any = None
    error: str | None = None
    wait: dict[str, Any] | None = None
    visits: dict[str, int] = field(default_factory=dict)
    entered: bool = False
    rewound: bool = False
    noticed: str = "n0"
    steps: dict[Entry, tuple[Any, str, Any]] = field(default_factory=dict)
    trail: list[Entry] = field(default_factory=list)
    log: list[tuple[Any, ...]] = field(default_factory=list)
    performed: set[Entry] = field(default_factory=set)
    unheard: bool = False


class Model:
    """All runs. `child_id` names the child that a step starts, `moment` an hour of the clock.

    On a `lazy` store what a host saved is noticed when the run is moved the next time.
    """

    def __init__(
        self, child_id: Callable[[str, str, int], str], moment: Callable[[int], str], *, lazy: bool
    ) -> None:
        self.runs: dict[str, Run] = {}
        self.hour = 0
        self.waits = 0
        self._child_id = child_id
        self._moment = moment
        self._lazy = lazy

    def start(
        self, run_id: str, program: str, vars: dict[str, Any], parent: str | None = None
    ) -> None:
        self.runs[run_id] = Run(run_id, tuple(program.split("+")), vars, parent)

    # -- what hosts do

    def tick(self, run_id: str, limit: float = float("inf")) -> None:
        run = self.runs[run_id]
        self._notice(run)
        if run.status == "waiting":
            self._unblock(run, limit)
        calls = 0
        while run.status == "running" and calls < limit:
            calls += 1
            self._call(run, limit)

    def poll(self) -> None:
        """A scheduler moves what a clock or the end of a child moves, as long as that does."""
        before = -1
        while before != (before := sum(len(run.log) for run in self.runs.values())):
            for run in list(self.runs.values()):
                if run.wait is not None and (self._due(run.wait) or self._heard(run.wait)):
                    self.tick(run.run_id)

    def refusal(self, run_id: str, payload: Any, key: str | None, wait: int | None) -> str | None:
        """Why an answer is refused, None when it is taken; `wait` is the number of the one."""
        run = self.runs[run_id]
        if run.wait is None:
            return "NotWaiting"
        if key is not None and key != run.wait["key"]:
            return "WaitKeyMismatch"
        if wait is not None and wait != run.wait["number"]:
            return "StaleAnswer"
        choices = run.wait.get("choices")
        return "ChoiceRefused" if choices and payload not in choices else None

    def answer(self, run_id: str, payload: Any, limit: float = float("inf")) -> None:
        run = self.runs[run_id]
        self._notice(run)
        if run.wait is not None and run.wait["reason"] == "subworkflow":
            self.runs[run.wait["child"]].unheard = False
        self._go_on(run, payload, "answer")
        self.tick(run_id, limit)

    def cancel(self, run_id: str) -> None:
        run = self.runs[run_id]
        if run.status not in ENDED:
            self._notice(run)
            run.log.append(("cancelled",))
            self._end(run, "cancelled", error="Cancelled")

    def reopen(self, run_id: str) -> None:
        run = self.runs[run_id]
        self._notice(run)
        run.log.append(("reopened",))
        run.status, run.error = "running", None

    def edit(self, run_id: str, name: str, value: Any, node: str | None = None) -> None:
        """The host saves a variable, and with `node` the run as one that runs from there."""
        run = self.runs[run_id]
        run.vars[name] = value
        if node is not None:
            run.status, run.node, run.wait, run.output, run.error = (
                "running",
                node,
                None,
                None,
                None,
            )
        run.log.append(("edited",))
        if not self._lazy:
            self._notice(run)

    # -- how runs move

    def _notice(self, run: Run) -> None:
        """A host moved the run: counters go back to where its node was last entered."""
        if run.node == run.noticed:
            return
        run.noticed, run.entered = run.node, False
        visits = [visit for node, visit in run.trail if node == run.node]
        if visits:
            run.visits, run.rewound = {}, True
            for node, visit in run.trail:
                if (node, visit) == (run.node, visits[-1]):
                    break
                run.visits[node] = visit
            run.visits[run.node] = visits[-1] - 1

    def _enter(self, run: Run, node: str) -> None:
        run.node = run.noticed = node
        run.visits[node] = run.visits.get(node, 0) + 1
        run.entered = True

    def _call(self, run: Run, limit: float) -> None:
        if not run.entered:
            self._enter(run, run.node)
        node, visit = run.node, run.visits[run.node]
        if node == "end":
            self._record(run, "completed", visit)
            self._end(run, "completed", output=copy.deepcopy(run.vars))
            return
        stage = run.stages[int(node[1:])]
        if stage == "brittle" and not run.vars.get("mended"):
            self._record(run, "failed", visit)
            self._end(run, "failed", error=f"Node '{node}' raised ValueError: not mended")
            return
        entered = run.vars.setdefault("entered", {})
        entered[node] = entered.get(node, 0) + 1
        after = f"n{int(node[1:]) + 1}" if int(node[1:]) + 1 < len(run.stages) else "end"
        if stage == "loop" and entered[node] % 3:
            after = node
        if stage == "move":
            self._record(run, "moved", visit)
            self._enter(run, after)
            return
        effect = (stage, entered[node]) if stage == "fresh" else (stage,)
        if stage == "timer":
            effect = (stage, self.hour + 2)
        if run.rewound and self._recalled(run, effect, after):
            return
        self._perform(run, stage, effect, after, limit)

    def _recalled(self, run: Run, effect: Any, after: str) -> bool:
        entry = (run.node, run.visits[run.node])
        if entry not in run.steps:
            run.rewound = False
            self._leave(run)
            return False
        before, status, result = run.steps[entry]
        if (before, status) == (effect, "completed"):
            self._record(run, "recalled", entry[1])
            self._store(run, result)
            self._enter(run, after)
            return True
        if before != effect or status == "waiting":
            run.visits[run.node] = 1 + max(v for node, v in run.trail if node == run.node)
            run.log.append(("diverged", run.visits[run.node]))
        return False

    def _leave(self, run: Run) -> None:
        """From here on no visit is counted under a number that is in the trail."""
        visit = run.visits[run.node]
        for node, known in run.trail:
            run.visits[node] = max(run.visits.get(node, 0), known)
        if run.visits[run.node] != visit:
            run.visits[run.node] += 1

    def _perform(self, run: Run, stage: str, effect: Any, after: str, limit: float) -> None:
        node, visit = run.node, run.visits[run.node]
        if stage in PERFORMING:
            run.performed.add((node, visit))
            if stage == "note":
                run.vars.setdefault("notes", []).append(f"{node}:{visit}")
            self._complete(run, effect, {"visit": visit}, after)
        elif stage == "broken":
            self._fail(run, effect, "Effect failed after 2 attempts: broken")
        elif stage.startswith("child"):
            self._child(run, stage, effect, after, limit)
        else:
            self._wait(run, effect, after, **self._waits(run, stage))

    def _waits(self, run: Run, stage: str) -> dict[str, Any]:
        if stage == "timer":
            return {"reason": "until", "key": None, "until": self.hour + 2}
        if stage == "event":
            return {"reason": "event", "key": f"event:{run.node}"}
        return {"reason": "user", "key": f"user:{run.run_id}:{run.node}", "choices": ["yes", "no"]}

    def _child(self, run: Run, stage: str, effect: Any, after: str, limit: float) -> None:
        child_id = self._child_id(run.run_id, run.node, run.visits[run.node])
        if child_id not in self.runs:
            program = stage.removeprefix("child:").replace("&", "+")
            self.start(child_id, program, {"from": run.node}, run.run_id)
        self.tick(child_id, 100 if limit < float("inf") else limit)
        child = self.runs[child_id]
        child.unheard = child.unheard and child.status not in ENDED
        if child.status == "completed":
            result = {"sub_run_id": child_id, "output": copy.deepcopy(child.output)}
            self._complete(run, effect, result, after)
        elif child.status in ENDED:
            self._fail(run, effect, f"Effect failed after 1 attempts: {self._failure(child)}")
        else:
            key = f"subworkflow:{child_id}"
            self._wait(run, effect, after, reason="subworkflow", key=key, child=child_id)

    def _unblock(self, run: Run, limit: float) -> None:
        wait = run.wait
        assert wait is not None
        if self._due(wait):
            said = {"until": self._moment(wait["until"]), "ready": True}
            self._go_on(run, said, "timer")
        elif wait["reason"] == "subworkflow":
            child = self.runs[wait["child"]]
            self.tick(child.run_id, 100 if limit < float("inf") else limit)
            child.unheard = child.unheard and child.status not in ENDED
            if child.status == "completed":
                said = {"sub_run_id": child.run_id, "output": copy.deepcopy(child.output)}
                self._go_on(run, said, "child")
            elif child.status in ENDED:
                run.trail.append(wait["entry"])
                run.log.append(("failed", *wait["entry"]))
                text = f"Effect failed after 1 attempts: {self._failure(child)}"
                self._end(run, "failed", error=text)

    def _due(self, wait: dict[str, Any]) -> bool:
        return bool(wait["reason"] == "until" and wait["until"] <= self.hour)

    def _heard(self, wait: dict[str, Any]) -> bool:
        """Whether the end of the child is known; a message of it stays, whatever the child does."""
        if wait["reason"] != "subworkflow":
            return False
        child = self.runs[wait["child"]]
        return child.status in ENDED if self._lazy else child.unheard

    @staticmethod
    def _failure(child: Run) -> str:
        return f"Subworkflow '{'+'.join(child.stages)}' failed: {child.error}"

    # -- what it leaves

    def _record(self, run: Run, kind: str, visit: int) -> None:
        run.trail.append((run.node, visit))
        run.log.append((kind, run.node, visit))

    def _store(self, run: Run, result: Any, node: str | None = None) -> None:
        run.vars.setdefault("results", {})[node or run.node] = copy.deepcopy(result)

    def _complete(self, run: Run, effect: Any, result: Any, after: str) -> None:
        entry = (run.node, run.visits[run.node])
        run.steps[entry] = (effect, "completed", result)
        self._record(run, "step completed", entry[1])
        self._store(run, result)
        self._enter(run, after)

    def _fail(self, run: Run, effect: Any, error: str) -> None:
        entry = (run.node, run.visits[run.node])
        run.steps[entry] = (effect, "failed", None)
        self._record(run, "step failed", entry[1])
        self._end(run, "failed", error=error)

    def _wait(self, run: Run, effect: Any, after: str, **wait: Any) -> None:
        entry = (run.node, run.visits[run.node])
        run.steps[entry] = (effect, "waiting", None)
        self._record(run, "step waiting", entry[1])
        self.waits += 1
        run.status, run.wait = (
            "waiting",
            {**wait, "number": self.waits, "entry": entry, "next": after},
        )

    def _go_on(self, run: Run, payload: Any, cause: str) -> None:
        assert run.wait is not None
        run.log.append(("resumed", cause))
        self._store(run, payload, run.wait["entry"][0])
        run.status, after, run.wait = "running", run.wait["next"], None
        self._enter(run, after)

    def _end(self, run: Run, status: str, *, output: Any = None, error: str | None = None) -> None:
        run.status, run.output, run.error, run.wait = status, output, error, None
        run.unheard = run.parent is not None
