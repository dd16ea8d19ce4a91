"""The real side: programs as workflows, processes that die, and what they show of their runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from abstractruntime import (
    Effect,
    EffectOutcome,
    InMemoryLedgerStore,
    InMemoryRunStore,
    RunState,
    Runtime,
    Scheduler,
    StepPlan,
    WorkflowRegistry,
    WorkflowSpec,
    open_store,
)
from abstractruntime.core.policy import DefaultEffectPolicy
from abstractruntime.core.times import plus
from abstractruntime.engine.outcome import StepContext
from abstractruntime.storage.base import Store
from abstractruntime.testing.clock import EPOCH, VirtualClock
from abstractruntime.testing.crashes import Fuse, When
from tests.crashes.grounds import API_FIELDS, PlainLedger, PlainRuns, _pair, ground
from tests.crashes.trial import on_one_store
from tests.crashes.verdict import standing

CALLS = {"work": "work", "async": "work_async", "fresh": "work", "loop": "work", "brittle": "work"}


def moment(hour: int) -> str:
    return plus(EPOCH, 3600.0 * hour)


class Programs(WorkflowRegistry):
    """Workflows by what they do: the id "work+event" is a call, then a wait for an event.

    Every effect tells how often it was performed; `known` are keys whose outcome is committed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hour = 0
        self.performed: Counter[tuple[str, str, int]] = Counter()
        self.keys: dict[tuple[str, str, int], str] = {}
        self.known: set[str] = set()
        self.repeated: list[StepContext] = []

    def get(self, workflow_id: str) -> WorkflowSpec:
        found = super().get(workflow_id)
        if found is None:
            self.register(self._made(workflow_id))
            found = super().get(workflow_id)
        assert found is not None
        return found

    def get_or_raise(self, workflow_id: str) -> WorkflowSpec:
        return self.get(workflow_id)

    def perform(self, step: StepContext) -> dict[str, Any]:
        entry = (step.run_id, step.node_id, step.visit)
        if step.key in self.known or self.keys.setdefault(entry, step.key) != step.key:
            self.repeated.append(step)
        self.performed[entry] += 1
        return {"visit": step.visit}

    def handlers(self) -> dict[str, Any]:
        def note(run: RunState, effect: Effect, step: StepContext) -> EffectOutcome:
            run.vars.setdefault("notes", []).append(f"{step.node_id}:{step.visit}")
            return EffectOutcome.completed(self.perform(step))

        def flaky(run: RunState, effect: Effect, step: StepContext) -> EffectOutcome:
            run.vars["half_done"] = True
            if step.attempt == 1:
                return EffectOutcome.failed("the first attempt fails")
            del run.vars["half_done"]
            return EffectOutcome.completed(self.perform(step))

        def broken(run: RunState, effect: Effect) -> EffectOutcome:
            run.vars["half_done"] = True
            return EffectOutcome.failed("broken")

        return {"note": note, "flaky": flaky, "broken": broken}

    def _made(self, workflow_id: str) -> WorkflowSpec:
        def work(*, step: StepContext, **arguments: Any) -> dict[str, Any]:
            return self.perform(step)

        async def work_async(*, step: StepContext, **arguments: Any) -> dict[str, Any]:
            return self.perform(step)

        stages = workflow_id.split("+")
        nodes: dict[str, Any] = {"end": _end}
        for place, stage in enumerate(stages):
            after = f"n{place + 1}" if place + 1 < len(stages) else "end"
            nodes[f"n{place}"] = self._node(stage, f"n{place}", after)
        functions = {"work": work, "work_async": work_async}
        return WorkflowSpec(workflow_id, "n0", nodes, functions=functions)

    def _node(self, stage: str, node_id: str, after: str) -> Any:
        def node(run: RunState, context: Any) -> StepPlan:
            entered = run.vars.setdefault("entered", {})
            entered[node_id] = entered.get(node_id, 0) + 1
            if stage == "brittle" and not run.vars.get("mended"):
                raise ValueError("not mended")
            next_node = after
            if stage == "loop" and entered[node_id] % 3:
                next_node = node_id
            if stage == "move":
                return StepPlan(node_id, next_node=next_node)
            kind, payload = self._effect(stage, node_id, entered[node_id])
            return StepPlan(node_id, Effect(kind, payload, f"results.{node_id}"), next_node)

        return node

    def _effect(self, stage: str, node_id: str, entered: int) -> tuple[str, dict[str, Any]]:
        if stage in CALLS:
            arguments = {"entered": entered} if stage == "fresh" else {}
            return "call", {"function": CALLS[stage], "arguments": arguments}
        if stage == "event":
            return "wait_event", {"wait_key": f"event:{node_id}"}
        if stage == "ask":
            choices = {"choices": ["yes", "no"], "allow_free_text": False}
            return "ask_user", {"prompt": "Go on?", **choices}
        if stage == "timer":
            return "wait_until", {"until": moment(self.hour + 2)}
        if stage.startswith("child:"):
            program = stage.removeprefix("child:").replace("&", "+")
            return "start_subworkflow", {"workflow_id": program, "vars": {"from": node_id}}
        return stage, {}


def _end(run: RunState, context: Any) -> StepPlan:
    output = {name: value for name, value in run.vars.items() if name != "_limits"}
    return StepPlan("end", complete_output=output)


