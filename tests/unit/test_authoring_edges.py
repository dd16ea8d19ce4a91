"""Edges: declared, or read from the source of nodes; and the graphs that are refused for them."""

import re
from typing import Any

import pytest

from abstractruntime import authoring
from abstractruntime.authoring import (
    Edge,
    Plan,
    Workflow,
    ask_user,
    call,
    complete,
    edges_of,
    effect,
    goto,
    start_subworkflow,
    wait_event,
    wait_until,
)
from abstractruntime.core.models import Effect, EffectType, RunState, StepPlan
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.errors import InvalidWorkflow

LATER = "2030-01-01T00:00:00+00:00"
A_NAME = "beta"
TABLE = {"x": "beta"}


def no_node(run: RunState) -> Plan:
    return complete()


def edges_from(alpha: Any) -> list[tuple[str, str]]:
    """(target, label) of the edges read from `alpha`, beside nodes beta and gamma."""
    wf = Workflow("wf")
    wf.node(alpha, name="alpha")  # type: ignore[call-overload]
    wf.node(beta, name="beta")  # type: ignore[call-overload]
    wf.node(gamma, name="gamma")  # type: ignore[call-overload]
    return [(edge.target, edge.label) for edge in wf.edges() if edge.source == "alpha"]


def beta(run: RunState) -> Plan:
    return goto(gamma)


def gamma(run: RunState) -> Plan:
    return complete()


def every_helper(run: RunState) -> Plan:
    if run.vars.get("a"):
        return ask_user("Why?", then=beta)
    if run.vars.get("b"):
        return call("f", then=beta)
    if run.vars.get("c"):
        return wait_until(LATER, then="beta")
    if run.vars.get("d"):
        return wait_event("paid", then=beta)
    if run.vars.get("e"):
        return start_subworkflow("child", then=beta)
    if run.vars.get("f"):
        return effect("llm_call", {}, then=beta)
    return goto(beta)


def test_the_targets_of_every_plan_are_read_with_the_effect_as_label() -> None:
    labels = ["ask_user", "call", "wait_until", "wait_event", "start_subworkflow", "llm_call"]
    assert edges_from(every_helper) == [("beta", label) for label in [*labels, ""]]


def staying(run: RunState) -> Plan:
    if run.vars.get("a"):
        return ask_user("Why?")
    if run.vars.get("b"):
        return wait_event("paid", then=None)
    if run.vars.get("c"):
        return effect(EffectType.START_SUBWORKFLOW, {"workflow_id": "child"})
    if run.vars.get("d"):
        return start_subworkflow("child", wait=False)
    return goto("beta")


def test_a_wait_without_a_next_node_leads_back_to_its_own() -> None:
    assert edges_from(staying) == [
        ("alpha", "ask_user"),
        ("alpha", "wait_event"),
        ("alpha", "start_subworkflow"),
        ("beta", ""),
    ]


def choosing(run: RunState) -> Plan:
    return goto(beta if run.vars else gamma)


def choosing_plans(run: RunState) -> Plan:
    return goto(beta) if run.vars else ask_user("Why?", then=gamma)


def by_variable(run: RunState) -> Plan:
    plan = goto(A_NAME)
    if run.vars:
        plan = call("f", then=authoring_target)
    return plan


def by_target_variable(run: RunState) -> Plan:
    target = beta
    if run.vars:
        target = "gamma"
    return goto(target)


def with_inner_function(run: RunState) -> Plan:
    def later() -> Plan:
        return goto("not mine")

    later()
    return authoring.goto(beta)


def imported_late(run: RunState) -> Plan:
    from abstractruntime.authoring import goto as goto  # noqa: PLC0414

    return goto(beta)


authoring_target = gamma


@pytest.mark.parametrize(
    ("alpha", "targets"),
    [
        (choosing, ["beta", "gamma"]),
        (choosing_plans, ["beta", "gamma"]),
        (by_variable, ["beta", "gamma"]),
        (by_target_variable, ["beta", "gamma"]),
        (with_inner_function, ["beta"]),
        (imported_late, ["beta"]),
    ],
)
def test_branches_and_plain_variables_are_followed(alpha: Any, targets: list[str]) -> None:
    assert [target for target, _ in edges_from(alpha)] == targets


def raw(run: RunState, ctx: RunContext) -> StepPlan:
    if run.vars.get("a"):
        return StepPlan("alpha", Effect(EffectType.LLM_CALL, {"prompt": "x"}), "beta")
    if run.vars.get("b"):
        wait = Effect(type="wait_event", payload={"wait_key": "k", "resume_to_node": "gamma"})
        return StepPlan(node_id="alpha", effect=wait)
    if run.vars.get("c"):
        return StepPlan("alpha", effect=Effect("ask_user", {"prompt": "Why?"}))
    if run.vars.get("d"):
        return StepPlan(node_id="alpha", next_node="beta")
    return StepPlan("alpha", complete_output={"done": True})


