"""Step plans, checked before anything is performed."""

import hashlib
import json
from enum import Enum
from typing import Any

import pytest

from abstractruntime.core.machine.plan import (
    MAY_STAY,
    Finish,
    Goto,
    Planned,
    check,
    effect_digest,
)
from abstractruntime.core.models import Effect, EffectType, StepPlan
from abstractruntime.errors import InvalidPlan, LimitExceeded, NotJson
from tests.unit.machine.builder import planned

NODES = frozenset({"a", "b", "c"})


def checked(plan: Any) -> Planned | Goto | Finish:
    return check(plan, node_id="a", knows=NODES.__contains__, workflow_id="wf")


def refusal(plan: Any) -> InvalidPlan:
    with pytest.raises(InvalidPlan) as caught:
        checked(plan)
    assert type(caught.value) is InvalidPlan
    return caught.value


def effect(kind: EffectType | str = "call", result_key: Any = None, **payload: Any) -> Effect:
    return Effect(kind, payload, result_key)


# ---- what a plan comes to


def test_an_output_finishes_the_run_whatever_else_the_plan_says() -> None:
    output = {"pair": (1, 2)}
    plan = StepPlan("a", effect(), next_node="nowhere", complete_output=output)
    assert checked(plan) == Finish({"pair": [1, 2]}, b'{"pair":[1,2]}')


@pytest.mark.parametrize("output", [{}, [], "", 0, False])
def test_an_empty_output_is_an_output(output: Any) -> None:
    found = checked(StepPlan("a", complete_output=output))
    assert found == Finish(output, json.dumps(output).encode())


def test_a_plan_without_effect_goes_to_its_next_node() -> None:
    assert checked(StepPlan("a", next_node="b")) == Goto("b")
    assert checked(StepPlan("a", next_node="a")) == Goto("a")


def test_an_effect_is_planned_as_it_will_be_recorded() -> None:
    payload = {"pair": (1, 2), "kind": EffectType.CALL}
    found = checked(StepPlan("a", Effect(EffectType.LLM_CALL, payload, "x.y"), next_node="b"))
    assert found == Planned(
        type="llm_call",
        payload={"pair": [1, 2], "kind": "call"},
        result_key="x.y",
        next_node="b",
        text=b'{"pair":[1,2],"kind":"call"}',
        form=b'{"kind":"call","pair":[1,2]}',
    )
    assert type(found) is Planned
    assert type(found.type) is str
    assert found.effect == {
        "type": "llm_call",
        "payload": {"pair": [1, 2], "kind": "call"},
        "result_key": "x.y",
    }


def test_a_planned_payload_is_shared_with_nobody() -> None:
    payload: dict[str, Any] = {"list": [1]}
    found = checked(StepPlan("a", Effect("call", payload), next_node="b"))
    payload["list"].append(2)
    assert type(found) is Planned
    assert found.payload == {"list": [1]}


@pytest.mark.parametrize("key", [None, ""])
def test_an_empty_result_key_is_none(key: str | None) -> None:
    found = checked(StepPlan("a", effect(result_key=key), next_node="b"))
    assert found == planned({}, result_key=None)


def test_the_payloads_resume_to_node_counts_as_next_node_where_there_is_none() -> None:
    found = checked(StepPlan("a", effect(resume_to_node="c")))
    assert found == planned({"resume_to_node": "c"}, result_key=None, next_node="c")
    found = checked(StepPlan("a", effect(resume_to_node="c"), next_node="b"))
    assert found == planned({"resume_to_node": "c"}, result_key=None, next_node="b")


def test_a_resume_to_node_of_none_is_as_good_as_none_at_all() -> None:
    found = checked(StepPlan("a", effect(resume_to_node=None), next_node="b"))
    assert found == planned({"resume_to_node": None}, result_key=None)


@pytest.mark.parametrize("kind", ["wait_event", "ask_user", "start_subworkflow"])
def test_some_effects_may_stay_at_their_node(kind: str) -> None:
    for next_node in (None, ""):
        found = checked(StepPlan("a", effect(kind), next_node=next_node))
        assert found == planned({}, type=kind, result_key=None, next_node=None)
    assert kind in MAY_STAY
    assert len(MAY_STAY) == 3


def test_a_sync_child_may_stay_and_an_async_one_may_not() -> None:
    stays = checked(StepPlan("a", Effect("start_subworkflow", {"async": False})))
    child = {"type": "start_subworkflow", "result_key": None}
    assert stays == planned({"async": False}, next_node=None, **child)
    asynchronous = Effect("start_subworkflow", {"async": True})
    said = refusal(StepPlan("a", asynchronous))
    assert said.message == "Node 'a' executed effect but did not specify next_node"
    found = checked(StepPlan("a", asynchronous, next_node="b"))
    assert found == planned({"async": True}, **child)


def test_a_wait_that_says_async_still_may_stay() -> None:
    found = checked(StepPlan("a", Effect("wait_event", {"async": True})))
    assert found == planned({"async": True}, type="wait_event", result_key=None, next_node=None)


def test_the_three_things_to_do_are_told_apart_by_their_types() -> None:
    assert type(checked(StepPlan("a", complete_output={}))) is Finish
    assert type(checked(StepPlan("a", next_node="b"))) is Goto
    assert type(checked(StepPlan("a", effect(), next_node="b"))) is Planned


