"""A workflow as data."""

import dataclasses

import pytest

from abstractruntime.core.models import RunState, StepPlan
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.errors import UnknownNode


def start(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("start", complete_output={})


SPEC = WorkflowSpec("greet", "start", {"start": start})


def test_the_fields_stand_in_the_order_programs_give_them() -> None:
    names = [each.name for each in dataclasses.fields(WorkflowSpec)]
    assert names == ["workflow_id", "entry_node", "nodes", "functions", "version"]
    assert WorkflowSpec(workflow_id="greet", entry_node="start", nodes={"start": start}) == SPEC


def test_a_spec_has_no_functions_and_no_version_unless_given() -> None:
    assert (SPEC.functions, SPEC.version) == ({}, None)


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPEC.entry_node = "other"  # type: ignore[misc]


def test_get_node_gives_the_handler() -> None:
    assert SPEC.get_node("start") is start


def test_an_unknown_node_is_a_key_error_with_the_apis_text_and_no_quotes_around_it() -> None:
    with pytest.raises(KeyError) as caught:
        SPEC.get_node("x")
    assert isinstance(caught.value, UnknownNode)
    assert str(caught.value) == "Unknown node_id 'x' in workflow 'greet'"
    assert "start" in caught.value.how_to_fix


def test_no_node_is_terminal_by_the_graph_not_even_one_that_is_not_there() -> None:
    assert SPEC.is_terminal("start") is False
    assert SPEC.is_terminal("x") is False