class SpareLedger(PlainLedger):
    """A user's ledger that leaves out what an optional field does not say."""

    def list(self, run_id: str) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in line.items() if value is not None or name in API_FIELDS}
            for line in super().list(run_id)
        ]


class World:
    """One store, and the process that has it open now."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.programs = Programs()
        self.clock = VirtualClock(step=0.000_001)
        self.crashes = 0
        self._folder = folder
        self._medium = ExitStack()
        self._process = ExitStack()
        self._loop = asyncio.new_event_loop()
        self._mount()
        self.begin()

    def _mount(self) -> None:
        if self.kind == "plain":
            ledger = SpareLedger(keeps=True)
            self._ground = _pair(PlainRuns(keeps=True), ledger, ledger, {})
        elif self.kind == "sqlite":  # processes die here, power does not: syncs are spared
            url = f"sqlite:///{self._folder}/runs.db"
            store = self._medium.enter_context(open_store(url, durability="process"))
            self._ground = on_one_store(store)
        elif self.kind == "pair":
            records = InMemoryLedgerStore()
            self._ground = _pair(InMemoryRunStore(), records, records, {})
        else:
            kind = self.kind.removeprefix("asdict ").removeprefix("chained ")
            self._ground = self._medium.enter_context(ground(kind, self._folder))

    def begin(self) -> None:
        """The process ends, and another one opens the store."""
        self._process.close()
        self.fuse = Fuse()
        self.store: Store = self._process.enter_context(self._ground.process(self.fuse, self.clock))
        self.runtime = Runtime(
            store=self.store,
            context=self.clock,
            workflow_registry=self.programs,
            effect_handlers=self.programs.handlers(),
            effect_policy=DefaultEffectPolicy(default_max_attempts=2, default_backoff_base=0.0),
        )

    def reopen(self) -> None:
        """As `begin`; what lives on a disk is read from it again."""
        self._process.close()
        if self.kind in ("sqlite", "files"):
            self._medium.close()
            self._mount()
        self.begin()

    def close(self) -> None:
        self._process.close()
        self._medium.close()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def arm(self, calls: int, when: When) -> None:
        """The process dies at its `calls`-th store call from now."""
        self.fuse.at, self.fuse.when = len(self.fuse.calls) + calls, when

    def disarm(self) -> None:
        self.fuse.at = None

    def forward(self, hours: int) -> None:
        self.programs.hour += hours
        self.clock.forward_to(moment(self.programs.hour))

    # -- verbs, by one driver or the other

    def tick(self, run_id: str, program: str, awaiting: bool, **options: Any) -> None:
        spec = self.programs.get(program)
        if awaiting:
            tick = self.runtime.atick(workflow=spec, run_id=run_id, **options)
            self._loop.run_until_complete(tick)
        else:
            self.runtime.tick(workflow=spec, run_id=run_id, **options)

    def resume(self, run_id: str, program: str, awaiting: bool, **options: Any) -> None:
        spec = self.programs.get(program)
        if awaiting:
            resume = self.runtime.aresume(workflow=spec, run_id=run_id, **options)
            self._loop.run_until_complete(resume)
        else:
            self.runtime.resume(workflow=spec, run_id=run_id, **options)

    def poll(self) -> None:
        scheduler = Scheduler(runtime=self.runtime, registry=self.programs)
        while scheduler.poll_once():
            pass
        assert scheduler.stats.errors == []
        scheduler._threads().shutdown()

    def due(self) -> list[str]:
        return self.store.list_due(self.clock.now_iso())

    # -- what there is to see

    def state(self, run_id: str) -> RunState:
        return self.runtime.get_state(run_id)

    def committed(self, run_id: str) -> set[str]:
        """The keys of all steps of a run whose outcome its ledger holds."""
        self.state(run_id)  # a pair settles what a crash left when it is asked for the run
        return {
            record["idempotency_key"]
            for record in _standing(self.store.list_records(run_id))
            if record["effect"] is not None and record["status"] == "completed"
        }

    def log(self, records: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        """What the ledger says of the run's moves, in the words of the model."""
        return [said for record in _standing(records) if (said := _said(record)) is not None]


def _standing(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without void records, which are shown only where a chain of the ledger's own binds them."""
    bound = any(record.get("record_hash") and not record.get("chain") for record in records)
    return standing(records) if bound else records


def _said(record: dict[str, Any]) -> tuple[Any, ...] | None:
    node, visit, status = record["node_id"], record.get("visit"), record["status"]
    result = record["result"] or {}
    if record["effect"] is not None:
        if status == "started" or record.get("next_at") is not None:
            return None
        return (f"step {status}", node, visit)
    kind = "completed" if result.get("completed") else result.get("kind")
    if status == "failed":
        return ("failed", node, visit)
    if kind in ("completed", "moved", "recalled"):
        return (kind, node, visit)
    if kind == "resumed":
        return (kind, result["cause"])
    if kind == "diverged":
        return (kind, result["new_visit"])
    if kind in ("cancelled", "reopened", "edited"):
        return (kind,)
    # What a crash left, and what an awaited child waits for, move nothing.
    assert kind in ("recovered", "voided", "child_waits", "evidence"), (
        f"nobody knows of a move '{kind}'"
    )
    return None
