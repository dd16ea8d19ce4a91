"""Workflows by id."""

import threading

import pytest

from abstractruntime.authoring import Workflow, complete
from abstractruntime.core.models import RunState, StepPlan
from abstractruntime.core.spec import RunContext, WorkflowSource, WorkflowSpec
from abstractruntime.errors import InvalidWorkflow, UnknownWorkflow
from abstractruntime.scheduler import WorkflowRegistry


def end(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("end", complete_output={})


def spec(workflow_id: str) -> WorkflowSpec:
    return WorkflowSpec(workflow_id, "end", {"end": end})


def test_what_is_registered_is_found_listed_and_counted() -> None:
    registry = WorkflowRegistry()
    a, b = spec("a"), spec("b")
    registry.register(b)
    registry.register(a)
    assert registry.get("a") is a
    assert registry.get_or_raise("b") is b
    assert registry.list_ids() == ["b", "a"]
    assert len(registry) == 2
    assert "a" in registry
    assert "c" not in registry


def test_an_empty_registry_has_nothing() -> None:
    registry = WorkflowRegistry()
    assert (registry.get("a"), registry.list_ids(), len(registry)) == (None, [], 0)


def test_registering_an_id_twice_is_a_value_error_even_for_the_same_workflow() -> None:
    registry, a = WorkflowRegistry(), spec("x")
    registry.register(a)
    with pytest.raises(ValueError, match="already registered") as caught:
        registry.register(a)
    assert isinstance(caught.value, InvalidWorkflow)
    assert str(caught.value) == (
        "Workflow 'x' is already registered. Use unregister() first if you want to replace it."
    )


def test_an_unregistered_workflow_can_be_registered_again() -> None:
    registry, new = WorkflowRegistry(), spec("x")
    registry.register(spec("x"))
    registry.unregister("x")
    assert "x" not in registry
    registry.register(new)
    assert registry.get("x") is new


def test_unregistering_what_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError) as caught:
        WorkflowRegistry().unregister("x")
    assert isinstance(caught.value, UnknownWorkflow)
    assert str(caught.value) == "Workflow 'x' is not registered."


def test_get_or_raise_says_how_to_register() -> None:
    with pytest.raises(KeyError) as caught:
        WorkflowRegistry().get_or_raise("x")
    assert str(caught.value) == (
        "Workflow 'x' is not registered. "
        "Register it with registry.register(workflow) before starting the scheduler."
    )


def test_a_builder_is_registered_as_the_spec_it_builds() -> None:
    wf = Workflow("greet")
    wf.node(lambda run: complete(), name="only")
    registry = WorkflowRegistry()
    registry.register(wf)
    assert registry.get("greet") is wf.spec


def test_the_engine_can_find_workflows_in_it() -> None:
    source: WorkflowSource = WorkflowRegistry()
    assert source.get("x") is None


def test_of_threads_that_register_the_same_id_one_succeeds() -> None:
    registry = WorkflowRegistry()
    gate, refused = threading.Barrier(8), []

    def register() -> None:
        gate.wait()
        try:
            registry.register(spec("x"))
        except ValueError as error:
            refused.append(error)

    threads = [threading.Thread(target=register) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 7
