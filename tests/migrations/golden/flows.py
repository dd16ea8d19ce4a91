"""The workflows of the golden stores. What stands here stays: stores of all versions run on it."""

from __future__ import annotations

from typing import Any

from abstractruntime import (
    Effect,
    EffectOutcome,
    RunState,
    StepPlan,
    WorkflowRegistry,
    WorkflowSpec,
)
from abstractruntime.core.policy import DefaultEffectPolicy
from abstractruntime.testing.clock import EPOCH

HOST = "golden-host"
"""Where the drivers of golden runs have died."""
DUE = EPOCH.replace("2026", "2027")
TEXT = "The same sentence stands here many times over, so that it takes room and packs well. " * 90


def call(place: str, after: str, **arguments: Any) -> StepPlan:
    payload = {"function": "work", "arguments": arguments}
    return StepPlan("", Effect("call", payload, f"results.{place}"), after)


def end(run: RunState, context: Any) -> StepPlan:
    output = {name: value for name, value in run.vars.items() if name not in ("_limits", "text")}
    return StepPlan("end", complete_output=output)


def spec(name: str, **nodes: Any) -> WorkflowSpec:
    entry = next(iter(nodes))
    functions = {"work": lambda **arguments: arguments}
    return WorkflowSpec(name, entry, {**nodes, "end": end}, functions=functions)


def work(after: str, place: str) -> Any:
    return lambda run, context: call(place, after, done=place)


def asks(kind: str, after: str, **payload: Any) -> Any:
    return lambda run, context: StepPlan("", Effect(kind, payload, "results.answer"), after)


def grows(run: RunState, context: Any) -> StepPlan:
    """A large variable of which a little changes at each step."""
    run.vars.setdefault("text", TEXT)
    run.vars["turn"] = turn = run.vars.get("turn", 0) + 1
    run.vars["text"] += f"turn {turn}. "
    return call("turn", "grows" if turn < 12 else "asks", turn=turn)


def raises(run: RunState, context: Any) -> StepPlan:
    if not run.vars.get("mended"):
        raise ValueError("not mended yet")
    return StepPlan("", next_node="end")


def counts(run: RunState, context: Any) -> StepPlan:
    run.vars["counted"] = run.vars.get("counted", 0) + 1
    return StepPlan("", next_node="counts" if run.vars["counted"] < 150 else "end")


def flaky(run: RunState, effect: Effect, step: Any) -> EffectOutcome:
    if step.attempt == 1:
        return EffectOutcome.failed("the first attempt fails")
    return EffectOutcome.completed({"attempt": step.attempt})


def registry() -> WorkflowRegistry:
    made = WorkflowRegistry()
    for each in (
        spec("works", first=work("second", "first"), second=work("end", "second")),
        spec("event", wait=asks("wait_event", "end", wait_key="go")),
        spec(
            "person",
            ask=asks(
                "ask_user", "end", prompt="Go on?", choices=["yes", "no"], allow_free_text=False
            ),
        ),
        spec("timer", wait=asks("wait_until", "end", until=DUE)),
        spec("retry", flaky=asks("flaky", "end")),
        spec("grows", grows=grows, asks=asks("wait_event", "end", wait_key="more")),
        spec("raises", raises=raises),
        spec("counts", counts=counts),
        spec("parent", start=asks("start_subworkflow", "end", workflow_id="event")),
        spec("long parent", start=asks("start_subworkflow", "end", workflow_id="counts")),
        spec("stopped", stop=asks("stop", "end")),
    ):
        made.register(each)
    return made


POLICY = DefaultEffectPolicy(default_max_attempts=2, default_backoff_base=3600.0)
HANDLERS = {"flaky": flaky}
