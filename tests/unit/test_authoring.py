"""Plans: what nodes return, and the step plans they become."""

import dataclasses
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest

from abstractruntime.authoring import (
    Plan,
    Workflow,
    ask_user,
    call,
    complete,
    effect,
    goto,
    start_subworkflow,
    wait_event,
    wait_until,
)
from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, StepPlan
from abstractruntime.errors import InvalidPlan, InvalidTime

HELLO = """\
from abstractruntime import Workflow
from abstractruntime.authoring import ask_user, complete

wf = Workflow("greet")

@wf.node
def ask(run):
    return ask_user("What is your name?", into="name", then=greet)

@wf.node
def greet(run):
    return complete({"greeting": f"Hello {run.vars['name']}!"})
"""


class Clock:
    def now_iso(self) -> str:
        return "2026-01-01T00:00:00.000000+00:00"


def run(**vars: Any) -> RunState:
    return RunState("r", "wf", RunStatus.RUNNING, "n", vars=vars)


def planned(wf: Workflow, node: str = "start", **vars: Any) -> StepPlan:
    return wf.spec.get_node(node)(run(**vars), Clock())


def one_node(plan: Any) -> Workflow:
    """A workflow whose entry returns `plan`; it also has the nodes `start` and `end`."""
    wf = Workflow("wf")

    @wf.node(next=["end"])
    def start(run: RunState) -> Any:
        return plan

    @wf.node
    def end(run: RunState) -> Plan:
        return complete()

    return wf


def test_hello_world_fits_in_twelve_lines() -> None:
    assert len(HELLO.splitlines()) <= 12
    space: dict[str, Any] = {}
    exec(HELLO, space)
    wf = space["wf"]
    assert planned(wf, "ask") == StepPlan(
        "ask", Effect(EffectType.ASK_USER, {"prompt": "What is your name?"}, "name"), "greet"
    )
    done = planned(wf, "greet", name="Ann")
    assert done == StepPlan("greet", complete_output={"greeting": "Hello Ann!"})


# ---- what the plans become


def charge(card: str) -> dict[str, str]:
    return {"card": card}


@pytest.mark.parametrize(
    ("plan", "expected", "target"),
    [
        (ask_user("Why?"), Effect("ask_user", {"prompt": "Why?"}, "answer"), None),
        (
            ask_user(
                "Why?", key="k", choices=("a", "b"), allow_free_text=False, into=None, then="end"
            ),
            Effect(
                "ask_user",
                {
                    "prompt": "Why?",
                    "wait_key": "k",
                    "choices": ["a", "b"],
                    "allow_free_text": False,
                },
            ),
            "end",
        ),
        (
            call("charge", card="1", into="receipt", then="end"),
            Effect("call", {"function": "charge", "arguments": {"card": "1"}}, "receipt"),
            "end",
        ),
        (
            call(charge, then="end"),
            Effect("call", {"function": "charge", "arguments": {}}),
            "end",
        ),
        (
            call("tell", function="f", name="n", then="end"),
            Effect("call", {"function": "tell", "arguments": {"function": "f", "name": "n"}}),
            "end",
        ),
        (
            wait_until("2026-01-01T02:00:00+02:00", then="end"),
            Effect("wait_until", {"until": "2026-01-01T00:00:00.000000+00:00"}),
            "end",
        ),
        (
            wait_until(datetime(2026, 1, 1, 5, tzinfo=timezone(timedelta(hours=5))), then="end"),
            Effect("wait_until", {"until": "2026-01-01T00:00:00.000000+00:00"}),
            "end",
        ),
        (
            wait_event("paid", into="payment", then="end"),
            Effect("wait_event", {"wait_key": "paid"}, "payment"),
            "end",
        ),
        (wait_event("paid"), Effect("wait_event", {"wait_key": "paid"}), None),
        (
            wait_event(["a", "b"], timeout_s=5, late="end"),
            Effect("wait_event", {"wait_keys": ["a", "b"], "timeout_s": 5, "timeout_node": "end"}),
            None,
        ),
        (
            wait_event("a", until="2026-01-01T01:00:00+01:00"),
            Effect("wait_event", {"wait_key": "a", "until": "2026-01-01T00:00:00.000000+00:00"}),
            None,
        ),
        (
            start_subworkflow("child"),
            Effect("start_subworkflow", {"workflow_id": "child"}),
            None,
        ),
        (
            start_subworkflow("child", vars={"n": 1}, wait=False, into="child", then="end"),
            Effect(
                "start_subworkflow",
                {"workflow_id": "child", "vars": {"n": 1}, "async": True},
                "child",
            ),
            "end",
        ),
        (
            effect("llm_call", {"prompt": "Hi"}, into="llm", then="end"),
            Effect("llm_call", {"prompt": "Hi"}, "llm"),
            "end",
        ),
        (effect(EffectType.LLM_CALL), Effect(EffectType.LLM_CALL, {}), None),
        (goto("end"), None, "end"),
    ],
)
def test_a_plan_becomes_the_step_plan_of_its_node(
    plan: Plan, expected: Effect | None, target: str | None
) -> None:
    assert planned(one_node(plan)) == StepPlan("start", expected, target)


@pytest.mark.parametrize(
    ("plan", "output"),
    [(complete(), {}), (complete({}), {}), (complete({"a": 1}), {"a": 1})],
)
def test_a_run_completes_with_an_object_even_when_none_is_given(
    plan: Plan, output: dict[str, Any]
) -> None:
    assert planned(one_node(plan)) == StepPlan("start", complete_output=output)


def test_a_raw_step_plan_is_passed_on_as_it_is() -> None:
    raw = StepPlan("start", Effect("mail", {}), "end")
    assert planned(one_node(raw)) is raw


@pytest.mark.parametrize("other", [None, "end", {"then": "end"}, complete])
def test_anything_else_is_no_plan_and_the_error_names_the_node(other: Any) -> None:
    with pytest.raises(InvalidPlan, match=r"^Node 'start' returned \w+, not a plan"):
        planned(one_node(other))


def test_a_plan_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        goto("end").then = "other"  # type: ignore[misc]


def test_a_plan_keeps_nothing_of_the_mappings_it_was_made_of() -> None:
    payload, vars = {"a": 1}, {"b": 1}
    plans = [effect("mail", payload), start_subworkflow("child", vars=vars)]
    payload["a"] = vars["b"] = 2
    assert [each.effect and each.effect.payload for each in plans] == [
        {"a": 1},
        {"workflow_id": "child", "vars": {"b": 1}},
    ]


def test_a_child_may_be_named_by_its_workflow_or_its_builder() -> None:
    child = Workflow("child")
    child.node(lambda run: complete(), name="only")
    by_builder, by_spec = start_subworkflow(child), start_subworkflow(child.spec)
    assert by_builder == by_spec == start_subworkflow("child")


@pytest.mark.parametrize("time", ["tomorrow", "2026-01-01T00:00:00", datetime(2026, 1, 1), 7])
def test_a_time_without_an_offset_is_refused(time: Any) -> None:
    with pytest.raises(InvalidTime):
        wait_until(time, then="end")


@pytest.mark.parametrize("function", [None, 7, partial(charge, "1")])
def test_only_a_function_with_a_name_or_a_name_can_be_called(function: Any) -> None:
    with pytest.raises(InvalidPlan, match="call takes a function or its name"):
        call(function, then="end")
