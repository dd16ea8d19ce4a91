"""The builder that turns functions into a checked workflow."""

from functools import partial, wraps
from typing import Any

import pytest

from abstractruntime.authoring import (
    Plan,
    Workflow,
    call,
    complete,
    goto,
)
from abstractruntime.core.models import RunState, RunStatus, StepPlan
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.errors import InvalidPlan, InvalidWorkflow


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


def charge(card: str) -> dict[str, str]:
    return {"card": card}


# ---- nodes and functions


def test_the_first_node_is_the_entry_unless_another_says_so() -> None:
    first = one_node(goto("end"))
    assert first.spec.entry_node == "start"
    wf = Workflow("wf")
    wf.node(lambda run: complete(), name="end")
    wf.node(name="begin", entry=True, next=["end"])(lambda run: goto("end"))
    assert wf.spec.entry_node == "begin"
    assert list(wf.spec.nodes) == ["end", "begin"]


def test_a_node_takes_the_run_or_the_run_and_its_context() -> None:
    wf = Workflow("wf")

    @wf.node
    def start(run: RunState) -> Plan:
        return goto(end)

    @wf.node
    def end(run: RunState, ctx: Clock) -> Plan:
        return complete({"run": run.run_id, "now": ctx.now_iso()})

    assert planned(wf).next_node == "end"
    assert planned(wf, "end").complete_output == {"run": "r", "now": Clock().now_iso()}


def test_a_second_parameter_with_a_default_is_the_authors_own_unless_named_as_the_context() -> None:
    wf = Workflow("wf")

    @wf.node
    def start(run: RunState, greeting: str = "Hello") -> Plan:
        return complete({"greeting": greeting})

    assert planned(wf).complete_output == {"greeting": "Hello"}
    with_default = Workflow("wf")

    @with_default.node(name="start")
    def other(run: RunState, ctx: Clock | None = None) -> Plan:
        return complete({"given": ctx is not None})

    assert planned(with_default).complete_output == {"given": True}


def no_parameters() -> Plan:
    return complete()


def three_parameters(run: RunState, ctx: Clock, more: int) -> Plan:
    return complete()


def keyword_only(run: RunState, *, ctx: Clock) -> Plan:
    return complete()


@pytest.mark.parametrize("function", [no_parameters, three_parameters, keyword_only])
def test_a_node_with_other_parameters_is_refused_by_name(function: Any) -> None:
    with pytest.raises(InvalidWorkflow, match=rf"'wf': node '{function.__name__}' must take \(run"):
        Workflow("wf").node(function)


def test_an_async_node_is_refused_because_nodes_only_plan() -> None:
    async def start(run: RunState) -> Plan:
        return complete()

    with pytest.raises(InvalidWorkflow, match="node 'start' is async"):
        Workflow("wf").node(start)


def test_a_decorated_function_stays_itself() -> None:
    wf = Workflow("wf")

    @wf.node
    def start(run: RunState) -> Plan:
        return call(double, n=1, into="n", then=start)

    @wf.function
    def double(n: int) -> int:
        return n * 2

    assert start(run()) == call("double", n=1, into="n", then=start) or double(2) == 4
    assert wf.spec.functions == {"double": double}


def test_a_function_is_called_by_the_name_it_was_registered_by() -> None:
    wf = Workflow("wf")

    @wf.function(name="billing.charge")
    def charge(card: str) -> None: ...

    @wf.node
    def start(run: RunState) -> Plan:
        return call(charge, card="1", then=start)

    made = planned(wf).effect
    assert made is not None
    assert made.payload == {"function": "billing.charge", "arguments": {"card": "1"}}
    assert list(wf.spec.functions) == ["billing.charge"]


def test_a_node_may_be_named_apart_from_its_function_and_decorated_on_top() -> None:
    wf = Workflow("wf")

    def traced(function: Any) -> Any:
        @wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args)

        return wrapper

    @wf.node(name="the start")
    def start(run: RunState) -> Plan:
        return goto(end)

    @traced
    @wf.node(name="the end")
    @traced
    def end(run: RunState) -> Plan:
        return complete()

    assert planned(wf, "the start").next_node == "the end"
    assert planned(wf, "the end").complete_output == {}


def test_going_to_a_function_that_is_no_node_fails_naming_both() -> None:
    with pytest.raises(
        InvalidPlan, match=r"^Node 'start' goes to the function charge, which is no"
    ):
        planned(one_node(goto(charge)))


def test_bound_methods_can_be_nodes() -> None:
    class Shop:
        def start(self, run: RunState) -> Plan:
            return goto(self.end)

        def end(self, run: RunState, ctx: Clock) -> Plan:
            return complete({"now": ctx.now_iso()})

    shop, wf = Shop(), Workflow("wf")
    wf.node(shop.start)
    wf.node(shop.end)
    assert planned(wf).next_node == "end"
    assert planned(wf, "end").complete_output == {"now": Clock().now_iso()}


# ---- what is built, and what is refused


def test_the_spec_is_the_same_object_until_something_is_added() -> None:
    wf = one_node(goto("end"))
    spec = wf.spec
    assert isinstance(spec, WorkflowSpec)
    assert wf.spec is spec
    assert (spec.workflow_id, spec.version) == ("wf", None)
    wf.function(charge)
    assert wf.spec is not spec
    assert spec.functions == {}
    assert wf.spec.functions == {"charge": charge}


def test_a_version_reaches_the_spec() -> None:
    wf = Workflow("wf", version="2")
    wf.node(lambda run: complete(), name="only")
    assert wf.spec.version == "2"


@pytest.mark.parametrize("name", ["", None, 7])
def test_a_workflow_needs_a_name(name: Any) -> None:
    with pytest.raises(InvalidWorkflow, match="needs a name"):
        Workflow(name)


def test_a_workflow_without_a_node_is_refused() -> None:
    with pytest.raises(InvalidWorkflow, match=r"^Workflow 'empty': it has no node$"):
        Workflow("empty").build()


def test_a_name_that_is_taken_is_refused_where_it_is_taken_again() -> None:
    wf = one_node(complete())
    with pytest.raises(InvalidWorkflow, match="the node 'end' is there twice"):
        wf.node(name="end")(lambda run: complete())
    wf.function(charge)
    with pytest.raises(InvalidWorkflow, match="the function 'charge' is there twice"):
        wf.function(charge)


def test_a_second_entry_is_refused_naming_both() -> None:
    wf = Workflow("wf")
    wf.node(name="a", entry=True)(lambda run: complete())
    with pytest.raises(InvalidWorkflow, match="both 'a' and 'b' are the entry"):
        wf.node(name="b", entry=True)(lambda run: complete())


def test_what_has_no_name_needs_one() -> None:
    wf = Workflow("wf")
    with pytest.raises(InvalidWorkflow, match=r"needs a name: @wf\.node\(name=…\)"):
        wf.node(lambda run: complete())
    with pytest.raises(InvalidWorkflow, match=r"needs a name: @wf\.function\(name=…\)"):
        wf.function(partial(charge, "1"))
    with pytest.raises(InvalidWorkflow, match="is no function"):
        wf.node("start")  # type: ignore[call-overload]