# ---- what is refused


def test_what_is_no_step_plan_is_refused() -> None:
    assert refusal({"next_node": "b"}).message == "Node 'a' returned dict, not a StepPlan"
    assert refusal(None).message == "Node 'a' returned NoneType, not a StepPlan"


@pytest.mark.parametrize("next_node", [None, ""])
def test_a_plan_for_nothing_is_refused(next_node: str | None) -> None:
    said = refusal(StepPlan("a", next_node=next_node))
    assert said.message == "Node 'a' returned no effect and no next_node"
    assert said.where == {}


@pytest.mark.parametrize(
    "plan",
    [
        StepPlan("a", next_node="z"),
        StepPlan("a", effect(), next_node="z"),
        StepPlan("a", effect(resume_to_node="z")),
        StepPlan("a", effect(resume_to_node="z"), next_node="b"),
        StepPlan("a", effect("ask_user", resume_to_node="z")),
    ],
)
def test_a_node_that_the_workflow_does_not_have_is_refused(plan: StepPlan) -> None:
    said = refusal(plan)
    assert said.message == "Unknown node_id 'z' in workflow 'wf'"
    assert said.where == {"node": "z"}


@pytest.mark.parametrize("node", ["", 5, ["b"]])
def test_a_resume_to_node_that_is_no_name_is_refused(node: Any) -> None:
    said = refusal(StepPlan("a", effect(resume_to_node=node), next_node="b"))
    assert said.message == f"Unknown node_id {node!r} in workflow 'wf'"
    assert said.where == {"node": node}
    alone = refusal(StepPlan("a", effect(resume_to_node=node)))
    assert alone.message == said.message


@pytest.mark.parametrize("node", [5, ["b"], True])
def test_a_next_node_that_is_no_name_is_refused(node: Any) -> None:
    said = refusal(StepPlan("a", effect("ask_user"), next_node=node))
    assert said.message == f"Unknown node_id {node!r} in workflow 'wf'"


@pytest.mark.parametrize("kind", ["call", "llm_call", "tool_calls", "wait_until"])
def test_any_other_effect_needs_a_next_node_before_it_is_performed(kind: str) -> None:
    said = refusal(StepPlan("a", effect(kind)))
    assert said.message == "Node 'a' executed effect but did not specify next_node"


def test_an_effect_that_is_none_of_ours_is_refused() -> None:
    said = refusal(StepPlan("a", {"type": "call"}, next_node="b"))  # type: ignore[arg-type]
    assert said.message == "Node 'a' planned dict, not an Effect"


@pytest.mark.parametrize("payload", [None, [], "text", (("a", 1),)])
def test_a_payload_that_is_no_object_is_refused(payload: Any) -> None:
    said = refusal(StepPlan("a", Effect("call", payload), next_node="b"))
    assert said.message == "Node 'a': effect payload must be an object"


@pytest.mark.parametrize("key", [1, ["a"], True])
def test_a_result_key_that_is_no_text_is_refused(key: Any) -> None:
    said = refusal(StepPlan("a", effect(result_key=key), next_node="b"))
    assert said.message == "Node 'a': result_key must be text"


def test_what_is_no_json_is_refused_with_its_path() -> None:
    for plan, path in (
        (StepPlan("a", complete_output={"x": {1}}), "$.complete_output.x"),
        (StepPlan("a", effect(x=[float("nan")]), next_node="b"), "$.effect.payload.x[0]"),
    ):
        with pytest.raises(NotJson) as caught:
            checked(plan)
        assert caught.value.where["path"] == path


def test_what_is_too_deep_is_refused() -> None:
    deep: Any = 1
    for _ in range(201):
        deep = [deep]
    for plan in (
        StepPlan("a", complete_output=deep),
        StepPlan("a", effect(x=deep), next_node="b"),
    ):
        with pytest.raises(LimitExceeded):
            checked(plan)


def test_names_given_as_str_enums_become_plain_text() -> None:
    class Name(str, Enum):
        B = "b"

    found = checked(StepPlan("a", effect(result_key=Name.B), next_node=Name.B))
    assert found == planned({}, result_key="b")
    assert type(found) is Planned
    assert type(found.next_node) is type(found.result_key) is str
    went = checked(StepPlan("a", next_node=Name.B))
    assert type(went) is Goto
    assert type(went.next_node) is str


# ---- digests


def test_an_effects_digest_covers_its_three_fields_in_canonical_form() -> None:
    text = '{"payload":{"a":"é","b":1},"result_key":null,"type":"call"}'
    expected = hashlib.sha256(text.encode()).hexdigest()
    payload = {"b": 1, "a": "é"}
    assert effect_digest({"type": "call", "payload": payload, "result_key": None}) == expected
    assert effect_digest({"type": "call", "payload": payload, "later": 1}) == expected


def test_other_effects_have_other_digests() -> None:
    base = {"type": "call", "payload": {"n": 1}, "result_key": "x"}
    others: list[dict[str, Any]] = [
        {**base, "type": "llm_call"},
        {**base, "payload": {"n": 2}},
        {**base, "payload": {"n": True}},
        {**base, "payload": {"n": 1.0}},
        {**base, "result_key": None},
    ]
    digests = {effect_digest(each) for each in [base, *others]}
    assert len(digests) == 1 + len(others)
