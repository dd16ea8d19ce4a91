"""A policy over effects, and answers that have to fit a JSON Schema."""

from __future__ import annotations

import sys
from typing import Any
from unittest import mock

import pytest

from abstractruntime import (
    Approval,
    Between,
    Effect,
    Rule,
    RunStatus,
    StepPlan,
    WorkflowSpec,
    create_scheduled_runtime,
)
from abstractruntime.engine import answer_schemas
from abstractruntime.errors import AnswerRefused, InvalidPlan, MissingExtra
from tests.engine.conftest import Counter, World
from tests.engine.test_approvals import YES, details, pays

RULES = (
    Rule("allow", "pay", arguments={"sum": Between(high=10)}),
    Rule("ask", "pay", arguments={"sum": Between(high=100)}, approval=Approval(by=("ann",))),
    Rule("deny", "pay", label="nothing that large"),
)


def asks(sum: int, **options: Any) -> WorkflowSpec:
    return pays(payload={"sum": sum}, **options)


def plain(sum: int) -> WorkflowSpec:
    effect = Effect("pay", {"sum": sum}, "paid")
    return WorkflowSpec(
        "w", "a", {**pays().nodes, "a": lambda run, ctx: StepPlan("a", effect, "b")}
    )


@pytest.mark.parametrize(
    ("sum", "status"),
    [(5, RunStatus.COMPLETED), (50, RunStatus.WAITING), (500, RunStatus.FAILED)],
)
def test_the_first_rule_that_matches_allows_asks_or_denies(
    world: World, sum: int, status: RunStatus
) -> None:
    counter = Counter()
    world.make(effect_handlers={"pay": counter}, approvals=RULES)
    spec = plain(sum)
    state = world.run(spec)
    assert state.status is status
    if status is RunStatus.FAILED:
        assert "Denied by the approval rule 'nothing that large'" in str(state.error)
    if status is RunStatus.WAITING:
        assert counter.performed == []
        assert details(state)["rule"] == "ask pay sum"
        assert details(state)["by"] == ["ann"]
        state = world.resume(spec, state.run_id, YES, actor_id="ann")
        assert state.status is RunStatus.COMPLETED
    assert len(counter.performed) == (status is not RunStatus.FAILED)


def test_an_effects_own_approval_stands_where_a_rule_allows_but_not_where_one_denies(
    world: World,
) -> None:
    counter = Counter()
    world.make(effect_handlers={"pay": counter}, approvals=RULES)
    state = world.run(asks(5, approval=Approval(by=("bob",))))
    assert details(state)["by"] == ["bob"]
    assert details(state)["rule"] is None
    assert world.run(asks(500)).status is RunStatus.FAILED
    assert counter.performed == []


def test_an_edit_cannot_go_round_a_rule_that_denies(world: World) -> None:
    counter, spec = Counter(), plain(50)
    world.make(effect_handlers={"pay": counter}, approvals=RULES)
    run_id = world.run(spec).run_id
    with pytest.raises(AnswerRefused, match="nothing that large"):
        world.resume(spec, run_id, {"decision": "edit", "payload": {"sum": 500}}, actor_id="ann")
    assert counter.performed == []
    state = world.resume(spec, run_id, {"decision": "edit", "payload": {"sum": 60}}, actor_id="ann")
    assert state.status is RunStatus.COMPLETED
    assert counter.performed == [{"sum": 60}]


def test_what_only_waits_or_asks_is_under_no_rule(world: World) -> None:
    world.make(approvals=(Rule("deny"),))
    effect = Effect("ask_user", {"prompt": "Well?"})
    state = world.run(WorkflowSpec("w", "a", {"a": lambda run, ctx: StepPlan("a", effect)}))
    assert state.status is RunStatus.WAITING


# ---- answers with a schema

SCHEMA = {
    "type": "object",
    "required": ["decision"],
    "properties": {"ticket": {"type": "string", "pattern": "^T-[0-9]+$"}},
    "if": {"properties": {"decision": {"const": "approve"}}},
    "then": {"required": ["ticket"]},
}


def test_the_answer_to_an_approval_may_have_a_schema(world: World) -> None:
    counter, spec = Counter(), pays(Approval(answer_schema=SCHEMA))
    world.make(effect_handlers={"pay": counter})
    run_id = world.run(spec).run_id
    for answer in (YES, {**YES, "ticket": "17"}, "approve"):
        with pytest.raises(AnswerRefused, match="ticket"):
            world.resume(spec, run_id, answer, actor_id="ann")
    assert counter.performed == []
    state = world.resume(spec, run_id, {**YES, "ticket": "T-17"}, actor_id="ann")
    assert state.status is RunStatus.COMPLETED