RAW_EDGES = [("beta", "llm_call"), ("gamma", "wait_event"), ("alpha", "ask_user"), ("beta", "")]


def test_raw_step_plans_are_read_too() -> None:
    assert edges_from(raw) == RAW_EDGES


def test_edges_are_read_from_a_plain_spec_whose_nodes_go_by_name() -> None:
    def end(run: RunState, ctx: RunContext) -> StepPlan:
        return StepPlan("end", complete_output={})

    spec = WorkflowSpec("wf", "alpha", {"alpha": raw, "beta": end, "gamma": end})
    assert edges_of(spec) == [Edge("alpha", target, label) for target, label in RAW_EDGES]


def test_edges_of_a_builder_are_those_of_its_spec() -> None:
    wf = Workflow("wf")
    wf.node(gamma)
    assert edges_of(wf) == edges_of(wf.spec) == wf.edges() == []


def test_declared_edges_take_the_place_of_those_in_the_source() -> None:
    wf = Workflow("wf")
    wf.node(gamma)
    wf.node(name="start", entry=True, next=[gamma, "other"])(lambda run: goto(run.vars["to"]))
    wf.node(name="other", next=[])(lambda run: goto("wherever"))
    assert wf.edges() == [Edge("start", "gamma"), Edge("start", "other")]


# ---- what is refused


def refused(alpha: Any, fault: str) -> None:
    with pytest.raises(InvalidWorkflow, match=rf"^Workflow 'wf': .*{re.escape(fault)}"):
        edges_from(alpha)


def to_a_typo(run: RunState) -> Plan:
    return ask_user("Why?", then="betta")


def to_a_stranger(run: RunState) -> Plan:
    return goto(no_node)


def test_a_target_that_is_no_node_is_refused_with_both_names() -> None:
    refused(to_a_typo, "node 'alpha' goes to 'betta', which is no node")
    refused(to_a_stranger, "node 'alpha' goes to the function no_node, which is no node")


def test_a_declared_target_that_is_no_node_is_refused_too() -> None:
    wf = Workflow("wf")
    wf.node(name="start", next=["nowhere", no_node])(lambda run: complete())
    with pytest.raises(InvalidWorkflow) as caught:
        wf.build()
    assert "node 'start' goes to 'nowhere', which is no node" in str(caught.value)
    assert "goes to the function no_node" in str(caught.value)


def test_a_node_that_cannot_be_reached_is_refused_by_name() -> None:
    refused(gamma, "node 'beta' cannot be reached from 'alpha'")


def dynamic(run: RunState) -> Plan:
    return goto(TABLE[run.vars["x"]])


def by_parameter(run: RunState, target: str = "beta") -> Plan:
    return goto(target)


def by_loop(run: RunState) -> Plan:
    for target in ("beta",):
        return goto(target)
    return complete()


def by_other_function(run: RunState) -> Plan:
    return no_node(run)


def by_spread(run: RunState) -> Plan:
    return ask_user("Why?", **run.vars)


def by_variable_payload(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("alpha", Effect("wait_event", run.vars["payload"]))


def by_built_effect(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("alpha", run.vars["effect"])


def by_maybe_other(run: RunState) -> Plan:
    target: Any = "beta"
    target += run.vars["suffix"]
    return goto(target)


by_exec: dict[str, Any] = {"goto": goto}
exec("def sourceless(run):\n    return goto('beta')\n", by_exec)


@pytest.mark.parametrize(
    "alpha",
    [
        dynamic,
        by_parameter,
        by_loop,
        by_other_function,
        by_spread,
        by_variable_payload,
        by_built_effect,
        by_maybe_other,
        by_exec["sourceless"],
        lambda run: goto("beta"),
    ],
)
def test_where_a_target_cannot_be_read_no_node_is_called_unreachable(alpha: Any) -> None:
    assert ("gamma", "") not in edges_from(alpha)


def test_reachability_is_judged_when_the_unread_node_is_not_reached_itself() -> None:
    wf = Workflow("wf")
    wf.node(gamma)
    wf.node(dynamic)
    with pytest.raises(InvalidWorkflow, match="node 'dynamic' cannot be reached from 'gamma'"):
        wf.build()


def test_nodes_defined_in_a_function_find_each_other_whatever_their_order() -> None:
    wf = Workflow("wf")

    @wf.node
    def first(run: RunState) -> Plan:
        return call("f", then=second)

    @wf.node
    def second(run: RunState) -> Plan:
        text = """
a line that is indented less than the function
"""
        return ask_user(text, then=first)

    assert wf.edges() == [Edge("first", "second", "call"), Edge("second", "first", "ask_user")]


def test_methods_are_read_as_far_as_they_go_by_name() -> None:
    class Shop:
        def start(self, run: RunState) -> Plan:
            return goto("end")

        def end(self, run: RunState) -> Plan:
            return goto(self.start)

    shop, wf = Shop(), Workflow("wf")
    wf.node(shop.start)
    wf.node(shop.end)
    assert wf.edges() == [Edge("start", "end")]
