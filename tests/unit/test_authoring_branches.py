"""parallel, for_each and with_: several effects at once, and how each is performed."""

from typing import Any

import pytest

from abstractruntime import Retry, RunState, RunStatus, Runtime, open_store
from abstractruntime.authoring import (
    Plan,
    Workflow,
    ask_user,
    call,
    complete,
    effect,
    for_each,
    goto,
    parallel,
    wait_event,
    wait_until,
)
from tests.unit.test_authoring_edges import beta, edges_from

LATER = "2030-01-01T00:00:00+00:00"


def run(plan: Any, **vars: Any) -> RunState:
    """A run whose first node returns what `plan` gives."""
    wf = Workflow("wf")

    @wf.node
    def first(run: RunState) -> Plan:
        planned: Plan = plan(run)
        return planned

    @wf.node
    def end(run: RunState) -> Plan:
        return complete({"all": run.vars.get("all")})

    @wf.function
    def double(n: int) -> int:
        return 2 * n

    runtime = Runtime(store=open_store("memory://"))
    return runtime.tick(workflow=wf, run_id=runtime.start(workflow=wf, vars=vars))


def results(state: RunState) -> Any:
    assert state.status is RunStatus.COMPLETED, state.error
    assert state.output is not None
    return state.output["all"]


def doubles(*numbers: int) -> list[Plan]:
    return [call("double", n=n) for n in numbers]


def test_results_come_in_the_order_of_the_plans() -> None:
    state = run(lambda run: parallel(doubles(3, 1, 2), into="all", then="end"))
    assert results(state) == {"results": [6, 2, 4], "errors": {}, "cancelled": []}


def test_one_plan_is_made_for_each_item() -> None:
    state = run(
        lambda run: for_each(
            run.vars["items"], lambda n: call("double", n=n), limit=2, into="all", then="end"
        ),
        items=[5, 4],
    )
    assert results(state)["results"] == [10, 8]


@pytest.mark.parametrize("into", ["all", "all.of.them", None])
def test_of_no_items_the_results_are_there_at_once(into: str | None) -> None:
    found = results(run(lambda run: for_each([], call, into=into, then="end"), all=7))
    none: Any = {"results": [], "errors": {}, "cancelled": []}
    wanted = {None: 7, "all": none, "all.of.them": {"of": {"them": none}}}
    assert found == wanted[into]


def test_the_join_the_failures_and_the_branches_are_as_given() -> None:
    state = run(
        lambda run: parallel(
            [*doubles(1), call("missing"), ask_user("Well?", into=None)],
            into="all",
            then="end",
            failures=1,
        )
    )
    assert state.status is RunStatus.WAITING
    assert state.checkpoint is not None
    assert state.checkpoint.join is not None
    assert (state.checkpoint.join.completed, state.checkpoint.join.failed) == (1, 1)
    won = run(lambda run: parallel([*doubles(1), wait_event("go")], into="all", then="end", join=1))
    assert results(won)["cancelled"] == ["1"]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (lambda: goto("end"), "goes somewhere by itself"),
        (lambda: call("double", n=1, then="end"), "goes somewhere by itself"),
        (lambda: wait_event("go", timeout_s=1, late="end"), "goes somewhere by itself"),
        (complete, "goes somewhere by itself"),
        (lambda: parallel(doubles(1), then="end"), "not one effect"),
        (lambda: "double", "not one effect"),
        (Plan, "performs nothing"),
    ],
)
def test_what_cannot_be_a_branch_is_named(plan: Any, said: str) -> None:
    state = run(lambda run: parallel([*doubles(1), plan()], then="end"))
    assert state.status is RunStatus.FAILED
    assert said in str(state.error)
    assert "Branch 1 of node 'first'" in str(state.error)


def test_a_call_that_is_no_branch_needs_a_node_to_go_to() -> None:
    assert "did not specify next_node" in str(run(lambda run: call("double", n=1)).error)


# ---- with_


def test_how_an_effect_is_performed_cannot_clash_with_its_arguments() -> None:
    retry = Retry(attempts=2)
    plan = call("double", n=1, delivery="by post", timeout_s=7, then="end").with_(
        delivery="at_most_once", retry=retry, timeout_s=1, total_timeout_s=2, heartbeat_s=3
    )
    effect = plan.effect
    assert effect is not None
    assert effect.payload["arguments"] == {"n": 1, "delivery": "by post", "timeout_s": 7}
    assert (effect.delivery, effect.retry) == ("at_most_once", retry)
    assert (effect.timeout_s, effect.total_timeout_s, effect.heartbeat_s) == (1, 2, 3)


def test_what_is_left_out_stays_as_it_was() -> None:
    plan = effect("pay", then="end").with_(delivery="at_most_once").with_(timeout_s=5)
    assert plan.effect is not None
    assert (plan.effect.delivery, plan.effect.timeout_s) == ("at_most_once", 5)


@pytest.mark.parametrize("plan", [goto("end"), complete(), parallel(doubles(1), then="end")])
def test_only_an_effect_is_performed_somehow(plan: Plan) -> None:
    with pytest.raises(Exception, match="has none"):
        plan.with_(timeout_s=1)


def test_a_branch_keeps_how_it_is_performed() -> None:
    tried = Retry(attempts=2, backoff_s=0)
    state = run(
        lambda run: parallel(
            [call("missing").with_(retry=tried), *doubles(2)], failures=1, into="all", then="end"
        )
    )
    assert results(state)["results"] == [None, 4]


# ---- edges


def at_once(run: RunState) -> Plan:
    return parallel([call("f"), wait_until(LATER)], into="all", then=beta)


def each(run: RunState) -> Plan:
    return for_each(run.vars["items"], lambda item: call("f", item=item), then="beta")


def tried(run: RunState) -> Plan:
    return call("f", then=beta).with_(
        timeout_s=3, retry=Retry(attempts=2, on_exhausted="gamma")
    )  # fmt: skip


def paused(run: RunState) -> Plan:
    retry = Retry(on_exhausted="pause")
    return call("f", then=beta).with_(retry=retry)


@pytest.mark.parametrize(
    ("node", "edges"),
    [
        (at_once, [("beta", "parallel")]),
        (each, [("beta", "parallel")]),
        (tried, [("gamma", "exhausted"), ("beta", "call")]),
        (paused, [("beta", "call")]),
    ],
)
def test_their_edges_are_read(node: Any, edges: list[tuple[str, str]]) -> None:
    assert edges_from(node) == edges