def asking(schema: Any) -> WorkflowSpec:
    effect = Effect("ask_user", {"prompt": "How old?", "answer_schema": schema}, "age")
    return WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", effect, "b"),
            "b": lambda run, ctx: StepPlan("b", complete_output={"age": run.vars["age"]}),
        },
    )


def test_the_answer_of_a_person_may_have_a_schema(world: World) -> None:
    spec = asking({"type": "integer", "minimum": 0})
    run_id = world.run(spec).run_id
    for answer in ("old", -1, 1.5, True):
        with pytest.raises(AnswerRefused):
            world.resume(spec, run_id, answer)
    assert world.resume(spec, run_id, 40).output == {"age": 40}


@pytest.mark.parametrize(
    "schema",
    [
        "integer",
        {"type": 5},
        {"type": "string", "pattern": "("},
        {"$ref": "http://example.invalid/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "other.json"},
        {"$ref": "#/nowhere"},
    ],
)
def test_a_schema_that_is_none_or_looks_elsewhere_is_refused_when_it_is_asked(
    schema: Any,
) -> None:
    with (
        mock.patch("urllib.request.urlopen", side_effect=AssertionError("fetched")),
        pytest.raises(InvalidPlan),
    ):
        answer_schemas.compiled(schema)


def test_an_unusable_schema_fails_the_step_by_name(world: World) -> None:
    state = world.run(asking({"type": 5}))
    assert state.status is RunStatus.FAILED
    assert "answer_schema" in str(state.error)
    world.make(effect_handlers={"pay": Counter()})
    assert world.run(pays(Approval(answer_schema={"type": 5}))).status is RunStatus.FAILED


def test_an_answer_does_not_get_the_defaults_of_its_schema(world: World) -> None:
    spec = asking({"type": "object", "properties": {"n": {"default": 5}}})
    run_id = world.run(spec).run_id
    assert world.resume(spec, run_id, {}).output == {"age": {}}


def test_without_the_library_the_extra_is_named() -> None:
    answer_schemas._compiled.cache_clear()
    with (
        mock.patch.dict(sys.modules, {"jsonschema_rs": None}),
        pytest.raises(MissingExtra) as refused,
    ):
        answer_schemas.compiled({"type": "integer"})
    assert "abstractruntime[schema]" in refused.value.how_to_fix


def test_a_scheduled_runtime_takes_the_answer_of_an_actor() -> None:
    scheduled = create_scheduled_runtime(
        workflows=[pays()], effect_handlers={"pay": Counter()}, auto_start=False
    )
    run_id, state = scheduled.run(pays())
    assert state.status is RunStatus.WAITING
    assert scheduled.respond(run_id, YES, actor_id="ann").status is RunStatus.COMPLETED
    run_id, state = scheduled.run(pays())
    assert state.waiting is not None
    assert state.waiting.wait_key is not None
    after = scheduled.resume_event(
        run_id=run_id, wait_key=state.waiting.wait_key, payload=YES, actor_id="ann"
    )
    assert after.status is RunStatus.COMPLETED


@pytest.mark.parametrize("approval", [None, Approval()])
def test_one_of_several_effects_at_once_is_not_performed_without_approval(
    world: World, approval: Approval | None
) -> None:
    """They cannot wait for one: it fails by name, whether it asks itself or a rule does."""
    counter = Counter()
    rules = () if approval else (Rule("ask", "pay"),)
    world.make(effect_handlers={"pay": counter, "look": Counter()}, approvals=rules)
    effects = [Effect("look", {}, "seen"), Effect("pay", {"sum": 7}, "paid", approval=approval)]
    spec = WorkflowSpec(
        "w",
        "a",
        {
            "a": lambda run, ctx: StepPlan("a", effects=effects, next_node="b"),
            "b": lambda run, ctx: StepPlan("b", complete_output={}),
        },
    )
    state = world.run(spec)
    assert state.status is RunStatus.FAILED
    assert "plan it alone" in str(state.error)
    assert counter.performed == []
    world.make(
        effect_handlers={"pay": counter, "look": Counter()}, approvals=(Rule("deny", "pay"),)
    )
    assert "Denied" in str(world.run(spec).error)
    assert counter.performed == []
